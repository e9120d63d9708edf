"""Rules that no single field's type can say.

Each rule with a CEL twin in the CRD has the twin's message, word for word. Not every server evaluates CEL, so
the operator and the command line check them as well.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from outrider_operator.api.document import Path
from outrider_operator.api.duration import parse_duration_ms
from outrider_operator.api.quantity import parse_quantity
from outrider_operator.api.v1alpha1 import KvCache, Model, Resources, Spec, Speculation, Target

ROLES = ("target", "draft")
NVIDIA_GPU = "nvidia.com/gpu"

_NAME = re.compile(r"[a-z]([-a-z0-9]{0,54}[a-z0-9])?")
_NAMESPACE = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")
_URI = re.compile(
    r"hf://[A-Za-z0-9][A-Za-z0-9._-]*/[A-Za-z0-9][A-Za-z0-9._-]*"
    r"|pvc://[a-z0-9]([-a-z0-9.]*[a-z0-9])?(/[^ /?#]+)+"
    r"|s3://[a-z0-9][a-z0-9.-]+[a-z0-9](/[^ /?#]+)+/?"
    r"|oci://[a-z0-9][A-Za-z0-9._-]*(:[0-9]+)?(/[a-z0-9][a-z0-9._-]*)+(:[A-Za-z0-9._-]+)?(@sha256:[a-f0-9]{64})?"
    r"|file://(/[^ /?#]+)+/?"
)


@dataclass(frozen=True)
class Rule:
    """A rule over the valid, typed value at each of `paths`."""

    paths: tuple[Path, ...]
    holds: Callable[[Any], bool]
    message: str
    shown_at: Path = ()  # below the path: the field that a person would change
    has_cel_twin: bool = True


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


def each_rank_has_a_gpu(target: Target) -> bool:
    """Of nvidia.com/gpu alone, as in CEL, which has no quantities to compute with before Kubernetes 1.29."""
    gpus = (target.resources.limits or {}).get(NVIDIA_GPU, 0)
    return str(gpus) in ("0", str(target.tensor_parallel_size))


def requests_fit_limits(resources: Resources) -> bool:
    limits, requests = resources.limits or {}, resources.requests or {}
    return all(parse_quantity(requests[name]) <= parse_quantity(limits[name]) for name in requests.keys() & limits)


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
)
