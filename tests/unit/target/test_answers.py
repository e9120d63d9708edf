"""What a request's sampling does to its answer, with a draft and without."""

from __future__ import annotations

import pytest
import torch
from outrider_serving.engine.detokenizer import Detokenizer
from outrider_serving.engine.kv_pool import BLOCK_TOKENS
from outrider_serving.engine.model_runner import ModelRunner
from outrider_serving.engine.request import Delta, SamplingParams
from outrider_serving.engine.sampler import Choice, NoChoice
from outrider_serving.target import step as step_module
from outrider_serving.target.choosing import at_once
from outrider_serving.target.sequence import Sequence
from outrider_serving.target.speculation import SpeculationPolicy
from outrider_serving.target.step import TargetStep
from support.inprocess import HandCarried, draft_engine, generate, sequence_of, shape_of, target_step
from support.pair import VOCABULARY, poison, random_llama, random_pair
from support.tiny import byte_fallback_tokenizer

PAIR = random_pair(0.1)
PROMPT = [5, 6, 7, 8, 5, 6]
POISON = 77  # a token of which a broken model makes no numbers
OFF = SpeculationPolicy(mode="Off")
ALWAYS = SpeculationPolicy(mode="Always")


def drafted() -> TargetStep:
    return target_step(PAIR.target, ALWAYS, HandCarried(draft_engine(PAIR.draft), shape_of(ALWAYS), VOCABULARY))


def deltas_of(step: TargetStep, sampling: SamplingParams, prompt: list[int] = PROMPT) -> list[Delta]:
    said: list[Delta] = []
    step.scheduler.add(sequence_of(step, prompt, sampling, said.append))
    while step.step() is not None:
        pass
    return said


def answer(sampling: SamplingParams) -> list[int]:
    return generate(target_step(PAIR.target, OFF), [PROMPT], sampling)[0]


@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_log_probabilities_are_the_models_own_and_the_same_with_a_draft(temperature: float) -> None:
    sampling = SamplingParams(max_tokens=30, temperature=temperature, seed=2, frequency_penalty=1.0, logprobs=3)
    plain, fast = deltas_of(target_step(PAIR.target, OFF), sampling), deltas_of(drafted(), sampling)
    entries = [entry for delta in plain for entry in delta.logprobs]
    others = [entry for delta in fast for entry in delta.logprobs]
    assert len(fast) < len(plain)
    assert [entry.token for entry in entries] == [token for delta in plain for token in delta.tokens]
    assert [entry.token for entry in others] == [entry.token for entry in entries]
    for entry, other in zip(entries, others, strict=True):
        assert other.logprob == pytest.approx(entry.logprob, abs=1e-4)
        assert [token for token, _ in other.top] == [token for token, _ in entry.top]
        assert all(entry.logprob <= best for token, best in entry.top[:1] if token != entry.token)
    unpenalised = SamplingParams(max_tokens=30, temperature=temperature, seed=2, logprobs=3)
    # The first token's penalties are none yet.
    assert deltas_of(drafted(), unpenalised)[0].logprobs == fast[0].logprobs


def test_an_answer_whose_last_half_character_completes_a_stop_string_ends_by_it() -> None:
    tokenizer = byte_fallback_tokenizer()
    said: list[Delta] = []
    sampling = SamplingParams(max_tokens=2, stop=("a\N{REPLACEMENT CHARACTER}",))
    sequence = sequence_of(target_step(PAIR.target, OFF), PROMPT, sampling, said.append)
    sequence.detokenizer = Detokenizer(tokenizer, sampling.stop)
    sequence.append(tuple(Choice(tokenizer.get_vocab()[token]) for token in ("a", "<0xF0>")))
    assert [(delta.text, delta.finish_reason) for delta in said] == [("", "stop")]


def fail_beyond(broken: pytest.MonkeyPatch, length: int) -> None:
    """Every sequence fails at its first token beyond `length`, which is told still."""
    append = Sequence.append

    def fails(sequence: Sequence, choices: tuple[Choice, ...]) -> tuple[Choice, ...]:
        taken = append(sequence, choices)
        if len(sequence.tokens) > length:
            raise RuntimeError
        return taken

    broken.setattr(Sequence, "append", fails)


def test_what_a_sequence_that_failed_leaves_is_no_prefix_for_another(monkeypatch: pytest.MonkeyPatch) -> None:
    """It fails as soon as its tokens fill a block, by a tree whose accepted nodes are not the first ones."""
    step, elsewhere = drafted(), target_step(random_pair(0.1).target, OFF)
    sampling = SamplingParams(max_tokens=20, temperature=0.0, logprobs=1)
    for length in range(4, 14):
        prompt = list(range(length))
        with monkeypatch.context() as broken:
            fail_beyond(broken, BLOCK_TOKENS)
            deltas = deltas_of(step, sampling, prompt)
        assert deltas[-1].finish_reason is None
        known = [*prompt, *(token for delta in deltas for token in delta.tokens)]
        likelihoods = [
            [entry.logprob for delta in deltas_of(one, sampling, known) for entry in delta.logprobs]
            for one in (step, elsewhere)
        ]
        assert likelihoods[0] == pytest.approx(likelihoods[1], abs=1e-4)


def test_steps_in_which_all_fail_say_nothing_of_what_a_draft_brings(monkeypatch: pytest.MonkeyPatch) -> None:
    step, sampling = drafted(), SamplingParams(max_tokens=20, temperature=0.0)
    with monkeypatch.context() as broken:
        fail_beyond(broken, len(PROMPT) + 1)  # the first token, by which the next sequence's failure is none in a row
        for _ in range(40):
            assert sum(len(delta.tokens) for delta in deltas_of(step, sampling)) < 20
    assert [token for delta in deltas_of(step, sampling) for token in delta.tokens] == answer(sampling)


@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_a_device_that_makes_all_choices_at_once_gives_the_same_answer(
    temperature: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    sampling = SamplingParams(max_tokens=30, temperature=temperature, top_p=0.9, seed=2, repetition_penalty=1.2)
    expected = answer(sampling)
    monkeypatch.setattr(step_module, "choosers", at_once)
    assert generate(drafted(), [PROMPT], sampling)[0] == expected


@pytest.mark.parametrize("temperature", [0.0, 1.0])
@pytest.mark.parametrize("where", ["on a CPU", "on a device"])
def test_a_request_whose_logits_are_no_numbers_ends_alone(
    temperature: float, where: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if where == "on a device":
        monkeypatch.setattr(step_module, "choosers", at_once)
    model = random_llama(3)
    sampling = SamplingParams(max_tokens=20, temperature=temperature, seed=2, logit_bias=((POISON, -100.0),))
    prompts = [[5, 6, 7], [POISON, 1, 2], [9, 8]]
    expected = generate(target_step(ModelRunner(model), OFF), [prompts[0], prompts[2]], sampling)
    poison(model, POISON)
    step = target_step(ModelRunner(model), OFF)
    failures: list[Exception] = []
    first, poisoned, last = (sequence_of(step, prompt, sampling) for prompt in prompts)
    poisoned.abort = failures.append
    for sequence in (first, poisoned, last):
        step.scheduler.add(sequence)
    while step.step() is not None:
        pass
    assert [type(failure) for failure in failures] == [NoChoice]
    assert poisoned.output_length == 0
    assert [sequence.tokens[sequence.prompt_length :] for sequence in (first, last)] == expected


def poisoned_runner(dtype: torch.dtype = torch.float32, layers: int = 3) -> ModelRunner:
    """Few blocks, so that each is soon another's. Its embedding of POISON is no number."""
    model = random_llama(layers)
    model.to(dtype)  # type: ignore[arg-type]
    poison(model, POISON)
    runner = ModelRunner(model)
    runner.take_memory(40)
    return runner


def all_numbers(runner: ModelRunner) -> bool:
    return bool(runner.pool.all_keys.isfinite().all() and runner.pool.all_values.isfinite().all())


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("left", ["when it fails", "while its prompt is read"])
def test_rows_that_are_no_numbers_are_not_there_for_who_comes_next(dtype: torch.dtype, left: str) -> None:
    """Behind a sequence's own rows lie those of the one before, which are masked: 0 times NaN is NaN."""
    runner = poisoned_runner(dtype)
    step = target_step(runner, OFF, max_batched_tokens=2 * BLOCK_TOKENS)
    sampling = SamplingParams(max_tokens=30, temperature=0.0, logit_bias=((POISON, -100.0),))
    prompts = [[5, 6, 7], [9, 8], [20] * 18, [3] * 21]
    expected = generate(step, prompts, sampling)
    gone = sequence_of(step, [POISON, 1, 2] * 30, sampling)
    step.scheduler.add(gone)
    step.step()
    assert not all_numbers(runner)
    gone.cancelled = left == "while its prompt is read"
    while step.step() is not None:
        pass
    assert gone.output_length == 0
    assert all_numbers(runner)
    assert generate(step, prompts, sampling) == expected


def test_a_prompt_that_its_client_left_half_read_is_known_still() -> None:
    step = target_step(poisoned_runner(), OFF, max_batched_tokens=2 * BLOCK_TOKENS)
    prompt, sampling = [4] * (4 * BLOCK_TOKENS), SamplingParams(max_tokens=2, temperature=0.0)
    gone, again = (sequence_of(step, prompt, sampling) for _ in range(2))
    step.scheduler.add(gone)
    step.step()
    gone.cancelled = True
    step.scheduler.add(again)
    report = step.step()
    assert report is not None
    assert report.prefix_hits == 2 * BLOCK_TOKENS


def test_a_sequence_whose_draft_made_no_numbers_leaves_none_in_the_drafts_memory() -> None:
    draft = poisoned_runner(layers=1)
    step = target_step(PAIR.target, ALWAYS, HandCarried(draft_engine(draft), shape_of(ALWAYS), VOCABULARY))
    step.scheduler.add(sequence_of(step, [POISON, 1, 2] * 10, SamplingParams(max_tokens=5, temperature=0.0)))
    step.step()
    step.step()
    assert not all_numbers(draft)
    while step.step() is not None:
        pass
    deltas_of(step, SamplingParams(max_tokens=5, temperature=0.0))  # by which the draft has been told of the end
    assert all_numbers(draft)


@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_a_draft_whose_logits_are_no_numbers_changes_no_token(temperature: float) -> None:
    model = random_llama(1)
    with torch.no_grad():
        model.get_output_embeddings().weight[POISON] = torch.nan
    drafter = HandCarried(draft_engine(ModelRunner(model)), shape_of(ALWAYS), VOCABULARY)
    sampling = SamplingParams(max_tokens=20, temperature=temperature, top_p=0.9, seed=2)
    assert generate(target_step(PAIR.target, ALWAYS, drafter), [PROMPT], sampling)[0] == answer(sampling)


def test_a_stop_token_ends_the_answer_but_not_before_min_tokens() -> None:
    free = answer(SamplingParams(max_tokens=30, temperature=0.0))
    ending = SamplingParams(max_tokens=30, temperature=0.0, stop_token_ids=(free[4],))
    assert answer(ending) == free[: free.index(free[4]) + 1]
    last = deltas_of(drafted(), ending)[-1]
    assert (last.finish_reason, last.tokens[-1]) == ("stop", free[4])
    late = answer(SamplingParams(max_tokens=30, temperature=0.0, stop_token_ids=(free[4],), min_tokens=12))
    assert len(late) >= 12
    assert free[4] not in late[:11]


def test_penalties_bias_and_cuts_do_what_they_are_for() -> None:
    def distinct(**changed: float) -> int:
        return len(set(answer(SamplingParams(max_tokens=60, temperature=0.0, **changed))))  # type: ignore[arg-type]

    assert distinct(frequency_penalty=2.0, presence_penalty=2.0) > distinct(frequency_penalty=-2.0)
    assert distinct(repetition_penalty=3.0) > distinct(repetition_penalty=0.5)
    assert answer(SamplingParams(max_tokens=5, temperature=0.0, logit_bias=((9, 100.0),))) == [9] * 5
    greedy = answer(SamplingParams(max_tokens=20, temperature=0.0))
    for narrow in ({"top_k": 1}, {"min_p": 1.0}, {"top_p": 1e-6}):
        assert answer(SamplingParams(max_tokens=20, temperature=1.5, seed=1, **narrow)) == greedy
