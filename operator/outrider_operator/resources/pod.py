"""What the Deployments of draft and target have in common.

Everything here holds under OpenShift's restricted-v2 as it is: the cluster picks the UID, so none is named,
nothing but the mounted folders is writable, and no privilege can be gained.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

from outrider_operator.api.v1alpha1 import Draft, KvCache, Resources, SpeculativeModel, Target
from outrider_operator.resources.folders import Folder
from outrider_operator.resources.names import Object as Object
from outrider_operator.resources.names import labels, models_name, namespace, pod_labels, selector, target_name
from outrider_operator.resources.overlay import overlaid
from outrider_operator.resources.placement import whole_cpus
from outrider_operator.resources.sources import CACHE, Source, source

LOADING_MINUTES = 30  # what a large model may take from a slow disk
FETCHING_MINUTES = 120  # what it may take to arrive before that, where it is fetched
PROBE_PERIOD_S = 5
FETCH_REQUESTS = {"cpu": "100m", "memory": "256Mi"}

HOME = "/home/outrider"
TMP = "/tmp"


@dataclass(frozen=True)
class Port:
    """A port that the container listens on."""

    name: str
    number: int


@dataclass(frozen=True)
class Role:
    """One role of a model, ready to become a Deployment."""

    component: str  # "target" or "draft"
    object_name: str
    spec: Target | Draft
    image: str
    args: list[str]
    ports: list[Port]
    http_port: str  # name of the port that answers /health and /ready
    model_mirror: str | None
    prefetch: bool  # whether an init container fetches the model
    replicas: int
    linger_s: int  # how long it takes what is new after it has been told to end
    drain_s: int  # how long running streams may take to end after that, before the pod is killed
    affinity: Object = field(default_factory=dict)  # what the pods want to be near to
    folders: Sequence[Folder] = ()
    https: bool = False  # what http_port speaks


def deployment(model: SpeculativeModel, role: Role) -> Object:
    """The Deployment of one role."""
    origin = source(role.spec.model, role.model_mirror, role.prefetch)
    starting_minutes = LOADING_MINUTES + (FETCHING_MINUTES if origin.fetch_args else 0)
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {
            "name": role.object_name,
            "namespace": namespace(model),
            "labels": labels(model, role.component),
        },
        "spec": {
            "replicas": role.replicas,
            "selector": {"matchLabels": selector(model, role.component)},
            # A cluster has no spare GPU for a surge pod: the new pod would wait for the old one's for ever.
            "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 0, "maxUnavailable": 1}},
            # Kubernetes' 10 minutes would call a rollout failed that is still getting its model.
            "progressDeadlineSeconds": (starting_minutes + 5) * 60,
            "template": _template(model, role, origin),
        },
    }


def _template(model: SpeculativeModel, role: Role, origin: Source) -> Object:
    pods = {"metadata": {"labels": pod_labels(model, role.component)}, "spec": _pod(model, role, origin)}
    overlay = role.spec.pod_template
    return pods if overlay is None else overlaid(pods, overlay, selector(model, role.component))


def _pod(model: SpeculativeModel, role: Role, origin: Source) -> Object:
    return {
        "serviceAccountName": target_name(model),
        "automountServiceAccountToken": False,  # neither role speaks with the API server
        "enableServiceLinks": False,  # no environment that depends on which Services happen to exist
        "terminationGracePeriodSeconds": role.linger_s + role.drain_s,
        "securityContext": {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}},
        **({"affinity": role.affinity} if role.affinity else {}),
        **({"imagePullSecrets": origin.image_pull_secrets} if origin.image_pull_secrets else {}),
        **({"initContainers": [_fetch(role, origin)]} if origin.fetch_args else {}),
        "containers": [_container(role, origin)],
        "volumes": [
            {"name": "home", "emptyDir": {}},
            {"name": "cache", **_cache(model)},
            {"name": "tmp", "emptyDir": {}},
            # The runtime's own /dev/shm has 64 MiB, which tensors that pass between processes outgrow.
            {"name": "shm", "emptyDir": {"medium": "Memory", "sizeLimit": "8Gi"}},
            *(each.volume for each in role.folders),
            *origin.volumes,
        ],
    }


def _cache(model: SpeculativeModel) -> Object:
    """The source of the volume that downloads and compiled kernels are kept on."""
    if model.spec.storage is None:
        return {"emptyDir": {}}
    return {"persistentVolumeClaim": {"claimName": models_name(model)}}


def _fetch(role: Role, origin: Source) -> Object:
    """The init container that brings the model into the cache, the only one with the keys of its Secret."""
    return {
        "name": "fetch-model",
        "image": role.image,
        "command": ["outrider-models"],
        "args": [_literal(arg) for arg in origin.fetch_args],
        "env": environment(role),
        **({} if origin.secret is None else {"envFrom": [{"secretRef": {"name": origin.secret}}]}),
        "resources": _fetch_resources(role.spec.resources),
        "securityContext": _security_context(),
        "terminationMessagePolicy": "FallbackToLogsOnError",  # its last line says what to do
        "volumeMounts": _writable_folders(),
    }


def _fetch_resources(resources: Resources) -> Object:
    """CPUs and memory as the role itself: more would keep the pod from fitting, less take a pod that is Guaranteed out
    of that class, and with it the cores of its own. Where the role asks for none, a little.
    """
    plain = ("cpu", "memory", "ephemeral-storage")
    shared = {
        kind: {name: amount for name, amount in amounts.items() if name in plain}
        for kind, amounts in _resources(resources).items()
    }
    return {kind: amounts for kind, amounts in shared.items() if amounts} or {"requests": dict(FETCH_REQUESTS)}


def _security_context() -> Object:
    return {
        "allowPrivilegeEscalation": False,
        "capabilities": {"drop": ["ALL"]},
        "readOnlyRootFilesystem": True,
        "runAsNonRoot": True,
        "seccompProfile": {"type": "RuntimeDefault"},
    }


def _writable_folders() -> list[Object]:
    folders = {"home": HOME, "cache": CACHE, "tmp": TMP}
    return [{"name": name, "mountPath": path} for name, path in folders.items()]


def _literal(text: str) -> str:
    """Written so that it reaches the container as it is: Kubernetes takes $$ for $, and $(NAME) for a variable."""
    return text.replace("$", "$$")


def _container(role: Role, origin: Source) -> Object:
    revision = [] if origin.revision is None else [f"--revision={origin.revision}"]
    args = [f"--model={origin.uri}", *revision, *role.args, *_linger(role), *(each.arg for each in role.folders)]
    return {
        "name": role.component,
        "image": role.image,
        "command": [f"outrider-{role.component}"],
        "args": [_literal(arg) for arg in args],
        "env": environment(role),
        "ports": [{"name": port.name, "containerPort": port.number, "protocol": "TCP"} for port in role.ports],
        "resources": _resources(role.spec.resources),
        "securityContext": _security_context(),
        "startupProbe": _probe(role, "/ready", failures=LOADING_MINUTES * 60 // PROBE_PERIOD_S),
        "readinessProbe": _probe(role, "/ready", failures=3),
        # A minute: a process that is only slow under load must not be killed with all its streams.
        "livenessProbe": _probe(role, "/health", failures=12),
        "volumeMounts": [
            *_writable_folders(),
            {"name": "shm", "mountPath": "/dev/shm"},
            *(each.mount for each in role.folders),
            *origin.mounts,
        ],
    }


def _linger(role: Role) -> list[str]:
    return [f"--linger-s={role.linger_s}"] if role.linger_s else []


def environment(role: Role) -> list[Object]:
    """The container's environment: writable folders for any UID, and threads that suit its CPUs."""
    values = {
        "HOME": HOME,
        "HF_HOME": f"{CACHE}/huggingface",
        "TRITON_CACHE_DIR": f"{CACHE}/triton",
        "TMPDIR": TMP,
        # The waiting one of a pair must sleep: busy waits on shared cores stall the other many times over. But not
        # between two operators of one forward, since waking takes longer than most of them do: a step of a 135M model
        # took 50 ms without this spin of about 1 ms, and 29 ms with it.
        "OMP_WAIT_POLICY": "PASSIVE",
        "GOMP_SPINCOUNT": "20000",
    }
    cpus = whole_cpus(role.spec.resources)
    if cpus is not None:
        values["OMP_NUM_THREADS"] = str(cpus)
    if role.model_mirror is not None:
        values["OUTRIDER_MODEL_MIRROR"] = role.model_mirror
    return [{"name": name, "value": _literal(value)} for name, value in values.items()]


def model_args(spec: Target | Draft) -> list[str]:
    """The flags about how the model is run, which both commands share. --max-model-len=0 is the model's own."""
    quantization = [] if spec.quantization is None else [f"--quantization={spec.quantization}"]
    return [
        f"--dtype={spec.dtype}",
        *quantization,
        f"--max-model-len={spec.max_model_len or 0}",
        f"--max-num-seqs={spec.max_num_seqs}",
        *([] if spec.kv_cache is None else _kv_cache_args(spec.kv_cache)),
    ]


def _kv_cache_args(kv_cache: KvCache) -> list[str]:
    if kv_cache.memory is not None:
        return [f"--kv-cache-memory={kv_cache.memory}"]
    return [f"--kv-cache-fraction={kv_cache.fraction}"]


def _resources(resources: Resources) -> Object:
    """Quantities as text: in an apply, servers before 1.21 take no numbers for them."""
    said = resources.model_dump(exclude_none=True)
    return {kind: {name: str(amount) for name, amount in amounts.items()} for kind, amounts in said.items()}


def _probe(role: Role, path: str, failures: int) -> Object:
    return {
        "httpGet": {"path": path, "port": role.http_port, **({"scheme": "HTTPS"} if role.https else {})},
        "periodSeconds": PROBE_PERIOD_S,
        "timeoutSeconds": 3,
        "failureThreshold": failures,
    }
