"""A GGUF file becomes the very model that it was written from."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from outrider_serving.loading import load_model, load_tokenizer, tokenizer_fingerprint
from outrider_serving.models.cache import is_prepared
from outrider_serving.models.catalogue import SMOLLM2_135M
from outrider_serving.models.convert import convert, transformers_name
from outrider_serving.models.slice import slice_layers
from support.tiny import tiny_llama_dir
from transformers import PreTrainedModel
from unit.models.gguf_files import write_gguf

TIED = SMOLLM2_135M
UNTIED = replace(SMOLLM2_135M, tied_embeddings=False)
PROMPT = torch.tensor([[5, 80, 17, 99, 3, 42]])


@pytest.fixture
def original(tmp_path: Path) -> PreTrainedModel:
    """A tiny Llama whose weights bf16 can hold exactly."""
    folder = tiny_llama_dir(tmp_path / "original", dtype=torch.bfloat16)
    return load_model(folder, "float32")


def test_the_converted_model_computes_what_the_original_computes(original: PreTrainedModel, tmp_path: Path) -> None:
    target = tmp_path / "acme" / "tiny"
    convert(write_gguf(tmp_path / "m.gguf", original), target, UNTIED)
    converted = load_model(target, "float32")
    with torch.no_grad():
        assert torch.equal(converted(PROMPT).logits, original(PROMPT).logits)
    assert is_prepared(target, UNTIED)
    assert (target / "model.safetensors").stat().st_mode & 0o044 == 0o044
    assert load_model(target, "bfloat16").dtype == torch.bfloat16


def test_a_tied_model_keeps_the_finer_of_the_two_copies(original: PreTrainedModel, tmp_path: Path) -> None:
    convert(write_gguf(tmp_path / "m.gguf", original), tmp_path / "tied", TIED)
    tied = load_model(tmp_path / "tied", "float32")
    finer = original.state_dict()["lm_head.weight"]
    for name in ("model.embed_tokens.weight", "lm_head.weight"):
        assert torch.equal(tied.state_dict()[name], finer)


def test_the_converted_tokenizer_reads_back_what_it_wrote(original: PreTrainedModel, tmp_path: Path) -> None:
    convert(write_gguf(tmp_path / "m.gguf", original), tmp_path / "tiny", UNTIED)
    tokenizer = load_tokenizer(tmp_path / "tiny")
    text = "the  thin man,\n\tcafé 日本 2024 <|end|>"
    ids = tokenizer(text)["input_ids"]
    assert tokenizer.decode(ids) == text
    assert ids[-1] == tokenizer.eos_token_id == 1
    rendered = tokenizer.apply_chat_template([{"role": "user", "content": "hi"}], tokenize=False)
    assert rendered == "<|start|>hi<|end|>"


@pytest.mark.parametrize(
    ("changed", "says"),
    [({"pre": "unheard-of"}, "pre-tokenizer unheard-of"), ({"architecture": "mamba"}, "architecture mamba")],
)
def test_a_file_that_cannot_be_converted_leaves_nothing_behind(
    original: PreTrainedModel, tmp_path: Path, changed: dict[str, str], says: str
) -> None:
    gguf = write_gguf(tmp_path / "m.gguf", original, **changed)
    with pytest.raises(ValueError, match=says):
        convert(gguf, tmp_path / "mirror" / "tiny", TIED)
    assert list((tmp_path / "mirror").iterdir()) == []


def test_a_tensor_without_a_place_is_refused_by_name() -> None:
    assert transformers_name("blk.3.ffn_gate.weight") == "model.layers.3.mlp.gate_proj.weight"
    with pytest.raises(ValueError, match=r"blk\.0\.ffn_gate_exps\.weight"):
        transformers_name("blk.0.ffn_gate_exps.weight")


def test_a_slice_is_the_model_stopped_after_its_first_layers(tmp_path: Path) -> None:
    source = tiny_llama_dir(tmp_path / "source", layers=4)
    slice_layers(source, tmp_path / "slice", 2)
    whole, sliced = load_model(source, "float32"), load_model(tmp_path / "slice", "float32")
    whole.model.layers = whole.model.layers[:2]
    assert torch.equal(sliced(PROMPT).logits, whole(PROMPT, use_cache=False).logits)
    fingerprints = {tokenizer_fingerprint(load_tokenizer(path)) for path in (source, tmp_path / "slice")}
    assert len(fingerprints) == 1


@pytest.mark.parametrize(("layers", "says"), [(0, "--layers: 0"), (3, "--layers: 3 is not between 1 and")])
def test_a_slice_of_more_layers_than_there_are_names_the_flag(tmp_path: Path, layers: int, says: str) -> None:
    source = tiny_llama_dir(tmp_path / "source", layers=2)
    with pytest.raises(ValueError, match=says):
        slice_layers(source, tmp_path / "slice", layers)
    with pytest.raises(ValueError, match=r"DST: .* is there already"):
        slice_layers(source, source, 1)
    assert not (tmp_path / "slice").exists()
