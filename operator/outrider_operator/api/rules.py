"""Rules that no single field's type can say.

Each rule with a CEL twin in the CRD has the twin's message, word for word. Not every server evaluates CEL, so
the operator and the command line check them as well.
"""

import re
from collections.abc import Iterable, Sequence

from outrider_operator.api.document import Path
from outrider_operator.api.duration import parse_duration_ms
from outrider_operator.api.quantity import parse_quantity
from outrider_operator.api.rule import ROLES, Rule
from outrider_operator.api.scaling_rules import SCALING_RULES
from outrider_operator.api.v1alpha1 import (
    Endpoint,
    Env,
    ImagePullSecret,
    KvCache,
    Model,
    ParentRef,
    PodTemplate,
    Resources,
    Route,
    Spec,
    Speculation,
    Target,
    Volume,
    VolumeMount,
)

POD_TEMPLATES: tuple[Path, ...] = tuple(("spec", role, "podTemplate") for role in ROLES)
ROUTE: Path = ("spec", "endpoint", "route")
NVIDIA_GPU = "nvidia.com/gpu"

# What a podTemplate may replace and mount elsewhere, and what it must leave alone.
OPEN_VOLUMES = ("home", "cache", "tmp", "shm")
RESERVED_VOLUMES = "outrider-"
RESERVED_FOLDER = "/etc/outrider"

_NAME = re.compile(r"[a-z]([-a-z0-9]{0,54}[a-z0-9])?")
_NAMESPACE = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")
_URI = re.compile(
    r"hf://[A-Za-z0-9][A-Za-z0-9._-]*/[A-Za-z0-9][A-Za-z0-9._-]*"
    r"|pvc://[a-z0-9]([-a-z0-9.]*[a-z0-9])?(/[^ /?#]+)+"
    r"|s3://[a-z0-9][a-z0-9.-]+[a-z0-9](/[^ /?#]+)+/?"
    r"|oci://[a-z0-9][A-Za-z0-9._-]*(:[0-9]+)?(/[a-z0-9][a-z0-9._-]*)+(:[A-Za-z0-9._-]+)?(@sha256:[a-f0-9]{64})?"
    r"|file://(/[^ /?#]+)+/?"
)


def name_fits_services(name: str) -> bool:
    return _NAME.fullmatch(name) is not None


def is_namespace(name: str) -> bool:
    return _NAMESPACE.fullmatch(name) is not None


def is_model_address(uri: str) -> bool:
    return _URI.fullmatch(uri) is not None


def revision_is_of_a_hub(model: Model) -> bool:
    return model.revision is None or model.uri.startswith("hf://")


def tree_fits_its_nodes(speculation: Speculation) -> bool:
    return speculation.max_depth * speculation.max_branches <= speculation.max_nodes


def patience_is_short(patience: str) -> bool:
    return parse_duration_ms(patience) <= 10_000


def something_drafts(spec: Spec) -> bool:
    speculation = spec.speculation
    return speculation.mode != "Always" or spec.draft is not None or speculation.fallback != "None"


def kv_cache_is_given_once(kv_cache: KvCache) -> bool:
    return (kv_cache.memory is None) != (kv_cache.fraction is None)


def is_a_byte_at_least(amount: int | str) -> bool:
    return parse_quantity(amount) >= 1


def each_rank_has_a_gpu(target: Target) -> bool:
    """Of nvidia.com/gpu alone, as in CEL, which has no quantities to compute with before Kubernetes 1.29."""
    gpus = (target.resources.limits or {}).get(NVIDIA_GPU, 0)
    return str(gpus) in ("0", str(target.tensor_parallel_size))


def requests_fit_limits(resources: Resources) -> bool:
    limits, requests = resources.limits or {}, resources.requests or {}
    return all(parse_quantity(requests[name]) <= parse_quantity(limits[name]) for name in requests.keys() & limits)


def volume_is_reached_by_every_pod(spec: Spec) -> bool:
    """Whether one node has all pods that mount the models' volume, where it is on one node only."""
    if spec.storage is None or "ReadWriteMany" in spec.storage.access_modes:
        return True
    draft = None if spec.speculation.mode == "Off" else spec.draft
    near = draft is None or draft.replicas == 0 or draft.placement.same_node == "Required"
    scaling = spec.autoscaling.target if spec.autoscaling is not None else None
    return spec.target.replicas <= 1 and (scaling is None or scaling.max_replicas == 1) and near


def each_variable_has_one_source(template: PodTemplate) -> bool:
    return not any(each.value is not None and each.value_from is not None for each in template.env or ())


def writable_folders_stay(template: PodTemplate) -> bool:
    return not any(each.name in ("HOME", "TMPDIR") for each in template.env or ())


def volumes_are_not_the_operators(template: PodTemplate) -> bool:
    return not any(each.name.startswith(RESERVED_VOLUMES) for each in template.volumes or ())


def mounts_are_of_volumes(template: PodTemplate) -> bool:
    there = {*OPEN_VOLUMES, *(each.name for each in template.volumes or ())}
    return all(each.name in there for each in template.volume_mounts or ())


def mounts_leave_the_operators_folder(template: PodTemplate) -> bool:
    return not any(f"{each.mount_path}/".startswith(f"{RESERVED_FOLDER}/") for each in template.volume_mounts or ())


def entries_have_keys_of_their_own(entries: Iterable[Env | Volume | ImagePullSecret | ParentRef]) -> bool:
    names = [each.name for each in entries]
    return len(set(names)) == len(names)


def mounts_have_folders_of_their_own(mounts: Sequence[VolumeMount]) -> bool:
    return len({each.mount_path for each in mounts}) == len(mounts)


def route_of_gateways_names_them(route: Route) -> bool:
    return (route.kind == "HTTPRoute") == (route.parent_refs is not None)


def class_is_of_an_ingress(route: Route) -> bool:
    return route.ingress_class_name is None or route.kind == "Ingress"


def certificate_is_not_the_gateways(route: Route) -> bool:
    return route.tls is None or route.kind != "HTTPRoute"


def certificate_is_for_a_host(route: Route) -> bool:
    return route.tls is None or route.kind != "Ingress" or route.host is not None


def tls_ends_in_one_place(endpoint: Endpoint) -> bool:
    route = endpoint.route
    if endpoint.tls is None or route is None or route.kind != "Route" or route.tls is None:
        return True
    return route.termination == "Reencrypt"


def termination_fits_the_target(endpoint: Endpoint) -> bool:
    route = endpoint.route
    if route is None or route.kind != "Route" or route.termination is None:
        return True
    return (route.termination == "Edge") == (endpoint.tls is None)


def termination_is_of_a_route(route: Route) -> bool:
    return route.termination is None or route.kind == "Route"


def authority_is_for_reencryption(route: Route) -> bool:
    return route.destination_ca is None or route.termination == "Reencrypt"


URI_MESSAGE = (
    "not the address of a model: write hf://org/name, pvc://claim/path, s3://bucket/prefix,"
    " oci://registry/image:tag or file:///path"
)
NAMESPACE_MESSAGE = "not the name of a namespace; use at most 63 lowercase letters, digits and '-'"

RULES = (
    Rule(
        (("metadata", "name"),),
        name_fits_services,
        "metadata.name becomes part of Service names: use at most 56 lowercase letters, digits and '-',"
        " beginning with a letter and ending with a letter or digit",
    ),
    Rule(
        (("metadata", "namespace"),),
        is_namespace,
        NAMESPACE_MESSAGE,
        has_cel_twin=False,  # the API server's own rule
    ),
    Rule(
        (("spec",),),
        something_drafts,
        "speculation.mode Always has nothing to draft with: give spec.draft, set speculation.fallback to"
        " NGram, or set speculation.mode to Auto",
        shown_at=("speculation", "mode"),
    ),
    Rule(
        tuple(("spec", role, "model") for role in ROLES),
        revision_is_of_a_hub,
        "revision belongs to models of a hub: remove it, or name the model as hf://org/name",
        shown_at=("revision",),
    ),
    Rule(tuple(("spec", role, "model", "uri") for role in ROLES), is_model_address, URI_MESSAGE),
    Rule(
        (("spec", "speculation"),),
        tree_fits_its_nodes,
        "maxDepth times maxBranches must fit into maxNodes: raise maxNodes, or lower maxDepth or maxBranches",
        shown_at=("maxNodes",),
    ),
    Rule(
        (("spec", "speculation", "draftPatience"),),
        patience_is_short,
        "draftPatience is at most 10s: lower it, or remove it and let the target weigh the wait",
    ),
    Rule(
        tuple(("spec", role, "kvCache") for role in ROLES),
        kv_cache_is_given_once,
        "kvCache is given as memory or as a fraction: write exactly one of the two, or remove kvCache",
    ),
    Rule(
        (*(("spec", role, "kvCache", "memory") for role in ROLES), ("spec", "storage", "size")),
        is_a_byte_at_least,
        "less than a byte holds nothing: write a quantity such as 4Gi",
        has_cel_twin=False,  # no quantities in CEL before 1.29; servers refuse 0, but not "0"
    ),
    Rule(
        (("spec", "target"),),
        each_rank_has_a_gpu,
        "every rank has a GPU of its own: set tensorParallelSize to the number of GPUs in resources.limits, or that"
        " limit, a plain whole number, to tensorParallelSize",
        shown_at=("tensorParallelSize",),
    ),
    Rule(
        tuple(("spec", role, "resources") for role in ROLES),
        requests_fit_limits,
        "a request is more than its limit, and no pod could be made: lower the request or raise the limit",
        shown_at=("requests",),
        has_cel_twin=False,  # servers before 1.29 have no quantities in CEL, and would refuse the whole CRD
    ),
    Rule(
        (("spec",),),
        volume_is_reached_by_every_pod,
        "a ReadWriteOnce volume is on one node, and the pods may be on several: set storage.accessModes to"
        " [ReadWriteMany], or have one target (target.replicas, autoscaling.target.maxReplicas) and"
        " draft.placement.sameNode Required",
        shown_at=("storage",),
    ),
    Rule(
        POD_TEMPLATES,
        each_variable_has_one_source,
        "an environment variable has a value or a valueFrom: remove one of the two",
        shown_at=("env",),
    ),
    Rule(
        POD_TEMPLATES,
        writable_folders_stay,
        "HOME and TMPDIR are the folders that a pod may write to: remove them from podTemplate.env",
        shown_at=("env",),
    ),
    Rule(
        POD_TEMPLATES,
        volumes_are_not_the_operators,
        "volumes called outrider-… are the operator's own: give those of podTemplate.volumes other names",
        shown_at=("volumes",),
    ),
    Rule(
        POD_TEMPLATES,
        mounts_are_of_volumes,
        "a volumeMount is of a volume that is not there: add the volume to podTemplate.volumes, or name one of home,"
        " cache, tmp and shm",
        shown_at=("volumeMounts",),
    ),
    Rule(
        POD_TEMPLATES,
        mounts_leave_the_operators_folder,
        "/etc/outrider is where the operator mounts certificates and keys: choose another mountPath",
        shown_at=("volumeMounts",),
    ),
    Rule(
        (
            *((*path, name) for path in POD_TEMPLATES for name in ("env", "volumes", "imagePullSecrets")),
            ("spec", "endpoint", "route", "parentRefs"),
        ),
        entries_have_keys_of_their_own,
        "two entries have one name, which tells them apart: rename or remove one",
        has_cel_twin=False,  # the list's type on a server
    ),
    Rule(
        tuple((*path, "volumeMounts") for path in POD_TEMPLATES),
        mounts_have_folders_of_their_own,
        "two entries have one mountPath: change or remove one",
        has_cel_twin=False,  # the list's type on a server
    ),
    Rule(
        (ROUTE,),
        route_of_gateways_names_them,
        "an HTTPRoute, and nothing else, hangs on Gateways: give route.parentRefs with kind HTTPRoute, and only there",
        shown_at=("parentRefs",),
    ),
    Rule(
        (ROUTE,),
        class_is_of_an_ingress,
        "ingressClassName belongs to an Ingress: remove it, or set route.kind to Ingress",
        shown_at=("ingressClassName",),
    ),
    Rule(
        (ROUTE,),
        certificate_is_not_the_gateways,
        "the certificate of an HTTPRoute is its Gateway's: remove route.tls",
        shown_at=("tls",),
    ),
    Rule(
        (ROUTE,),
        certificate_is_for_a_host,
        "a certificate is for a host: give route.host, or remove route.tls",
        shown_at=("tls",),
    ),
    Rule(
        (("spec", "endpoint"),),
        tls_ends_in_one_place,
        "with endpoint.tls a Route hands TLS through to the target, and has no certificate of its own: set"
        " endpoint.route.termination to Reencrypt, or remove endpoint.route.tls or endpoint.tls",
        shown_at=("tls",),
    ),
    Rule(
        (("spec", "endpoint"),),
        termination_fits_the_target,
        "Edge is for a target without endpoint.tls, Reencrypt and Passthrough are for one with it: change"
        " endpoint.route.termination or endpoint.tls",
        shown_at=("route", "termination"),
    ),
    Rule(
        (ROUTE,),
        termination_is_of_a_route,
        "termination is where the TLS of a Route ends: remove it, or set route.kind to Route",
        shown_at=("termination",),
    ),
    Rule(
        (ROUTE,),
        authority_is_for_reencryption,
        "destinationCA is what a Route trusts that re-encrypts: set route.termination to Reencrypt, or remove it",
        shown_at=("destinationCA",),
    ),
    *SCALING_RULES,
)
