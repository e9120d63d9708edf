"""Both images, built on Debian's packages or taken from the cache."""

from __future__ import annotations

import pytest
from cluster import images_contents
from cluster.errors import NoCluster
from cluster.images import image_archives
from cluster.images_contents import Contents


@pytest.fixture(scope="session")
def images() -> dict[str, Contents]:
    """By name."""
    try:
        read = [images_contents.read(archive) for archive in image_archives()]
    except NoCluster as error:
        pytest.exit(f"no images: {error}", returncode=2)
    return {contents.tags[0].rpartition("/")[2].partition(":")[0]: contents for contents in read}
