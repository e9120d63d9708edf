"""Which of the APIs that a cluster may lack are there. They come with their CRDs, at any time."""

from __future__ import annotations

from collections.abc import Set

import structlog

from outrider_operator.kube.client import Kube
from outrider_operator.kube.errors import KubeError
from outrider_operator.resources.platform import OPTIONAL_APIS, Api

log = structlog.get_logger()


async def optional_apis(kube: Kube, known: Set[Api]) -> frozenset[Api]:
    """Of one that does not answer, as an aggregated API may not while its own server is away, what was known stands."""
    found: set[Api] = set()
    for version in sorted({version for version, _ in OPTIONAL_APIS}):
        of_version = {api for api in OPTIONAL_APIS if api[0] == version}
        try:
            kinds = await kube.kinds(version)
        except KubeError as error:
            log.warning("API not discovered", api=version, error=str(error))
            found |= of_version & known
        else:
            found |= {(version, kind) for _, kind in of_version if kind in kinds}
    return frozenset(found)
