"""Where a model is looked for, what is loaded of it, and when two tokenizers are one."""

from __future__ import annotations

import errno
import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from httpx2 import RemoteProtocolError
from huggingface_hub import constants
from huggingface_hub.errors import LocalEntryNotFoundError
from outrider_serving import loading
from safetensors.torch import load_file
from support.tiny import EXTRA_MERGES, tiny_llama_dir, tiny_tokenizer
from tokenizers import normalizers
from tokenizers.models import BPE
from transformers import AutoModelForCausalLM, GenerationConfig, LlamaConfig, LlamaForCausalLM


def test_a_mirror_folder_is_looked_up_before_the_hub(tmp_path: Path) -> None:
    folder = tiny_llama_dir(tmp_path / "acme" / "tiny")
    assert loading.resolve("hf://acme/tiny", mirror=str(tmp_path)) == folder
    assert loading.resolve("hf://acme/tiny", revision="abc", mirror=f"file://{tmp_path}") == folder
    assert loading.resolve(f"file://{folder}") == folder


def test_a_model_one_level_down_is_found_as_images_for_other_servers_hold_it(tmp_path: Path) -> None:
    folder = tiny_llama_dir(tmp_path / "models")
    assert loading.resolve(f"file://{tmp_path}") == folder


@pytest.mark.parametrize(
    ("uri", "says"),
    [
        ("s3://bucket/model", "run `outrider-models fetch s3://bucket/model DIRECTORY`"),
        ("pvc://claim/model", "pvc:// is for a cluster, which mounts it; use hf://"),
        ("oci://registry/model", "oci:// is for a cluster, which mounts it"),
        ("acme/tiny", "not a model URI; write hf://org/name"),
        ("hf://tiny", "not of the form hf://org/name"),
        ("hf://../tiny", "not of the form hf://org/name"),
        ("hf://acme/../x", "not of the form hf://org/name"),
        ("file://relative", "the path is not absolute"),
        ("file:///nowhere/at/all", "no config.json in /nowhere/at/all"),
    ],
)
def test_a_uri_that_names_no_model_is_one_line(uri: str, says: str) -> None:
    with pytest.raises(loading.ModelNotFound) as error:
        loading.resolve(uri)
    assert str(error.value).startswith(f"{uri}: ")
    assert says in str(error.value)
    assert "\n" not in str(error.value)


def test_a_packaged_model_that_is_missing_names_the_command_that_prepares_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    with pytest.raises(loading.ModelNotFound, match="run `outrider-models prepare qwen-coder`") as error:
        loading.resolve("hf://Qwen/Qwen2.5-Coder-1.5B-Instruct", mirror=str(tmp_path))
    assert str(tmp_path / "Qwen") in str(error.value)


@pytest.mark.parametrize(
    ("error", "says"),
    [
        (RemoteProtocolError("closed without a response"), r"the hub \(closed without a response\); check the name"),
        (LocalEntryNotFoundError("no connection"), r"the hub \(no connection\); check the name"),
        (KeyError("sha"), r"what answers is no hub \(check HF_ENDPOINT\)"),
        (TypeError("'NoneType' object"), r"what answers is no hub \(check HF_ENDPOINT\)"),
        (OSError(errno.EROFS, "Read-only file system", "/hub"), "/hub: Read-only file system; free space, or name"),
    ],
)
def test_a_hub_that_fails_is_one_line_and_a_disk_that_does_is_no_fault_of_the_name(
    monkeypatch: pytest.MonkeyPatch, error: Exception, says: str
) -> None:
    def fail(*_args: object, **_options: object) -> None:
        raise error

    monkeypatch.setattr(loading, "snapshot_download", fail)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    with pytest.raises(loading.ModelNotFound, match=rf"^hf://acme/tiny: [^\n]*{says}[^\n]*$"):
        loading.resolve("hf://acme/tiny")


def test_a_bf16_model_computes_in_bf16_where_the_cpu_does_and_else_in_float32(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    folder = tiny_llama_dir(tmp_path / "tiny", dtype=torch.bfloat16)
    monkeypatch.setattr(loading, "_cpu_has_bf16", lambda: True)
    assert loading.load_model(folder).dtype == torch.bfloat16
    monkeypatch.setattr(loading, "_cpu_has_bf16", lambda: False)
    assert loading.load_model(folder).dtype == torch.float32
    assert loading.load_model(folder, "bfloat16").dtype == torch.bfloat16
    assert loading.choose_dtype("auto", torch.float32) == torch.float32


def test_a_loaded_model_is_ready_for_inference(tmp_path: Path) -> None:
    model = loading.load_model(tiny_llama_dir(tmp_path / "tiny"), "float32", "eager")
    assert not model.training
    assert not any(parameter.requires_grad for parameter in model.parameters())
    assert loading.model_context_length(model.config) == 256


def test_bf16_weights_are_the_same_numbers_in_float32(tmp_path: Path) -> None:
    folder = tiny_llama_dir(tmp_path / "tiny", dtype=torch.bfloat16)
    narrow = loading.load_model(folder, "bfloat16").state_dict()
    wide = loading.load_model(folder, "float32").state_dict()
    assert all(torch.equal(narrow[name].float(), wide[name]) for name in wide)


def test_pickled_weights_are_refused_in_one_line(tmp_path: Path) -> None:
    folder = tiny_llama_dir(tmp_path / "tiny")
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    with pytest.raises(ValueError, match=r"^[^\n]*no safetensors there[^\n]*$"):
        loading.load_model(folder)


def test_a_model_that_lacks_weights_is_refused_and_not_served_with_random_ones(tmp_path: Path) -> None:
    folder = tiny_llama_dir(tmp_path / "tiny", layers=2)
    config = LlamaConfig.from_pretrained(folder)
    config.num_hidden_layers = 3
    config.save_pretrained(folder)
    with pytest.raises(ValueError, match=r"^[^\n]*9 weights of the model are in none[^\n]*model\.layers\.2[^\n]*$"):
        loading.load_model(folder)


def test_a_model_whose_output_layer_is_its_embedding_lacks_nothing(tmp_path: Path) -> None:
    folder = tiny_llama_dir(tmp_path / "tiny")
    config = LlamaConfig.from_pretrained(folder, tie_word_embeddings=True)
    LlamaForCausalLM(config).save_pretrained(folder)
    assert "lm_head.weight" not in load_file(folder / "model.safetensors")
    model = loading.load_model(folder)
    assert model.get_output_embeddings().weight is model.get_input_embeddings().weight


def test_a_damaged_folder_is_one_line(tmp_path: Path) -> None:
    folder = tiny_llama_dir(tmp_path / "tiny")
    (folder / "tokenizer.json").write_text("{")
    with pytest.raises(ValueError, match=r"^[^\n]*no tokenizer to load[^\n]*$"):
        loading.load_tokenizer(folder)
    (folder / "config.json").write_text("{")
    with pytest.raises(ValueError, match=r"^[^\n]*config.json cannot be read[^\n]*$"):
        loading.load_model(folder)


def cut_short(folder: Path) -> None:
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1000])


def configured(**fields: object) -> Callable[[Path], None]:
    def rewrite(folder: Path) -> None:
        config = folder / "config.json"
        config.write_text(json.dumps(json.loads(config.read_text()) | fields))

    return rewrite


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        (cut_short, "file not fully covered"),
        (configured(hidden_size=128), "mismatched_sizes"),
        (configured(num_attention_heads=3), "not a multiple of the number of attention heads"),
        (configured(hidden_size="a"), "hidden_size"),
        (configured(quantization_config={"quant_method": "gptq", "bits": 4}), "optimum"),
    ],
    ids=["cut short", "other shapes", "heads", "no number", "a quantization that is not installed"],
)
def test_weights_that_cannot_be_loaded_are_one_line_with_the_cause(
    tmp_path: Path, damage: Callable[[Path], None], says: str
) -> None:
    folder = tiny_llama_dir(tmp_path / "tiny")
    damage(folder)
    with pytest.raises(ValueError, match=rf"^[^\n]*cannot be loaded: [^\n]*{says}[^\n]*check its files$"):
        loading.load_model(folder)


def test_a_config_that_contradicts_itself_is_one_line_with_the_cause(tmp_path: Path) -> None:
    folder = tiny_llama_dir(tmp_path / "tiny")
    configured(num_attention_heads=3)(folder)
    with pytest.raises(ValueError, match=r"^[^\n]*config.json cannot be read: [^\n]*not a multiple[^\n]*$"):
        loading.load_config(folder)


def test_memory_that_does_not_suffice_is_no_fault_of_the_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_args: object, **_options: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(AutoModelForCausalLM, "from_pretrained", full)
    with pytest.raises(torch.OutOfMemoryError):
        loading.load_model(tiny_llama_dir(tmp_path / "tiny"))


def test_an_unknown_dtype_names_the_flag() -> None:
    with pytest.raises(ValueError, match="--dtype: int3 is not known; use auto, bfloat16 or float32"):
        loading.choose_dtype("int3", None)


def test_a_fingerprint_survives_saving_templates_padding_and_truncation(tmp_path: Path) -> None:
    built = tiny_tokenizer()
    fingerprint = loading.tokenizer_fingerprint(built)
    built.save_pretrained(tmp_path / "saved")
    assert loading.tokenizer_fingerprint(loading.load_tokenizer(tmp_path / "saved")) == fingerprint
    built.chat_template = "other"
    built.backend_tokenizer.enable_truncation(8)
    built.backend_tokenizer.enable_padding(length=8)
    assert loading.tokenizer_fingerprint(built) == fingerprint


def test_a_fingerprint_differs_with_vocabulary_merges_and_normalizer() -> None:
    fingerprint = loading.tokenizer_fingerprint(tiny_tokenizer())
    other_vocabulary = tiny_tokenizer((*EXTRA_MERGES, ("o", "u")))
    assert loading.tokenizer_fingerprint(other_vocabulary) != fingerprint
    # The same tokens under the same ids, split by other merges.
    reordered = tiny_tokenizer()
    tokens = reordered.get_vocab()
    reordered.backend_tokenizer.model = BPE(vocab=tokens, merges=list(reversed(EXTRA_MERGES[1:])))
    assert reordered.get_vocab() == tokens
    assert loading.tokenizer_fingerprint(reordered) != fingerprint
    lowercase = tiny_tokenizer()
    lowercase.backend_tokenizer.normalizer = normalizers.Lowercase()
    assert loading.tokenizer_fingerprint(lowercase) != fingerprint


def test_an_answer_ends_at_every_end_that_is_named() -> None:
    tokenizer = tiny_tokenizer()
    own = tokenizer.eos_token_id
    config = LlamaConfig(eos_token_id=7)
    several = GenerationConfig.from_dict({"eos_token_id": [3, 4]})
    assert loading.eos_token_ids(config, several, tokenizer) == {3, 4, own}
    assert loading.eos_token_ids(config, GenerationConfig.from_dict({}), tokenizer) == {7, own}
    assert loading.eos_token_ids(config, None, tokenizer) == {7, own}


def test_a_rope_that_one_long_request_would_change_for_all_is_known_by_its_length() -> None:
    def steady(**rope: object) -> int | None:
        config = LlamaConfig(max_position_embeddings=4096, rope_parameters={"rope_theta": 1e4, **rope})
        return loading.steady_rope_length(config)

    assert steady(rope_type="default") is None
    assert steady(rope_type="yarn", factor=2.0, original_max_position_embeddings=2048) is None
    assert steady(rope_type="dynamic", factor=2.0) == 4096
    factors = {"short_factor": [1.0] * 64, "long_factor": [2.0] * 64}
    assert steady(rope_type="longrope", original_max_position_embeddings=512, **factors) == 512
