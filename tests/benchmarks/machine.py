"""What the figures were measured on."""

from __future__ import annotations

import platform
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import psutil
import torch
from outrider_operator.local.cores import machine_cores
from outrider_serving.flags import Dtype
from outrider_serving.loading import DTYPES, choose_dtype

# What servers choose for a model saved in bfloat16: float32 where the processor lacks its products.
DTYPE = Dtype(str(choose_dtype("auto", torch.bfloat16)).removeprefix("torch."))


def describe() -> dict[str, Any]:
    return {
        "cpu": _cpu_model(),
        "cores": len(machine_cores()),
        "memory_gib": round(psutil.virtual_memory().total / 2**30, 1),
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "torch": version("torch"),
        "transformers": version("transformers"),
        "outrider_serving": version("outrider-serving"),
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def weights_bytes(file_bytes: int, dtype: str = DTYPE) -> int:
    """What a model takes in memory whose file, in bfloat16, takes so much."""
    return file_bytes * DTYPES[dtype].itemsize // torch.bfloat16.itemsize


def _cpu_model() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith(("model name", "Model"))]
    return names[0] if names else platform.machine()
