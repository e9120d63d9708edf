"""Completions: one prompt or several, as text or as tokens."""

from __future__ import annotations

import openai
import pytest
from outrider_serving.engine.request import Delta, Request, RequestError
from unit.api.scripted import CONTEXT_TOKENS, MODEL, REPLY, Script, Served, face, serving, tiny_tokenizer


def echo_last_token(request: Request) -> Script:
    """Two deltas that depend on the prompt, so that mixed-up choices show."""
    token = request.prompt_tokens[-1]
    return Script([Delta(f"<{token}", (token,)), Delta(">", (token,), "stop")])


def test_a_string_is_continued(served: Served, client: openai.OpenAI) -> None:
    answer = client.completions.create(model=MODEL, prompt="Once", max_tokens=100)

    assert answer.choices[0].text == REPLY
    assert answer.choices[0].finish_reason == "stop"
    assert answer.object == "text_completion"
    assert answer.id.startswith("cmpl-")
    assert served.generator.prompt_text() == "Once"
    assert served.generator.requests[0].continues_prompt
    assert answer.usage is not None
    assert (answer.usage.prompt_tokens, answer.usage.completion_tokens) == (4, len(REPLY.encode()))


def test_sixteen_tokens_are_generated_by_default(served: Served, client: openai.OpenAI) -> None:
    answer = client.completions.create(model=MODEL, prompt="Once")

    assert served.generator.requests[0].sampling.max_tokens == 16
    assert answer.choices[0].finish_reason == "length"


def test_the_default_shrinks_to_what_the_context_holds(served: Served, client: openai.OpenAI) -> None:
    client.completions.create(model=MODEL, prompt="x" * (CONTEXT_TOKENS - 3))

    assert served.generator.requests[0].sampling.max_tokens == 3


def test_token_ids_are_taken_as_they_are(served: Served, client: openai.OpenAI) -> None:
    client.completions.create(model=MODEL, prompt=[5, 6, 257])

    assert served.generator.requests[0].prompt_tokens == (5, 6, 257)


@pytest.mark.parametrize("prompts", [["a", "b", "c"], [[1, 7], [8], [9]]])
def test_every_prompt_is_a_choice_and_usage_is_their_sum(
    served: Served, client: openai.OpenAI, prompts: list[str] | list[list[int]]
) -> None:
    served.generator.script = echo_last_token

    answer = client.completions.create(model=MODEL, prompt=prompts)

    by_id = {request.id: request for request in served.generator.requests}
    assert len(by_id) == 3
    expected = [f"<{by_id[f'{answer.id}-{index}'].prompt_tokens[-1]}>" for index in range(3)]
    assert [choice.text for choice in answer.choices] == expected
    assert len(set(expected)) == 3
    assert [choice.index for choice in answer.choices] == [0, 1, 2]
    assert answer.usage is not None
    assert answer.usage.prompt_tokens == sum(map(len, prompts))
    assert answer.usage.completion_tokens == 6


def test_a_stream_of_several_prompts_keeps_them_apart(served: Served, client: openai.OpenAI) -> None:
    served.generator.script = echo_last_token

    stream = client.completions.create(
        model=MODEL, prompt=[[7], [8]], stream=True, stream_options={"include_usage": True}
    )
    texts = {0: "", 1: ""}
    usage = None
    for chunk in stream:
        usage = chunk.usage
        for choice in chunk.choices:
            texts[choice.index] += choice.text

    assert texts == {0: "<7>", 1: "<8>"}
    assert usage is not None
    assert usage.completion_tokens == 4


def test_prompts_of_one_request_share_a_given_seed(served: Served, client: openai.OpenAI) -> None:
    client.completions.create(model=MODEL, prompt=["a", "b"], seed=3)

    assert [request.sampling.seed for request in served.generator.requests] == [3, 3]


def test_one_prompt_that_fails_cancels_the_others(served: Served, client: openai.OpenAI) -> None:
    def fail_second(request: Request) -> Script:
        return Script(error=RuntimeError("boom")) if request.prompt_tokens == (8,) else Script(silent=True)

    served.generator.script = fail_second

    with pytest.raises(openai.InternalServerError):
        client.completions.create(model=MODEL, prompt=[[7], [8], [9]])

    assert sorted(served.generator.closed) == sorted(request.id for request in served.generator.requests)


def test_what_the_engine_refuses_of_one_prompt_is_the_clients_error(served: Served, client: openai.OpenAI) -> None:
    def refuse_second(request: Request) -> Script:
        refusal = RequestError("too long; shorten it")
        return Script(error=refusal) if request.prompt_tokens == (8,) else Script(silent=True)

    served.generator.script = refuse_second

    with pytest.raises(openai.BadRequestError, match="too long; shorten it") as refused:
        client.completions.create(model=MODEL, prompt=[[7], [8]])
    assert refused.value.param == "prompt"


def test_only_a_text_prompt_gets_the_tokenizers_own_start() -> None:
    with (
        serving(face(tiny_tokenizer(starts_text=True))) as served,
        openai.OpenAI(base_url=f"{served.url}/v1", api_key="sk-not-a-key") as client,
    ):
        client.completions.create(model=MODEL, prompt="a")
        assert served.generator.prompt_text() == "<|im_start|>a"
        client.completions.create(model=MODEL, prompt=[7])
        assert served.generator.requests[-1].prompt_tokens == (7,)
        client.chat.completions.create(model=MODEL, messages=[{"role": "user", "content": "a"}])
        assert served.generator.prompt_text() == "<|im_start|>user\na<|im_end|>\n<|im_start|>assistant\n"


def test_a_model_without_a_chat_template_still_completes() -> None:
    with (
        serving(face(tiny_tokenizer(template=None))) as served,
        openai.OpenAI(base_url=f"{served.url}/v1", api_key="sk-not-a-key") as client,
    ):
        assert client.completions.create(model=MODEL, prompt="a", max_tokens=100).choices[0].text == REPLY
