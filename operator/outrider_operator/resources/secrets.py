"""The Secrets that a container reads as folders, and the flags by which its command is told where."""

from dataclasses import dataclass

from outrider_operator.api.v1alpha1 import SpeculativeModel
from outrider_operator.resources.certificates import identity_name
from outrider_operator.resources.names import Object
from outrider_operator.resources.placement import draft_in_use
from outrider_operator.resources.platform import Platform

# A podTemplate may mount nothing below this folder, and name no volume by this prefix.
FOLDER = "/etc/outrider"
VOLUME_PREFIX = "outrider-"


@dataclass(frozen=True)
class SecretFolder:
    """A Secret as a folder of its own. Whole: of single files a change would not reach a running pod."""

    purpose: str
    flag: str
    secret: str

    @property
    def path(self) -> str:
        return f"{FOLDER}/{self.purpose}"

    @property
    def arg(self) -> str:
        return f"{self.flag}={self.path}"

    @property
    def volume(self) -> Object:
        return {"name": f"{VOLUME_PREFIX}{self.purpose}", "secret": {"secretName": self.secret}}

    @property
    def mount(self) -> Object:
        return {"name": f"{VOLUME_PREFIX}{self.purpose}", "mountPath": self.path, "readOnly": True}


def identity(model: SpeculativeModel, role: str, platform: Platform) -> list[SecretFolder]:
    """By which draft and target know each other; none without a draft, and on the loopback of one machine."""
    if draft_in_use(model) is None or platform.network.local_drafts is not None:
        return []
    return [SecretFolder("identity", "--identity", identity_name(model, role))]


def endpoint(model: SpeculativeModel) -> list[SecretFolder]:
    """The keys of the target's clients, and its certificate for them."""
    auth, tls = model.spec.endpoint.auth, model.spec.endpoint.tls
    keys = [] if auth is None else [SecretFolder("keys", "--api-keys", auth.secret_ref.name)]
    return [*keys, *([] if tls is None else [SecretFolder("serving", "--tls", tls.secret_ref.name)])]
