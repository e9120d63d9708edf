"""The Secrets that a container reads as folders."""

from outrider_operator.api.v1alpha1 import SpeculativeModel
from outrider_operator.resources.certificates import identity_name
from outrider_operator.resources.folders import Folder
from outrider_operator.resources.placement import draft_in_use
from outrider_operator.resources.platform import Platform


def identity(model: SpeculativeModel, role: str, platform: Platform) -> list[Folder]:
    """By which draft and target know each other; none without a draft, and on the loopback of one machine."""
    if draft_in_use(model) is None or platform.network.local_drafts is not None:
        return []
    return [_secret("identity", "--identity", identity_name(model, role))]


def endpoint(model: SpeculativeModel) -> list[Folder]:
    """The keys of the target's clients, and its certificate for them."""
    auth, tls = model.spec.endpoint.auth, model.spec.endpoint.tls
    keys = [] if auth is None else [_secret("keys", "--api-keys", auth.secret_ref.name)]
    return [*keys, *([] if tls is None else [_secret("serving", "--tls", tls.secret_ref.name)])]


def _secret(purpose: str, flag: str, name: str) -> Folder:
    return Folder(purpose, flag, {"secret": {"secretName": name}})
