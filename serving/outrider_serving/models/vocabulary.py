"""Builds a tokenizer from a GGUF file's vocabulary, as the model's authors published it.

The file names the pre-tokenizer and lists tokens, their kinds and merges; how that pre-tokenizer splits
text is known here by its name.
"""

from __future__ import annotations

from gguf import GGUFReader, TokenType
from tokenizers import AddedToken, Regex, Tokenizer, decoders, normalizers, pre_tokenizers
from tokenizers.models import BPE
from transformers import PreTrainedTokenizerFast

from outrider_serving.models.metadata import field

QWEN2_PATTERN = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)


def build_tokenizer(reader: GGUFReader, context_tokens: int) -> PreTrainedTokenizerFast:
    """The tokenizer with its special tokens and chat template.

    Raises ValueError for a pre-tokenizer that this release does not know.
    """
    tokens: list[str] = field(reader, "tokenizer.ggml.tokens")
    merges = [tuple(merge.split(" ", 1)) for merge in field(reader, "tokenizer.ggml.merges")]
    backend = Tokenizer(BPE(vocab={token: index for index, token in enumerate(tokens)}, merges=merges))
    _set_splitting(backend, field(reader, "tokenizer.ggml.pre"))
    kinds: list[int] = field(reader, "tokenizer.ggml.token_type")
    backend.add_special_tokens(_added(tokens, kinds, TokenType.CONTROL, special=True))
    backend.add_tokens(_added(tokens, kinds, TokenType.USER_DEFINED, special=False))
    named = {
        f"{role}_token": tokens[field(reader, f"tokenizer.ggml.{key}_token_id")]
        for role, key in (("bos", "bos"), ("eos", "eos"), ("pad", "padding"))
    }
    return PreTrainedTokenizerFast(
        tokenizer_object=backend,
        chat_template=field(reader, "tokenizer.chat_template"),
        model_max_length=context_tokens,
        clean_up_tokenization_spaces=False,
        **named,
    )


def _set_splitting(backend: Tokenizer, pre: str) -> None:
    bytes_only = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    if pre == "qwen2":
        backend.normalizer = normalizers.NFC()
        split = pre_tokenizers.Split(Regex(QWEN2_PATTERN), behavior="isolated")
        backend.pre_tokenizer = pre_tokenizers.Sequence([split, bytes_only])
    elif pre == "smollm":
        words = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)
        digits = pre_tokenizers.Digits(individual_digits=True)
        backend.pre_tokenizer = pre_tokenizers.Sequence([digits, words])
    else:
        raise ValueError(f"pre-tokenizer {pre} is not known; this release knows qwen2 and smollm")
    backend.decoder = decoders.ByteLevel()


def _added(tokens: list[str], kinds: list[int], kind: TokenType, *, special: bool) -> list[AddedToken]:
    return [
        AddedToken(token, special=special, normalized=False)
        for token, its_kind in zip(tokens, kinds, strict=True)
        if its_kind == kind
    ]
