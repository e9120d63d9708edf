"""The first promise: with the same seed the text is the same with and without speculation, whatever the draft does.

Random pair R, the real engines and messages, in float32.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from outrider_serving.draft.engine import DraftEngine
from outrider_serving.engine.kv_cache import SequenceKV
from outrider_serving.engine.request import SamplingParams
from outrider_serving.engine.sampler import Choice
from outrider_serving.engine.tree import Tree
from outrider_serving.protocol.sampling import sampling_from_message
from outrider_serving.target import step as step_module
from outrider_serving.target.speculation import SpeculationPolicy
from outrider_serving.target.verify import Walk, verify
from support.inprocess import HandCarried, draft_engine, generate, shape_of, target_step
from support.pair import VOCABULARY, Pair, random_pair

PAIRS = {distance: random_pair(distance) for distance in (0.0, 0.1, 0.4)}
OFF = SpeculationPolicy(mode="Off")
ALWAYS = SpeculationPolicy(mode="Always")

policies = st.builds(
    SpeculationPolicy,
    mode=st.sampled_from(["Auto", "Always"]),
    run_ahead=st.booleans(),
    max_depth=st.integers(1, 9),
    max_branches=st.integers(1, 5),
    max_nodes=st.integers(1, 24),
    min_probability=st.sampled_from([0.0, 0.02, 0.3]),
    ngrams=st.booleans(),
)
samplings = st.builds(
    SamplingParams,
    max_tokens=st.integers(1, 24),
    temperature=st.sampled_from([0.0, 0.8, 1.3]),
    top_p=st.sampled_from([0.6, 0.95, 1.0]),
    seed=st.integers(-(2**63), 2**64 - 1),
    top_k=st.sampled_from([0, 0, 1, 5, 40]),
    min_p=st.sampled_from([0.0, 0.0, 0.1]),
    presence_penalty=st.sampled_from([0.0, 0.0, 1.5, -1.0]),
    frequency_penalty=st.sampled_from([0.0, 0.0, 0.7]),
    repetition_penalty=st.sampled_from([1.0, 1.0, 1.3, 0.8]),
    logit_bias=st.dictionaries(st.integers(0, VOCABULARY - 1), st.floats(-100, 5), max_size=3).map(
        lambda biases: tuple(biases.items())
    ),
    min_tokens=st.sampled_from([0, 0, 6]),
    stop_token_ids=st.lists(st.integers(0, VOCABULARY - 1), max_size=8).map(tuple),
    logprobs=st.sampled_from([None, None, 0, 3]),
)
prompts = st.lists(st.lists(st.integers(0, VOCABULARY - 1), min_size=1, max_size=20), min_size=1, max_size=4)


def plain(pair: Pair, asked: list[list[int]], sampling: SamplingParams) -> list[list[int]]:
    return generate(target_step(pair.target, OFF), asked, sampling)


def speculated(
    pair: Pair,
    asked: list[list[int]],
    sampling: SamplingParams,
    policy: SpeculationPolicy = ALWAYS,
) -> list[list[int]]:
    drafter = HandCarried(draft_engine(pair.draft), shape_of(policy), VOCABULARY)
    return generate(target_step(pair.target, policy, drafter), asked, sampling)


def check_tokens(distance: float, policy: SpeculationPolicy, sampling: SamplingParams, asked: list[list[int]]) -> None:
    pair = PAIRS[distance]
    assert speculated(pair, asked, sampling, policy) == plain(pair, asked, sampling)


in_any_way = given(distance=st.sampled_from(sorted(PAIRS)), policy=policies, sampling=samplings, asked=prompts)


def test_tokens_are_those_of_plain_decoding() -> None:
    settings(max_examples=10)(in_any_way(check_tokens))()


@pytest.mark.long
def test_in_many_more_ways_tokens_are_those_of_plain_decoding() -> None:
    settings(max_examples=60)(in_any_way(check_tokens))()


@pytest.mark.long
@settings(max_examples=25, deadline=None)
@given(sampling=samplings, asked=prompts, seed=st.integers(0, 10_000))
def test_a_draft_that_is_killed_lies_or_breaks_the_protocol_changes_no_token(
    sampling: SamplingParams, asked: list[list[int]], seed: int
) -> None:
    pair = PAIRS[0.1]
    chance = random.Random(seed)

    def disturb(drafter: HandCarried, _: int) -> None:
        drafter.disturb = chance.choice([None, None, "lie", "break"])  # type: ignore[attr-defined]
        if chance.random() < 0.2:
            drafter.reconnect()

    policy = SpeculationPolicy(mode="Always", max_nodes=12)
    drafter = Liar(draft_engine(pair.draft), shape_of(policy), VOCABULARY, chance)
    step = target_step(pair.target, policy, drafter)
    assert generate(step, asked, sampling, lambda count: disturb(drafter, count)) == plain(pair, asked, sampling)


class Liar(HandCarried):
    """Its draft's trees arrive with other tokens, or malformed."""

    def __init__(self, engine: DraftEngine, shape: object, vocabulary_size: int, chance: random.Random) -> None:
        super().__init__(engine, shape, vocabulary_size)  # type: ignore[arg-type]
        self.chance = chance
        self.disturb: str | None = None

    def _receive(self, message: object) -> None:
        for tree in message.tree:  # type: ignore[attr-defined]
            if self.disturb == "lie" and len(tree.tokens):
                tree.tokens[:] = [self.chance.randrange(VOCABULARY) for _ in tree.tokens]
            elif self.disturb == "break" and len(tree.tokens):
                tree.parents[0] = 77
        super()._receive(message)  # type: ignore[arg-type]


def test_a_sequence_resumed_from_its_tokens_so_far_goes_on_as_it_would_have() -> None:
    """On another replica, say: prompt and tokens so far are all that is needed."""
    sampling = SamplingParams(max_tokens=30, temperature=1.0, seed=5)
    (whole,) = plain(PAIRS[0.1], [[1, 2, 3]], sampling)
    (rest,) = speculated(PAIRS[0.1], [[1, 2, 3, *whole[:11]]], replace(sampling, max_tokens=19))
    assert whole[11:] == rest


def test_the_batch_a_sequence_is_in_does_not_change_it() -> None:
    sampling = SamplingParams(max_tokens=20, temperature=0.9, seed=1)
    together = speculated(PAIRS[0.1], [[9, 8], [7], list(range(60))], sampling)
    alone = [speculated(PAIRS[0.1], [prompt], sampling)[0] for prompt in ([9, 8], [7], list(range(60)))]
    assert together == alone


# What follows breaks the code on purpose: a test of identity that could not fail would prove nothing.

PROMPTS = [[5, 6, 7, 8, 5, 6], [100, 3, 4], [42]]
GREEDY = SamplingParams(max_tokens=40, temperature=0.0)
SAMPLED = SamplingParams(max_tokens=40, temperature=1.0, seed=3)


@pytest.mark.parametrize("sampling", [GREEDY, SAMPLED])
def test_accepting_one_wrong_token_would_be_noticed(sampling: SamplingParams, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = plain(PAIRS[0.4], PROMPTS, sampling)
    spent: list[int] = []

    def lenient(tree: Tree, choose: Callable[[int], Choice]) -> Walk:
        walk = verify(tree, choose)
        if not walk.path and len(tree) and not spent:
            spent.append(1)
            return Walk((0,), (Choice(tree.tokens[0]), choose(0)))
        return walk

    monkeypatch.setattr(step_module, "verify", lenient)
    assert speculated(PAIRS[0.4], PROMPTS, sampling) != expected
    assert spent


@pytest.mark.parametrize("sampling", [GREEDY, SAMPLED])
def test_a_row_compacted_wrongly_would_be_noticed(sampling: SamplingParams, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = plain(PAIRS[0.1], PROMPTS, sampling)
    compact = SequenceKV.compact

    def careless(self: SequenceKV, prefix: int, rows: list[int]) -> None:
        compact(self, prefix, [max(prefix, row - 1) for row in rows])

    monkeypatch.setattr(SequenceKV, "compact", careless)
    assert speculated(PAIRS[0.1], PROMPTS, sampling) != expected


def test_other_noise_at_the_draft_changes_only_the_speed(monkeypatch: pytest.MonkeyPatch) -> None:
    def steps(wrong_noise: bool) -> tuple[list[list[int]], int]:
        policy = SpeculationPolicy(mode="Always", ngrams=False)
        engine = draft_engine(PAIRS[0.1].draft)
        drafter = HandCarried(engine, shape_of(policy), VOCABULARY)
        if wrong_noise:
            monkeypatch.setattr(
                "outrider_serving.draft.engine.sampling_from_message",
                lambda message: replace(sampling_from_message(message), seed=message.seed + 1),
            )
        counted: list[int] = []
        tokens = generate(target_step(PAIRS[0.1].target, policy, drafter), PROMPTS, SAMPLED, counted.append)
        return tokens, len(counted)

    expected = plain(PAIRS[0.1], PROMPTS, SAMPLED)
    same_noise, few = steps(wrong_noise=False)
    other_noise, many = steps(wrong_noise=True)
    assert same_noise == other_noise == expected
    assert many > few


def test_a_target_speculating_on_itself_needs_a_fraction_of_the_steps() -> None:
    policy = SpeculationPolicy(mode="Always", max_depth=4, max_branches=1, max_nodes=4, ngrams=False)
    drafter = HandCarried(draft_engine(PAIRS[0.0].target), shape_of(policy), VOCABULARY)
    counted: list[int] = []
    generate(target_step(PAIRS[0.0].target, policy, drafter), [[1, 2, 3]], GREEDY, counted.append)
    # One step for the prompt, then at most five tokens a step; the draft may stop a level short where that pays.
    assert len(counted) <= 1 + 39 // 2
