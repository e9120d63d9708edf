"""A context shorter than what warm-up reads is served like any other."""

from __future__ import annotations

from pathlib import Path

from outrider_serving import flags
from outrider_serving.role import load_role
from support.pair import random_llama
from support.tiny import tiny_tokenizer


def test_a_model_is_loaded_and_measured_for_one_sequence_of_a_few_tokens(tmp_path: Path) -> None:
    random_llama(1).save_pretrained(tmp_path)
    tiny_tokenizer().save_pretrained(tmp_path)
    role = load_role(
        f"file://{tmp_path}", None, None, flags.Dtype.FLOAT32, 24, flags.kv_cache_size("1Mi", None, max_num_seqs=1)
    )
    assert role.max_model_len_tokens == 24
    assert role.forwards.by_rows[32] > 0
