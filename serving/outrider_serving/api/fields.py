"""Which fields a body may have: served ones, ones that must be at their neutral value, ones without effect.

A field that would change the text must never be dropped in silence, and a misspelt one neither; a field that
cannot change the text (billing, caching, abuse tracking) is what OpenAI clients send anyway, and is ignored.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches

from outrider_serving.api.errors import ApiError, shorten


@dataclass(frozen=True)
class FieldRules:
    """`neutral`: fields of later releases → the values that mean "off", which are accepted."""

    served: frozenset[str]
    neutral: Mapping[str, tuple[object, ...]] = field(default_factory=dict)
    ignored: frozenset[str] = frozenset()

    @property
    def known(self) -> frozenset[str]:
        return self.served | self.neutral.keys() | self.ignored

    def check(self, body: Mapping[str, object], where: str = "") -> None:
        """`where` is the path of `body` in the request. Raises ApiError naming the first field at fault."""
        for name, value in body.items():
            if name in self.served or name in self.ignored:
                continue
            if name not in self.neutral:
                raise self._unknown(name, where)
            if not any(_same(value, neutral) for neutral in self.neutral[name]):
                param = f"{where}{name}"
                raise ApiError(
                    f"{param} with this value is not supported by this release; leave it out",
                    param=param,
                    code="unsupported_value",
                )

    def _unknown(self, name: str, where: str) -> ApiError:
        near = get_close_matches(name[:64], sorted(self.known), n=1)
        remedy = f"did you mean `{where}{near[0]}`?" if near else "leave it out"
        param = f"{where}{shorten(name, 64)}"
        return ApiError(f"{param} is not a field of this request; {remedy}", param=param, code="unknown_field")


def _same(value: object, neutral: object) -> bool:
    """Equality that takes 0.0 for 0 but not False for 0."""
    return value == neutral and isinstance(value, bool) == isinstance(neutral, bool)


_SAMPLING = frozenset(
    {
        "model",
        "max_tokens",
        "temperature",
        "top_p",
        "top_k",
        "min_p",
        "presence_penalty",
        "frequency_penalty",
        "repetition_penalty",
        "logit_bias",
        "seed",
        "n",
        "min_tokens",
        "stop",
        "stop_token_ids",
        "ignore_eos",
        "logprobs",
        "stream",
        "stream_options",
    }
)
_NEUTRAL: dict[str, tuple[object, ...]] = {
    "response_format": (None, {"type": "text"}),
    # Not OpenAI's: benchmark tools send them at their neutral value.
    "include_stop_str_in_output": (None, False),
    "skip_special_tokens": (None, True),
    "use_beam_search": (None, False),
}
_WITHOUT_EFFECT = frozenset(
    {
        "metadata",
        "parallel_tool_calls",  # there are no tools to call
        "prediction",  # a hint for speed; Outrider drafts by itself
        "prompt_cache_key",
        "prompt_cache_options",
        "prompt_cache_retention",
        "safety_identifier",
        "service_tier",
        "store",
        "user",
    }
)

CHAT = FieldRules(
    served=_SAMPLING | {"messages", "max_completion_tokens", "top_logprobs"},
    neutral=_NEUTRAL
    | {
        "tools": (None, []),
        "tool_choice": (None, "none", "auto"),
        "functions": (None, []),
        "function_call": (None, "none", "auto"),
        "modalities": (None, ["text"]),
        "audio": (None,),
        "moderation": (None,),
        "reasoning_effort": (None,),
        "verbosity": (None, "medium"),
        "web_search_options": (None,),
        "chat_template_kwargs": (None, {}),
        "add_generation_prompt": (None, True),
        "continue_final_message": (None, False),
    },
    ignored=_WITHOUT_EFFECT,
)
COMPLETIONS = FieldRules(
    served=_SAMPLING | {"prompt", "best_of"},
    neutral=_NEUTRAL | {"top_logprobs": (None, 0), "echo": (None, False), "suffix": (None, "")},
    ignored=_WITHOUT_EFFECT,
)
MESSAGE = FieldRules(
    served=frozenset({"role", "content", "name", "tool_call_id"}),
    # Clients send an answer's message back as the next request's history, these fields included.
    neutral={
        "annotations": (None, []),
        "audio": (None,),
        "function_call": (None,),
        "refusal": (None,),
        "tool_calls": (None, []),
    },
    ignored=frozenset({"reasoning", "reasoning_content"}),
)
STREAM_OPTIONS = FieldRules(
    served=frozenset({"include_usage"}),
    neutral={"continuous_usage_stats": (None, False)},
    ignored=frozenset({"include_obfuscation"}),  # pads events against eavesdroppers; never changes the text
)
