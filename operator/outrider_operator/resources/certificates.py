"""The Secrets by which a model's draft and target know each other, and where the pods have them."""

from __future__ import annotations

from base64 import b64decode, b64encode
from binascii import Error
from collections.abc import Mapping

from outrider_operator.api.v1alpha1 import SpeculativeModel
from outrider_operator.resources.names import Object, labels, namespace

# One for all models of a namespace, and of none: it is to outlive each of them.
AUTHORITY = "outrider-ca"
CERTIFICATE, KEY, TRUSTED = "tls.crt", "tls.key", "ca.crt"
OURS = {"app.kubernetes.io/part-of": "outrider", "app.kubernetes.io/managed-by": "outrider-operator"}


def identity_name(model: SpeculativeModel, role: str) -> str:
    """Name of the Secret that a role's pods mount."""
    return f"{model.metadata.name}-{role}-tls"


def dns_names(model: SpeculativeModel, role: str) -> tuple[str, ...]:
    """What a role's certificate is for: its Service, by which the target names the draft, and each pod behind it."""
    service = f"{model.metadata.name}-{role}.{namespace(model)}.svc"
    return service, f"*.{service}"


def identity_secret(model: SpeculativeModel, role: str, files: Mapping[str, bytes]) -> Object:
    """The Secret of one role: its certificate and key, and the authorities that it trusts."""
    return _secret(identity_name(model, role), namespace(model), labels(model, role), files)


def authority_secret(namespace_: str, files: Mapping[str, bytes]) -> Object:
    """The Secret of the namespace's authority. No pod mounts it."""
    return _secret(AUTHORITY, namespace_, OURS, files)


def files(secret: Object) -> dict[str, bytes]:
    """What a Secret holds. What is not base64 is left out: somebody has put it there by hand."""
    found = {}
    for name, value in (secret.get("data") or {}).items():
        try:
            found[name] = b64decode(value, validate=True)
        except (Error, ValueError):
            continue
    return found


def _secret(name: str, namespace_: str, labels_: Mapping[str, str], files_: Mapping[str, bytes]) -> Object:
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": name, "namespace": namespace_, "labels": dict(labels_)},
        "type": "kubernetes.io/tls",
        "data": {name: b64encode(content).decode() for name, content in files_.items()},
    }
