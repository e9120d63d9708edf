"""What an HTTP client has to know of an API server: as a kubeconfig of the test clusters says it."""

from __future__ import annotations

import ssl
from pathlib import Path
from typing import TypedDict

import yaml


class Access(TypedDict):
    """The arguments of httpx' clients."""

    base_url: str
    headers: dict[str, str]
    verify: ssl.SSLContext


def access(kubeconfig: Path) -> Access:
    """Of its user, by a token."""
    content = yaml.safe_load(kubeconfig.read_text(encoding="utf-8"))
    cluster, user = content["clusters"][0]["cluster"], content["users"][0]["user"]
    return Access(
        base_url=cluster["server"],
        headers={"Authorization": f"Bearer {user['token']}"},
        verify=ssl.create_default_context(cafile=cluster["certificate-authority"]),
    )
