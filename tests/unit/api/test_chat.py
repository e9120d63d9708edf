"""Chat completions as the official client asks for them."""

from __future__ import annotations

import openai
import pytest
from unit.api.scripted import CONTEXT_TOKENS, MODEL, REPLY, Served, face, serving, tiny_tokenizer

HELLO: openai.types.chat.ChatCompletionUserMessageParam = {"role": "user", "content": "Hello"}


def rendered(*turns: tuple[str, str]) -> str:
    text = "".join(f"<|im_start|>{role}\n{content}<|im_end|>\n" for role, content in turns)
    return text + "<|im_start|>assistant\n"


def test_an_answer_has_the_text_the_usage_and_the_names(served: Served, client: openai.OpenAI) -> None:
    answer = client.chat.completions.create(model=MODEL, messages=[HELLO])

    assert answer.choices[0].message.content == REPLY
    assert answer.choices[0].message.role == "assistant"
    assert answer.choices[0].finish_reason == "stop"
    assert answer.usage is not None
    assert answer.usage.prompt_tokens == len(served.generator.requests[0].prompt_tokens)
    assert answer.usage.completion_tokens == len(REPLY.encode())
    assert answer.usage.total_tokens == answer.usage.prompt_tokens + answer.usage.completion_tokens
    assert (answer.object, answer.model) == ("chat.completion", MODEL)
    assert answer.id.startswith("chatcmpl-")
    assert answer.id == served.generator.requests[0].id
    assert answer.system_fingerprint


async def test_a_stream_brings_the_same_text_in_pieces(served: Served) -> None:
    async with openai.AsyncOpenAI(base_url=f"{served.url}/v1", api_key="sk-not-a-key") as client:
        stream = await client.chat.completions.create(
            model=MODEL, messages=[HELLO], stream=True, stream_options={"include_usage": True}
        )
        chunks = [chunk async for chunk in stream]

    *spoken, last = chunks
    assert spoken[0].choices[0].delta.role == "assistant"
    assert "".join(chunk.choices[0].delta.content or "" for chunk in spoken) == REPLY
    assert len(spoken) > 3
    assert [chunk.choices[0].finish_reason for chunk in spoken] == [None] * (len(spoken) - 1) + ["stop"]
    assert all(chunk.usage is None for chunk in spoken)
    assert last.choices == []
    assert last.usage is not None
    assert last.usage.completion_tokens == len(REPLY.encode())
    assert {chunk.id for chunk in chunks} == {served.generator.requests[0].id}
    assert {chunk.object for chunk in chunks} == {"chat.completion.chunk"}


def test_a_stream_without_include_usage_has_no_usage(client: openai.OpenAI) -> None:
    chunks = list(client.chat.completions.create(model=MODEL, messages=[HELLO], stream=True))

    assert all(chunk.choices and chunk.usage is None for chunk in chunks)


def test_what_the_client_asks_for_reaches_the_engine(served: Served, client: openai.OpenAI) -> None:
    client.chat.completions.create(
        model=MODEL,
        messages=[HELLO],
        temperature=0.25,
        top_p=0.5,
        seed=-(2**63),
        stop=["\n\n", "END"],
        max_completion_tokens=7,
        extra_body={"ignore_eos": True},
    )

    sampling = served.generator.requests[0].sampling
    assert (sampling.temperature, sampling.top_p, sampling.seed) == (0.25, 0.5, -(2**63))
    assert (sampling.stop, sampling.max_tokens, sampling.ignore_eos) == (("\n\n", "END"), 7, True)


def test_what_the_client_leaves_out_has_openais_defaults(served: Served, client: openai.OpenAI) -> None:
    client.chat.completions.create(model=MODEL, messages=[HELLO])

    request = served.generator.requests[0]
    assert (request.sampling.temperature, request.sampling.top_p) == (1.0, 1.0)
    assert (request.sampling.stop, request.sampling.ignore_eos) == ((), False)
    assert request.sampling.max_tokens == CONTEXT_TOKENS - len(request.prompt_tokens)


def test_requests_without_a_seed_get_different_ones(served: Served, client: openai.OpenAI) -> None:
    for _ in range(4):
        client.chat.completions.create(model=MODEL, messages=[HELLO])

    seeds = {request.sampling.seed for request in served.generator.requests}
    assert len(seeds) == 4
    assert all(-(2**63) <= seed < 2**63 for seed in seeds)


def test_max_tokens_cuts_the_answer(client: openai.OpenAI) -> None:
    answer = client.chat.completions.create(model=MODEL, messages=[HELLO], max_tokens=5)

    assert answer.choices[0].finish_reason == "length"
    assert answer.choices[0].message.content == "Gr"
    assert answer.usage is not None
    assert answer.usage.completion_tokens == 5


def test_both_names_of_the_limit_may_be_given_when_they_agree(served: Served, client: openai.OpenAI) -> None:
    client.chat.completions.create(model=MODEL, messages=[HELLO], max_tokens=5, max_completion_tokens=5)

    assert served.generator.requests[0].sampling.max_tokens == 5


def test_the_template_sees_every_message(served: Served, client: openai.OpenAI) -> None:
    client.chat.completions.create(
        model=MODEL,
        messages=[
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": [{"type": "text", "text": "One"}, {"type": "text", "text": "Two"}]},
            {"role": "assistant", "content": "Three"},
            HELLO,
        ],
    )

    assert served.generator.prompt_text() == rendered(
        ("system", "Be brief."), ("user", "One\nTwo"), ("assistant", "Three"), ("user", "Hello")
    )


def test_developer_is_system_to_a_template_that_does_not_know_it(served: Served, client: openai.OpenAI) -> None:
    client.chat.completions.create(model=MODEL, messages=[{"role": "developer", "content": "Be kind."}, HELLO])

    assert served.generator.prompt_text() == rendered(("system", "Be kind."), ("user", "Hello"))
    assert not served.generator.requests[0].continues_prompt


def test_developer_stays_developer_where_the_template_knows_it() -> None:
    template = "{% for m in messages %}{{ m.role }}={{ m.content }};{% endfor %}{# developer #}"
    with (
        serving(face(tiny_tokenizer(template))) as served,
        openai.OpenAI(base_url=f"{served.url}/v1", api_key="sk-not-a-key") as client,
    ):
        client.chat.completions.create(model=MODEL, messages=[{"role": "developer", "content": "a"}])

        assert served.generator.prompt_text() == "developer=a;"


def test_an_answer_can_be_sent_back_as_history(served: Served, client: openai.OpenAI) -> None:
    first = client.chat.completions.create(model=MODEL, messages=[HELLO])
    said = first.choices[0].message.model_dump()  # with refusal, annotations, audio, tool_calls: all null

    client.chat.completions.create(model=MODEL, messages=[HELLO, said, HELLO])  # type: ignore[list-item]

    assert served.generator.prompt_text() == rendered(("user", "Hello"), ("assistant", REPLY), ("user", "Hello"))


def test_what_a_template_refuses_is_the_clients_error(client: openai.OpenAI) -> None:
    with pytest.raises(openai.BadRequestError, match="no tools, please") as refusal:
        client.chat.completions.create(
            model=MODEL, messages=[HELLO, {"role": "tool", "content": "42", "tool_call_id": "call-1"}]
        )

    assert refusal.value.param == "messages"


def test_a_model_without_a_template_points_to_completions() -> None:
    with (
        serving(face(tiny_tokenizer(template=None))) as served,
        openai.OpenAI(base_url=f"{served.url}/v1", api_key="sk-not-a-key") as client,
    ):
        with pytest.raises(openai.BadRequestError, match="/v1/completions") as refusal:
            client.chat.completions.create(model=MODEL, messages=[HELLO])

        assert refusal.value.param == "messages"


def test_fields_without_effect_and_neutral_ones_are_accepted(client: openai.OpenAI) -> None:
    answer = client.chat.completions.create(
        model=MODEL,
        messages=[HELLO],
        n=1,
        logprobs=False,
        presence_penalty=0,
        frequency_penalty=0.0,
        logit_bias={},
        tools=[],
        tool_choice="none",
        response_format={"type": "text"},
        user="somebody",
        store=False,
        metadata={"a": "b"},
        service_tier="auto",
        parallel_tool_calls=True,
        safety_identifier="x",
        prompt_cache_key="y",
        extra_headers={"x-custom": "1"},
        extra_body={"top_k": -1, "repetition_penalty": 1.0, "min_p": 0.0},
    )

    assert answer.choices[0].message.content == REPLY
