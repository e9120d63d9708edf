"""Finds a model by its URI and loads it: mirror before hub, safetensors only, no code of the model's own."""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path
from typing import Any

import torch
from httpx2 import RequestError
from huggingface_hub import constants, snapshot_download
from huggingface_hub.errors import HfHubHTTPError, HFValidationError
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoTokenizer,
    GenerationConfig,
    PreTrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)
from transformers.distributed.configuration_utils import DistributedConfig
from transformers.utils import logging as transformers_logging

from outrider_serving.models.cache import HUB_NAME, cache_root, exclusive, expanded
from outrider_serving.models.catalogue import SETS
from outrider_serving.models.download import MODEL_FILES
from outrider_serving.models.remote import MirrorUnreachable, NotInMirror, copy_model, shown

DTYPES = {"bfloat16": torch.bfloat16, "float32": torch.float32}
# What a CPU says in /proc/cpuinfo when it multiplies bf16 natively (x86 twice, Arm).
CPU_BF16_FLAGS = {"amx_bf16", "avx512_bf16", "bf16"}


class ModelNotFound(ValueError):
    """No model at the URI; the message is one line: the URI, where was looked, the remedy."""


def resolve(uri: str, revision: str | None = None, mirror: str | None = None) -> Path:
    """The local folder of the model at `uri` (hf://org/name or file:///path), fetched if need be.

    `mirror`, a folder or http(s) URL laid out as org/name, is looked up before the hub; it holds one revision
    of each model, so `revision` is for the hub alone. Raises ModelNotFound.
    """
    scheme, separator, rest = uri.partition("://")
    if not separator or scheme not in ("hf", "file", "pvc", "s3", "oci"):
        raise ModelNotFound(f"{uri}: not a model URI; write hf://org/name or file:///path")
    if scheme == "file":
        return _local_folder(uri, rest)
    if scheme == "s3":
        raise ModelNotFound(f"{uri}: run `outrider-models fetch {uri} DIRECTORY` and give file://DIRECTORY")
    if scheme != "hf":
        raise ModelNotFound(f"{uri}: {scheme}:// is for a cluster, which mounts it; use hf://org/name or file:///path")
    if not HUB_NAME.fullmatch(rest):
        raise ModelNotFound(f"{uri}: not of the form hf://org/name; give revisions by --revision")
    looked: list[str] = []
    if mirror:
        found = _in_mirror(rest, mirror, looked)
        if found is not None:
            return found
    return _from_hub(uri, rest, revision, looked)


def _local_folder(uri: str, path: str) -> Path:
    folder = Path(path)
    if not folder.is_absolute():
        raise ModelNotFound(f"{uri}: the path is not absolute; write file:///path with three slashes")
    # An image made for KServe (a modelcar) holds its model one level down.
    for place in (folder, folder / "models"):
        if (place / "config.json").is_file():
            return place
    raise ModelNotFound(f"{uri}: no config.json in {folder}; name the folder that holds the model's files")


def _in_mirror(name: str, mirror: str, looked: list[str]) -> Path | None:
    if not mirror.startswith(("http://", "https://")):
        folder = expanded(mirror.removeprefix("file://")) / name
        if (folder / "config.json").is_file():
            return folder
        looked.append(f"not in the mirror ({folder})")
        return None
    base = mirror.rstrip("/")
    # One folder per mirror: two mirrors may hold different copies under one name.
    root = cache_root() / "mirrors" / hashlib.sha256(base.encode()).hexdigest()[:12]
    target = root / name
    try:
        if target.exists():  # looked for before the lock, which a cache that may only be read does not give
            return target
        with exclusive(root):
            if not target.exists():
                copy_model(f"{base}/{name}", target)
    except NotInMirror:
        looked.append(f"not in the mirror ({shown(f'{base}/{name}')})")
        return None
    except MirrorUnreachable as error:
        raise ModelNotFound(
            f"hf://{name}: the mirror cannot be read: {error}; check OUTRIDER_MODEL_MIRROR, then start again"
        ) from None
    except OSError as error:
        reason = f"{error.strerror or error}; free space, or name another cache folder by OUTRIDER_CACHE"
        raise ModelNotFound(f"hf://{name}: {root}: {reason}") from None
    return target


def _from_hub(uri: str, name: str, revision: str | None, looked: list[str]) -> Path:
    try:
        # With HF_HUB_OFFLINE this looks in the hub's cache on this machine only.
        wanted = list(MODEL_FILES)
        return Path(snapshot_download(name, revision=revision, allow_patterns=wanted, ignore_patterns=["*/*"]))
    except (HfHubHTTPError, HFValidationError, RequestError, OSError, ValueError, KeyError, TypeError) as error:
        # The hub's own OSErrors have no number.
        if isinstance(error, OSError) and error.errno is not None:
            place = error.filename or constants.HF_HUB_CACHE
            reason = f"{error.strerror}; free space, or name another cache folder by HF_HOME"
            raise ModelNotFound(f"{uri}: {place}: {reason}") from None
        if constants.HF_HUB_OFFLINE:
            looked.append("not in the hub's cache on this machine, and HF_HUB_OFFLINE is set")
        elif isinstance(error, KeyError | TypeError):
            looked.append("what answers is no hub (check HF_ENDPOINT)")
        else:
            looked.append(f"not to be had from the hub ({_first_line(error)})")
    raise ModelNotFound(f"{uri}: {', '.join(looked)}; {_remedy(name)}") from None


def _remedy(name: str) -> str:
    for set_name, models in SETS.items():
        if any(model.hub_name == name for model in models):
            return (
                f"run `outrider-models prepare {set_name}` and set OUTRIDER_MODEL_MIRROR to what "
                "`outrider-models path` prints"
            )
    return "check the name, or set OUTRIDER_MODEL_MIRROR to a folder or URL that holds it"


def _first_line(error: BaseException) -> str:
    first, *rest = (str(error).strip() or type(error).__name__).splitlines()
    # "Validation error for field 'hidden_size':" does not say what is wrong with it.
    return f"{first} {rest[0].strip()}" if rest and first.endswith(":") else first


def choose_dtype(asked: str, checkpoint: torch.dtype | None) -> torch.dtype:
    """The dtype to compute in: what was asked, or for "auto" what this machine computes fast.

    "auto" takes the checkpoint's on a GPU. On a CPU it takes bf16 only where the CPU multiplies it natively,
    else float32: emulated bf16 and float16 are slower there than float32. Raises ValueError.
    """
    if asked != "auto":
        if asked not in DTYPES:
            raise ValueError(f"--dtype: {asked} is not known; use auto, {' or '.join(DTYPES)}")
        return DTYPES[asked]
    if torch.cuda.is_available():
        return checkpoint or torch.bfloat16
    return torch.bfloat16 if checkpoint == torch.bfloat16 and _cpu_has_bf16() else torch.float32


def _cpu_has_bf16() -> bool:
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        return False
    flags = re.search(r"^(?:flags|Features)\s*:(.*)$", text, re.MULTILINE)
    return flags is not None and not CPU_BF16_FLAGS.isdisjoint(flags[1].split())


def load_config(path: Path) -> PreTrainedConfig:
    """The model's config. Raises ValueError, in one line."""
    try:
        config: PreTrainedConfig = AutoConfig.from_pretrained(path, trust_remote_code=False, local_files_only=True)
    except Exception as error:  # a value of another kind is an error of huggingface_hub's own
        raise ValueError(f"{path}: config.json cannot be read: {_first_line(error)}; check its files") from None
    return config


def load_model(
    path: Path, dtype: str = "auto", attn_implementation: str | None = None, ranks: int = 1
) -> PreTrainedModel:
    """The causal language model in `path`, ready for inference, on the GPU where there is one. With several ranks,
    which torch.distributed has to know by now, this rank's slices of it.

    Raises ValueError, in one line, when the folder holds no safetensors, no model that transformers knows, or not all
    of its weights.
    """
    if not any(path.glob("*.safetensors")):
        raise ValueError(f"{path}: no safetensors there; save the model as safetensors (pickle is never loaded)")
    transformers_logging.disable_progress_bar()
    chosen = choose_dtype(dtype, _checkpoint_dtype(path))
    loaded: PreTrainedModel
    found: dict[str, set[str]]
    try:
        loaded, found = AutoModelForCausalLM.from_pretrained(  # type: ignore[misc] # the report makes them two
            path,
            output_loading_info=True,
            dtype=chosen,
            attn_implementation=attn_implementation,
            use_safetensors=True,
            trust_remote_code=False,
            local_files_only=True,
            distributed_config=DistributedConfig(tp_size=ranks, tp_plan="auto") if ranks > 1 else None,
        )
    except (MemoryError, torch.OutOfMemoryError):
        raise
    except Exception as error:  # damaged files, other shapes than the config's, a quantization that is not installed
        raise ValueError(f"{path}: the model cannot be loaded: {_first_line(error)}; check its files") from None
    if found["missing_keys"]:  # tied ones are not among them; transformers has filled these with random numbers
        missing = sorted(found["missing_keys"])
        reason = f"{len(missing)} weights of the model are in none of its files, like {missing[0]}"
        raise ValueError(f"{path}: {reason}; check that all of them are there and are those of a causal language model")
    loaded.eval().requires_grad_(False)
    if torch.cuda.is_available() and ranks == 1:  # slices are read onto their rank's GPU
        torch.nn.Module.to(loaded, "cuda")
    return loaded


def _checkpoint_dtype(path: Path) -> torch.dtype | None:
    try:
        content = json.loads((path / "config.json").read_text(encoding="utf-8"))
        named = content.get("dtype") or content.get("torch_dtype")  # the latter up to transformers 4
    except (OSError, ValueError, AttributeError) as error:
        raise ValueError(f"{path}: config.json cannot be read: {_first_line(error)}; check its files") from None
    dtype = getattr(torch, named, None) if isinstance(named, str) else None
    return dtype if isinstance(dtype, torch.dtype) else None


def load_tokenizer(path: Path) -> PreTrainedTokenizerBase:
    """The tokenizer in `path`. Raises ValueError, in one line, when there is none."""
    try:
        loaded: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(
            path, trust_remote_code=False, local_files_only=True
        )
    except Exception as error:  # tokenizers raises bare Exception on a damaged file
        raise ValueError(f"{path}: no tokenizer to load: {_first_line(error)}; check tokenizer.json") from None
    return loaded


def tokenizer_fingerprint(tokenizer: PreTrainedTokenizerBase) -> str:
    """SHA-256 over all that decides which ids a text becomes and which text ids become.

    Equal for two copies of one tokenizer whatever their chat templates, padding or truncation.
    """
    digest = hashlib.sha256()
    for token, index in sorted(tokenizer.get_vocab().items(), key=lambda item: (item[1], item[0])):
        digest.update(f"{index}\0{token}\0".encode("utf-8", "surrogatepass"))
    backend = getattr(tokenizer, "backend_tokenizer", None)
    rules = _splitting_rules(backend.to_str()) if backend is not None else type(tokenizer).__name__
    digest.update(json.dumps(rules, sort_keys=True).encode())
    return digest.hexdigest()


def _splitting_rules(serialised: str) -> Any:
    content = json.loads(serialised)
    model = {key: value for key, value in content["model"].items() if key != "vocab"}
    if model.get("merges"):  # older files write a merge as "a b", newer as ["a", "b"]
        model["merges"] = [merge if isinstance(merge, str) else " ".join(merge) for merge in content["model"]["merges"]]
    added = [{key: token[key] for key in token if key != "special"} for token in content["added_tokens"]]
    parts = [content["normalizer"], content["pre_tokenizer"], content["decoder"], model, added]
    return [_without_neutral(part) for part in parts]


def _without_neutral(value: Any) -> Any:
    """Leaves out what is unset and what only shifts reported offsets, never ids."""
    if isinstance(value, dict):
        kept = {key: item for key, item in value.items() if key != "trim_offsets" and item not in (None, "")}
        return {key: _without_neutral(item) for key, item in kept.items()}
    return [_without_neutral(item) for item in value] if isinstance(value, list) else value


def model_context_length(config: PreTrainedConfig) -> int:
    """The tokens that the model was made for, prompt and answer together. Raises ValueError."""
    length = getattr(config.get_text_config(), "max_position_embeddings", None)
    if not isinstance(length, int) or length < 1:
        raise ValueError("the model's config names no context length; give one by --max-model-len")
    return length


def steady_rope_length(config: PreTrainedConfig) -> int | None:
    """The tokens up to which every position has one RoPE; None where that is so at any length.

    "dynamic" and "longrope" take other frequencies for the whole batch as soon as one position in it is past this, so
    that one long request would change what others are answered.
    """
    text = config.get_text_config()
    rope = getattr(text, "rope_parameters", None) or getattr(text, "rope_scaling", None) or {}
    # Of a model with several kinds of layers: one entry a kind.
    kinds = [rope, *(value for value in rope.values() if isinstance(value, dict))]
    if not any(kind.get("rope_type", kind.get("type")) in ("dynamic", "longrope") for kind in kinds):
        return None
    originals = [kind.get("original_max_position_embeddings") for kind in kinds]
    originals.append(getattr(text, "original_max_position_embeddings", None))
    named = [length for length in originals if isinstance(length, int)]
    return min(named) if named else model_context_length(config)


def eos_token_ids(
    config: PreTrainedConfig,
    generation_config: GenerationConfig | None,
    tokenizer: PreTrainedTokenizerBase,
) -> frozenset[int]:
    """Every token that ends an answer: the generation config's (else the config's) and the tokenizer's."""
    named = getattr(generation_config, "eos_token_id", None)
    if named is None:
        named = getattr(config.get_text_config(), "eos_token_id", None)
    ends = set(named) if isinstance(named, list | tuple) else {named}
    return frozenset(int(end) for end in {*ends, tokenizer.eos_token_id} if end is not None)
