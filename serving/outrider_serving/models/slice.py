"""Makes a draft out of a model's first layers: same tokenizer, same embeddings, far fewer layers."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import save_file

from outrider_serving.models.cache import MARK

LAYER = re.compile(r"model\.layers\.(\d+)\.")


def slice_layers(source: Path, target: Path, layers: int) -> None:
    """Writes `target`, a copy of the model folder `source` with only its first `layers` layers.

    Raises ValueError when `source` is no model folder, has fewer layers, or `target` is there already, OSError where
    files cannot be read or written.
    """
    if not (source / "config.json").exists():
        raise ValueError(f"SRC: {source} holds no config.json; name a model folder")
    if target.exists():
        raise ValueError(f"DST: {target} is there already; remove it or name another folder")
    config = _config(source)
    if not 1 <= layers <= config["num_hidden_layers"]:
        raise ValueError(f"--layers: {layers} is not between 1 and the model's {config['num_hidden_layers']}")
    config["num_hidden_layers"] = layers
    if config.get("layer_types"):
        config["layer_types"] = config["layer_types"][:layers]
    partial = target.with_name(f".{target.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    try:
        # The mark of a prepared model stays behind: this is no longer that model.
        left_out = shutil.ignore_patterns("*.safetensors*", "config.json", MARK)
        shutil.copytree(source, partial, ignore=left_out)
        (partial / "config.json").write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
        save_file(_first_layers(source, layers), partial / "model.safetensors", metadata={"format": "pt"})
        # safetensors writes for the owner alone; a mirror is read by other users too.
        (partial / "model.safetensors").chmod(0o644)
        partial.rename(target)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _config(source: Path) -> dict[str, Any]:
    try:
        config: dict[str, Any] = json.loads((source / "config.json").read_text(encoding="utf-8"))
        if isinstance(config["num_hidden_layers"], int):
            return config
    except (ValueError, KeyError, TypeError):
        pass
    raise ValueError(f"SRC: config.json of {source} names no num_hidden_layers; name the folder of a decoder's model")


def _first_layers(source: Path, layers: int) -> dict[str, torch.Tensor]:
    tensors: dict[str, torch.Tensor] = {}
    for file in sorted(source.glob("*.safetensors")):
        with safe_open(file, framework="pt") as weights:
            for name in weights.keys():  # noqa: SIM118 - safe_open is no mapping
                layer = LAYER.match(name)
                if layer is None or int(layer[1]) < layers:
                    tensors[name] = weights.get_tensor(name)
    return tensors
