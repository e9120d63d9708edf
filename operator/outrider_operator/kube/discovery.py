"""Which of the APIs that a cluster may lack are there. They come with their CRDs, at any time."""

from __future__ import annotations

from outrider_operator.kube.client import Kube
from outrider_operator.resources.platform import OPTIONAL_APIS


async def optional_apis(kube: Kube) -> frozenset[str]:
    """Raises KubeError when the server could not be asked: then what was known before stands."""
    return frozenset([version for version in sorted(OPTIONAL_APIS) if await kube.served(version)])
