"""How large a pool may be."""

from __future__ import annotations

from pathlib import Path

import psutil
import pytest
import torch
from outrider_serving.engine import memory
from outrider_serving.engine.kv_pool import BLOCK_TOKENS, KVShape
from outrider_serving.engine.memory import free_bytes, parse_size, pool_blocks

CPU = torch.device("cpu")
SHAPE = KVShape(layers=2, kv_heads=2, head_dim=8, dtype=torch.float32, device=CPU)


def test_a_pool_takes_what_is_allowed_and_no_more_than_full_sequences_need() -> None:
    assert SHAPE.block_bytes == BLOCK_TOKENS * 2 * 2 * 2 * 8 * 4
    assert pool_blocks(SHAPE, 10 * SHAPE.block_bytes + 1, sequences=4, max_model_len_tokens=100) == 10
    assert pool_blocks(SHAPE, 1 << 40, sequences=4, max_model_len_tokens=100) == 4 * 7
    assert pool_blocks(SHAPE, 100, sequences=4, max_model_len_tokens=100) == 0


@pytest.mark.parametrize(
    "files",
    [
        {"memory.max": "3000", "memory.current": "1000"},
        {"memory/memory.limit_in_bytes": "3000", "memory/memory.usage_in_bytes": "1000"},
    ],
)
def test_a_container_has_what_its_limit_leaves(
    files: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, content in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(content + "\n")
    monkeypatch.setattr(memory, "CGROUPS", tmp_path)
    assert free_bytes(CPU) == 2000


def test_without_a_limit_there_is_what_the_machine_has(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "memory.max").write_text("max\n")
    monkeypatch.setattr(memory, "CGROUPS", tmp_path)
    assert 0 < free_bytes(CPU) <= psutil.virtual_memory().total


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("4Gi", 4 << 30),
        (" 4Gi ", 4 << 30),
        ("512M", 512_000_000),
        ("1.5Ki", 1536),
        ("1000000", 1_000_000),
        ("4294967296000m", 4 << 30),
        ("2e9", 2_000_000_000),
        ("1.Pi", 1 << 50),
        (".5E", 500_000_000_000_000_000),
        ("1999m", 1),
    ],
)
def test_sizes_are_read_as_kubernetes_writes_them(text: str, size: int) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize(
    "text", ["", "lots", "4GiB", "-1Gi", "0", "nan", "1e400", "0Gi", "999m", "1_000", "4 Gi", "4K"]
)
def test_what_is_no_size_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(ValueError, match="4Gi"):
        parse_size(text)
