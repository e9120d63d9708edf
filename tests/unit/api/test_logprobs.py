"""Log probabilities in both routes' words, and several choices of one prompt."""

from __future__ import annotations

import math
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import openai
import pytest
from outrider_serving.api.logprobs import TokenText, TokenTexts, completion_logprobs
from outrider_serving.engine.logprobs import TokenLogprob
from outrider_serving.engine.request import Delta
from outrider_serving.engine.sampling import seed_of_choice
from unit.api.scripted import MODEL, WAIT_S, Script, Served, tiny_tokenizer

TOKENIZER = tiny_tokenizer()
MESSAGES = [{"role": "user", "content": "Hello"}]


def token_of(character: str) -> int:
    tokens: Any = TOKENIZER(character)["input_ids"]
    return int(tokens[0])


A, B, C = (token_of(character) for character in "abc")
FIRST = TokenLogprob(A, -0.5, ((A, -0.5), (B, -1.25)))
SECOND = TokenLogprob(C, -math.inf, ((B, -0.25), (A, -2.0)))


def ask(client: openai.OpenAI, **fields: Any) -> Any:
    create: Any = client.chat.completions.create
    return create(model=MODEL, messages=MESSAGES, **fields)


def answer_of_two(served: Served) -> None:
    """The text of the first token is held back, as a possible stop string is."""
    served.generator.script = lambda _: Script([Delta("", (A,), None, (FIRST,)), Delta("ac", (C,), "stop", (SECOND,))])


def test_a_chat_answer_has_an_entry_for_each_token(served: Served, client: openai.OpenAI) -> None:
    answer_of_two(served)
    answer = ask(client, logprobs=True, top_logprobs=2)

    assert served.generator.requests[0].sampling.logprobs == 2
    first, second = answer.choices[0].logprobs.content
    assert (first.token, first.logprob, first.bytes) == ("a", -0.5, [97])
    assert [(top.token, top.logprob, top.bytes) for top in first.top_logprobs] == [
        ("a", -0.5, [97]),
        ("b", -1.25, [98]),
    ]
    assert (second.token, second.logprob) == ("c", -9999.0)


def test_a_chat_stream_says_of_each_token_once_even_where_its_text_is_held_back(
    served: Served, client: openai.OpenAI
) -> None:
    answer_of_two(served)
    stream = ask(client, logprobs=True, stream=True)

    said = [chunk.choices[0].logprobs for chunk in stream]
    assert [entry.token for logprobs in said if logprobs for entry in logprobs.content] == ["a", "c"]
    assert served.generator.requests[0].sampling.logprobs == 0


def test_a_completion_has_them_in_columns_with_the_offset_of_each(served: Served, client: openai.OpenAI) -> None:
    answer_of_two(served)
    logprobs = client.completions.create(model=MODEL, prompt="x", logprobs=2).choices[0].logprobs

    assert logprobs is not None
    assert logprobs.tokens == ["a", "c"]
    assert logprobs.token_logprobs == [-0.5, -9999.0]
    assert logprobs.top_logprobs == [{"a": -0.5, "b": -1.25}, {"b": -0.25, "a": -2.0, "c": -9999.0}]
    assert logprobs.text_offset == [0, 1]


def test_of_alternatives_with_one_text_the_likeliest_is_said_or_the_token_itself() -> None:
    halves: list[Any] = [TOKENIZER(text)["input_ids"][1] for text in "éèê"]  # no characters: one text for all
    tops = ((A, -0.5), (halves[0], -1.0), (halves[1], -2.0))

    worded = completion_logprobs([TokenLogprob(A, -0.5, tops)], TokenTexts(TOKENIZER), 0)
    assert worded["top_logprobs"] == [{"a": -0.5, "\ufffd": -1.0}]
    worded = completion_logprobs([TokenLogprob(halves[2], -3.0, tops)], TokenTexts(TOKENIZER), 0)
    assert worded["top_logprobs"] == [{"a": -0.5, "\ufffd": -3.0}]


class Measured(str):
    """A text that counts how often it is measured."""

    measured = 0

    def __len__(self) -> int:
        Measured.measured += 1
        return super().__len__()


def test_offsets_measure_each_text_of_a_long_answer_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(TokenTexts, "__getitem__", lambda _texts, _token: TokenText(Measured("ab"), b"ab"))
    worded = completion_logprobs([SECOND] * 1000, TokenTexts(TOKENIZER), 7)
    assert worded["text_offset"] == [7 + 2 * index for index in range(1000)]
    assert Measured.measured == 1000


def test_while_a_long_answer_is_worded_others_are_served(
    served: Served, client: openai.OpenAI, monkeypatch: pytest.MonkeyPatch
) -> None:
    answer_of_two(served)
    begun, served_another = threading.Event(), threading.Event()
    text_of = TokenTexts.__getitem__

    def slow(texts: TokenTexts, token: int) -> TokenText:
        begun.set()
        assert served_another.wait(WAIT_S)
        return text_of(texts, token)

    monkeypatch.setattr(TokenTexts, "__getitem__", slow)
    with ThreadPoolExecutor(1) as pool:
        answer = pool.submit(ask, client, logprobs=True)
        assert begun.wait(WAIT_S)
        try:
            assert httpx.get(f"{served.url}/v1/models", timeout=WAIT_S).status_code == 200
        finally:
            served_another.set()
        assert answer.result().choices[0].logprobs.content[0].token == "a"


def test_a_completions_stream_goes_on_with_the_offsets(served: Served, client: openai.OpenAI) -> None:
    answer_of_two(served)
    stream = client.completions.create(model=MODEL, prompt="x", logprobs=0, stream=True)

    offsets = [chunk.choices[0].logprobs.text_offset for chunk in stream if chunk.choices[0].logprobs]
    assert offsets == [[0], [1]]


def test_without_the_field_there_are_none(served: Served, client: openai.OpenAI) -> None:
    assert client.completions.create(model=MODEL, prompt="x").choices[0].logprobs is None
    assert served.generator.requests[0].sampling.logprobs is None


@pytest.mark.parametrize(("text", "pieces"), [("é", [b"\xc3", b"\xa9"]), (" ", [b" "])])
def test_a_token_is_its_own_bytes_even_where_it_is_half_a_character(text: str, pieces: list[bytes]) -> None:
    texts = TokenTexts(TOKENIZER)
    tokens: Any = TOKENIZER(text)["input_ids"]
    special: Any = TOKENIZER.convert_tokens_to_ids("<|im_end|>")
    assert [texts[token].bytes for token in tokens] == pieces
    assert texts[special].text == "<|im_end|>"
    assert texts[10**6].bytes == b""


@pytest.mark.parametrize("stream", [False, True])
def test_choices_of_one_prompt_have_seeds_of_their_own_and_share_its_usage(
    served: Served, client: openai.OpenAI, stream: bool
) -> None:
    served.generator.script = lambda request: Script([Delta(f"<{request.sampling.seed % 97}>", (1, 2), "stop")])
    options = {"stream_options": {"include_usage": True}} if stream else {}
    answered = ask(client, n=3, seed=7, stream=stream, **options)

    if stream:
        texts = {0: "", 1: "", 2: ""}
        for chunk in answered:
            usage = chunk.usage
            for choice in chunk.choices:
                texts[choice.index] += choice.delta.content or ""
    else:
        usage = answered.usage
        texts = {choice.index: choice.message.content for choice in answered.choices}
    assert texts == {index: f"<{seed_of_choice(7, index) % 97}>" for index in range(3)}
    assert len(set(texts.values())) == 3
    assert usage.completion_tokens == 6
    assert usage.prompt_tokens == len(served.generator.requests[0].prompt_tokens)


def test_prompts_and_choices_are_numbered_prompt_by_prompt(served: Served, client: openai.OpenAI) -> None:
    served.generator.script = lambda request: Script([Delta(f"{request.prompt_tokens[0]}", (1,), "stop")])
    answer = client.completions.create(model=MODEL, prompt=[[7], [8]], n=2, best_of=2)

    assert [choice.text for choice in answer.choices] == ["7", "7", "8", "8"]
    assert answer.usage is not None
    assert answer.usage.prompt_tokens == 2


def test_more_answers_than_a_request_may_have_are_refused(client: openai.OpenAI) -> None:
    with pytest.raises(openai.BadRequestError, match="lower n") as refused:
        client.completions.create(model=MODEL, prompt=["a"] * 3, n=100)
    assert refused.value.param == "n"


def test_every_sampling_field_reaches_the_engine(served: Served, client: openai.OpenAI) -> None:
    ask(
        client,
        presence_penalty=0.5,
        frequency_penalty=-1,
        logit_bias={"5": 10, "6": -100},
        extra_body={
            "top_k": 40,
            "min_p": 0.1,
            "repetition_penalty": 1.2,
            "min_tokens": 3,
            "stop_token_ids": [9, 10],
        },
    )
    sampling = served.generator.requests[0].sampling
    assert (sampling.presence_penalty, sampling.frequency_penalty, sampling.repetition_penalty) == (0.5, -1.0, 1.2)
    assert (sampling.top_k, sampling.min_p, sampling.min_tokens) == (40, 0.1, 3)
    assert sampling.logit_bias == ((5, 10.0), (6, -100.0))
    assert sampling.stop_token_ids == (9, 10)
