"""Folders of certificates as pods have them: the operator's own, replaced as Kubernetes replaces a Secret's files."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

from outrider_operator.certificates.authority import Pair, issue, new_authority

NAME = "chat-draft.team.svc"
_versions = itertools.count(1)


def now() -> datetime:
    return datetime.now(UTC)


def authority() -> Pair:
    return new_authority("team", now())


def identity_files(
    signing: Pair, trusted: Sequence[Pair] = (), name: str = NAME, made_days: int = 0
) -> dict[str, bytes]:
    """What a role's Secret holds: a certificate of `signing`, and the authorities that it trusts."""
    pair = issue(signing, [name, f"*.{name}"], now() + timedelta(days=made_days))
    bundle = b"".join(each.certificate for each in trusted or (signing,))
    return {"tls.crt": pair.certificate, "tls.key": pair.key, "ca.crt": bundle}


def mount(folder: Path, files: Mapping[str, bytes]) -> Path:
    """Has the folder hold these files, all at once: a link to the folder that has them is replaced."""
    folder.mkdir(exist_ok=True)
    content = folder / f"..version_{next(_versions)}"
    content.mkdir()
    for name, value in files.items():
        (content / name).write_bytes(value)
        if not (folder / name).is_symlink():
            (folder / name).symlink_to(Path("..data") / name)
    fresh = folder / "..data_tmp"
    fresh.symlink_to(content.name)
    fresh.replace(folder / "..data")
    for link in folder.iterdir():
        if not link.name.startswith("..") and link.name not in files:
            link.unlink()
    return folder
