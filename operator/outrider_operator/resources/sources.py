"""How a model gets into its pod: fetched into the cache by an init container, or mounted from where it lies."""

import hashlib
from dataclasses import dataclass, field

from outrider_operator.api.v1alpha1 import Model
from outrider_operator.resources.names import Object

CACHE = "/cache"
MOUNT = "/etc/outrider/model"  # a folder that no podTemplate may mount over


@dataclass(frozen=True)
class Source:
    """What a model's address becomes."""

    uri: str  # what --model is given
    revision: str | None = None  # what --revision is given
    fetch_args: tuple[str, ...] = ()  # of outrider-models in an init container; none: nothing is fetched
    secret: str | None = None  # whose keys are the fetch's environment
    volumes: list[Object] = field(default_factory=list)
    mounts: list[Object] = field(default_factory=list)
    image_pull_secrets: list[Object] = field(default_factory=list)


def source(model: Model, mirror: str | None, prefetch: bool) -> Source:
    """The source of a role's model. mirror, prefetch: as the platform has them.

    What is found in a mirror that is a folder of the container is served from there. But a model with a Secret is
    meant to come from a hub, and only the init container has its keys.
    """
    scheme, _, rest = model.uri.partition("://")
    secret = None if model.secret_ref is None else model.secret_ref.name
    if scheme == "pvc":
        claim, _, path = rest.partition("/")
        return _mounted(f"{MOUNT}/{path}", {"persistentVolumeClaim": {"claimName": claim, "readOnly": True}})
    if scheme == "oci":
        volume = {"image": {"reference": rest, "pullPolicy": _pull_policy(rest)}}
        return _mounted(MOUNT, volume, [] if secret is None else [{"name": secret}])
    local_mirror = mirror is not None and not mirror.startswith(("http://", "https://"))
    if scheme == "file" or not prefetch or (scheme == "hf" and local_mirror and secret is None):
        return Source(model.uri, model.revision)
    folder = _folder(model)
    revision = () if model.revision is None else (f"--revision={model.revision}",)
    return Source(f"file://{folder}", fetch_args=("fetch", model.uri, folder, *revision), secret=secret)


def _mounted(path: str, volume: Object, pull_secrets: list[Object] | None = None) -> Source:
    return Source(
        uri=f"file://{path}",
        volumes=[{"name": "outrider-model", **volume}],
        mounts=[{"name": "outrider-model", "mountPath": MOUNT, "readOnly": True}],
        image_pull_secrets=pull_secrets or [],
    )


def _pull_policy(reference: str) -> str:
    """Kubernetes' own default, written out: what a server fills in would look like a change."""
    tag = reference.rpartition("/")[2].partition(":")[2]
    return "Always" if tag in ("", "latest") and "@" not in reference else "IfNotPresent"


def _folder(model: Model) -> str:
    """One for each address and revision, so that a shared cache never serves one for the other.

    It ends in the model's own name, because that is what a draft calls its model in its logs.
    """
    key = hashlib.sha256(f"{model.uri}\n{model.revision or ''}".encode()).hexdigest()[:12]
    return f"{CACHE}/models/{key}/{model.uri.rstrip('/').rpartition('/')[2]}"
