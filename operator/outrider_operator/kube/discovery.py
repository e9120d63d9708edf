"""Which of the APIs that a cluster may lack are there. They come with their CRDs, at any time."""

from __future__ import annotations

from outrider_operator.kube.client import Kube
from outrider_operator.resources.platform import OPTIONAL_APIS, Api


async def optional_apis(kube: Kube) -> frozenset[Api]:
    """Raises KubeError when the server could not be asked: then what was known before stands."""
    kinds = {version: await kube.kinds(version) for version in sorted({version for version, _ in OPTIONAL_APIS})}
    return frozenset((version, kind) for version, kind in OPTIONAL_APIS if kind in kinds[version])
