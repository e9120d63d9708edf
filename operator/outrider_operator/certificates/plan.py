"""The Secrets that a model's roles are to have, given those that are there. Pure, but for the keys that it makes."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

from outrider_operator.api.v1alpha1 import SpeculativeModel
from outrider_operator.certificates.authority import Pair, fits, good, issue, renewal
from outrider_operator.certificates.rotation import Authorities, advance, first, read
from outrider_operator.resources.certificates import (
    CERTIFICATE,
    KEY,
    TRUSTED,
    authority_secret,
    dns_names,
    files,
    identity_secret,
)
from outrider_operator.resources.pod import Object

ROLES = ("draft", "target")


def authorities(namespace: str, there: Object | None, now: datetime) -> Authorities:
    """Those of the namespace as they are to be. there: the Secret that holds them. Raises BadAuthority."""
    return first(namespace, now) if there is None else advance(read(files(there)), namespace, now)


def authority(namespace: str, held: Authorities, there: Object | None) -> Object | None:
    """The Secret to write; None where it is right. One that has been changed meanwhile is not written over."""
    wanted = authority_secret(namespace, held.files())
    if there is None:
        return wanted
    if files(there) == held.files():
        return None
    version = there["metadata"]["resourceVersion"]
    return {**wanted, "metadata": {**wanted["metadata"], "resourceVersion": version}}


def identities(model: SpeculativeModel, held: Authorities, there: Mapping[str, Object], now: datetime) -> list[Object]:
    """The Secret of each role. there: those that there are, by role; a certificate that is good is kept."""
    return [identity_secret(model, role, _identity(model, role, held, there.get(role), now)) for role in ROLES]


def _identity(
    model: SpeculativeModel, role: str, held: Authorities, there: Object | None, now: datetime
) -> dict[str, bytes]:
    names = dns_names(model, role)
    found = {} if there is None else files(there)
    pair = Pair(found.get(KEY, b""), found.get(CERTIFICATE, b""))
    fit = fits(pair, held.signing.certificate, names)
    if not (fit and good(pair.certificate, now) and now < renewal(pair.certificate)):
        pair = issue(held.signing, names, now)
    return {CERTIFICATE: pair.certificate, KEY: pair.key, TRUSTED: held.bundle}
