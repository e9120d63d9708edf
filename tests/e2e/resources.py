"""The resources that the tests run: model S in float32, and who drafts for it."""

from __future__ import annotations

from typing import Any

from e2e.running import Resource
from outrider_serving.models.catalogue import SMOLLM2_135M
from support.ports import free_port

MODEL_S = f"hf://{SMOLLM2_135M.hub_name}"
NAME = "smollm2"
CONTEXT_TOKENS = 1024


def speculative_model(
    draft: str | None = None, mode: str = "Auto", own_cores: bool = False, **speculation: Any
) -> Resource:
    """draft: the URI of its model. own_cores: a CPU for each role, so that the draft runs ahead."""
    return {
        "apiVersion": "outrider.dev/v1alpha1",
        "kind": "SpeculativeModel",
        "metadata": {"name": NAME},
        "spec": {
            "target": _role(MODEL_S, CONTEXT_TOKENS, own_cores),
            **({"draft": _role(draft, CONTEXT_TOKENS, own_cores)} if draft else {}),
            "speculation": {"mode": mode, **speculation},
            "endpoint": {"port": free_port()},
        },
    }


def _role(uri: str, context_tokens: int, own_cores: bool) -> dict[str, Any]:
    resources = {"resources": {"requests": {"cpu": 1}}} if own_cores else {}
    return {"model": {"uri": uri}, "dtype": "float32", "maxModelLen": context_tokens, **resources}
