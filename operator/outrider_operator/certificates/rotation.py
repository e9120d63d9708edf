"""The authorities of a namespace, and how one follows another without anybody being turned away.

A new authority is trusted for a day before it signs: pods have the Secret that names it within minutes, those of a node
that was away when it is back. The old one is trusted for as long as it is good, so that its certificates are as well.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from outrider_operator.certificates.authority import Pair, begun, good, is_pair, new_authority, renewal, split
from outrider_operator.resources.certificates import CERTIFICATE, KEY, TRUSTED

KNOWN_BEFORE_SIGNING = timedelta(days=1)
COMING_CERTIFICATE, COMING_KEY = "next.crt", "next.key"


class BadAuthority(ValueError):
    """What is there is no authority. The message never holds any of it."""


@dataclass(frozen=True)
class Authorities:
    """signing: issues all certificates. coming: will, in a day. trusted: certificates, those two's among them."""

    signing: Pair
    coming: Pair | None
    trusted: tuple[bytes, ...]

    @property
    def bundle(self) -> bytes:
        """What a role trusts, as one file."""
        return b"".join(self.trusted)

    def files(self) -> dict[str, bytes]:
        """As they are kept in a Secret."""
        found = {CERTIFICATE: self.signing.certificate, KEY: self.signing.key, TRUSTED: self.bundle}
        if self.coming is not None:
            found |= {COMING_CERTIFICATE: self.coming.certificate, COMING_KEY: self.coming.key}
        return found


def first(namespace: str, now: datetime) -> Authorities:
    """Those of a namespace that has none."""
    made = new_authority(namespace, now)
    return Authorities(made, None, (made.certificate,))


def read(files: Mapping[str, bytes]) -> Authorities:
    """What `Authorities.files` wrote. Raises BadAuthority."""
    signing = Pair(files.get(KEY, b""), files.get(CERTIFICATE, b""))
    coming = None
    if COMING_CERTIFICATE in files or COMING_KEY in files:
        coming = Pair(files.get(COMING_KEY, b""), files.get(COMING_CERTIFICATE, b""))
    try:
        trusted = tuple(split(files.get(TRUSTED, b"")))
    except ValueError:
        trusted = ()
    needed = [each for each in (signing, coming) if each is not None]
    if not all(is_pair(each) and each.certificate in trusted for each in needed):
        raise BadAuthority("it holds no authority")
    return Authorities(signing, coming, trusted)


def advance(held: Authorities, namespace: str, now: datetime) -> Authorities:
    """What is to follow by now; the same where nothing is."""
    if held.coming is not None and not good(held.coming.certificate, now):
        held = replace(held, coming=None)
    signs = good(held.signing.certificate, now)
    if held.coming is None and not signs:
        return first(namespace, now)  # after years in which no operator ran, or by a clock that is right again
    if held.coming is not None and (not signs or begun(held.coming.certificate) + KNOWN_BEFORE_SIGNING <= now):
        return advance(replace(held, signing=held.coming, coming=None), namespace, now)
    if held.coming is None and renewal(held.signing.certificate) <= now:
        coming = new_authority(namespace, now)
        held = replace(held, coming=coming, trusted=(coming.certificate, *held.trusted))
    return replace(held, trusted=tuple(each for each in held.trusted if good(each, now)))
