"""How much memory a KV pool may have."""

from __future__ import annotations

from collections.abc import Sequence
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


UNITS: Sequence[tuple[str, int]] = (
    ("Ki", 1 << 10), ("Mi", 1 << 20), ("Gi", 1 << 30), ("Ti", 1 << 40),
    ("k", 10**3), ("M", 10**6), ("G", 10**9), ("T", 10**12),
)  # fmt: skip


def parse_size(text: str) -> int:
    """A quantity of memory as Kubernetes writes it, in bytes: 4Gi, 512M, 1.5Gi, 1000000. Raises ValueError."""
    number, unit = text.strip(), 1
    for suffix, factor in UNITS:
        if number.endswith(suffix):
            number, unit = number.removesuffix(suffix), factor
            break
    try:
        size = int(float(number) * unit)
    except (ValueError, OverflowError):
        size = 0
    if size < 1:
        raise ValueError(f"{text!r} is not an amount of memory; write it like 4Gi or 512Mi")
    return size
