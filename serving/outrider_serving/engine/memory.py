"""How much memory a KV pool may have."""

from __future__ import annotations

import re
from decimal import Decimal
from pathlib import Path

import psutil
import torch

from outrider_serving.engine.kv_pool import KVShape, blocks_for

CGROUPS = Path("/sys/fs/cgroup")
# (limit, use) of a container, in the second version of cgroups and in the first.
CGROUP_FILES = (
    ("memory.max", "memory.current"),
    ("memory/memory.limit_in_bytes", "memory/memory.usage_in_bytes"),
)


def free_bytes(device: torch.device) -> int:
    """Memory that this process may still take: the device's, or the machine's as far as the container's limit goes."""
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    return min([psutil.virtual_memory().available, *_left_in_container(CGROUPS)])


def _left_in_container(root: Path) -> list[int]:
    left = []
    for limit, use in CGROUP_FILES:
        try:
            allowed = (root / limit).read_text().strip()
            if allowed != "max":
                left.append(max(0, int(allowed) - int((root / use).read_text())))
        except (OSError, ValueError):
            continue  # no such cgroup: nothing limits the process here
    return left


def pool_blocks(shape: KVShape, allowed_bytes: int, sequences: int, max_model_len_tokens: int) -> int:
    """Blocks of a pool of at most `allowed_bytes`, and no more than so many sequences of full length need."""
    return min(allowed_bytes // shape.block_bytes, sequences * blocks_for(max_model_len_tokens))


# As the CRD has it for kvCache.memory: what it takes must not fail in the pod.
QUANTITY = re.compile(r"([0-9]+(?:\.[0-9]*)?|\.[0-9]+)([KMGTPE]i|[numkMGTPE]|[eE][+-]?[0-9]{1,2})?")
EXPONENTS = {"": 0, "n": -9, "u": -6, "m": -3, "k": 3, "M": 6, "G": 9, "T": 12, "P": 15, "E": 18}


def parse_size(text: str) -> int:
    """A quantity of memory as Kubernetes writes it, in bytes: 4Gi, 512M, 1.5Gi. Raises ValueError."""
    match = QUANTITY.fullmatch(text.strip())
    size_bytes = 0 if match is None else int(Decimal(match[1]) * _unit(match[2] or ""))
    if size_bytes < 1:
        raise ValueError(f"{text!r} is not an amount of memory; write it like 4Gi or 512Mi")
    return size_bytes


def _unit(suffix: str) -> Decimal:
    """Bytes of 1 with this suffix."""
    if suffix.endswith("i"):
        return Decimal(1024 ** ("KMGTPE".index(suffix[0]) + 1))
    return Decimal(1).scaleb(EXPONENTS[suffix] if suffix in EXPONENTS else int(suffix[1:]))
