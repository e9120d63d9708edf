"""Told off and on while it runs: the text stays, the draft rests meanwhile, and the file is followed as it changes."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from outrider_serving.engine.request import SamplingParams
from outrider_serving.target.control import SpeculationControl
from outrider_serving.target.speculation import SpeculationPolicy
from support.certificates import mount
from support.inprocess import HandCarried, draft_engine, generate, shape_of, target_step
from support.pair import VOCABULARY, random_pair

PAIR = random_pair(0.1)
PROMPTS = [[1, 2, 3], [50, 60, 50, 60], [7]]
SAMPLING = SamplingParams(max_tokens=40, temperature=0.9, seed=4)


def plain(sampling: SamplingParams = SAMPLING) -> list[list[int]]:
    return generate(target_step(PAIR.target, SpeculationPolicy(mode="Off")), PROMPTS, sampling)


class Told:
    """A target with a draft; `allows` says, by the number of steps gone by, whether it may speculate."""

    def __init__(self, policy: SpeculationPolicy, allows: Callable[[int], bool]) -> None:
        self.steps = 0
        self.drafter = HandCarried(draft_engine(PAIR.draft), shape_of(policy), VOCABULARY)
        self.step = target_step(PAIR.target, policy, self.drafter, allowed=lambda: allows(self.steps))
        self.drafted: list[int] = []

    def run(self, sampling: SamplingParams = SAMPLING) -> list[list[int]]:
        return generate(self.step, PROMPTS, sampling, self._after)

    def _after(self, _: int) -> None:
        self.steps += 1
        self.drafted.append(self.drafter.engine.sequences)


@pytest.mark.long
@settings(max_examples=30, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    mode=st.sampled_from(["Auto", "Always"]),
    run_ahead=st.booleans(),
    ngrams=st.booleans(),
)
def test_however_often_it_is_switched_the_tokens_are_the_same(
    seed: int, mode: str, run_ahead: bool, ngrams: bool
) -> None:
    chance = random.Random(seed)
    said = [chance.random() < 0.5 for _ in range(200)]
    policy = SpeculationPolicy(mode=mode, run_ahead=run_ahead, ngrams=ngrams, max_nodes=12)  # type: ignore[arg-type]
    told = Told(policy, lambda step: said[step])
    assert told.run() == plain()
    assert all(drafted == 0 for drafted, allowed in zip(told.drafted, said, strict=False) if not allowed)


def test_while_it_is_off_the_draft_has_no_sequence_and_no_node_is_verified_even_in_mode_always() -> None:
    policy = SpeculationPolicy(mode="Always", run_ahead=True)
    told = Told(policy, lambda step: not 3 <= step < 12)
    assert told.run() == plain()
    assert told.drafted[:3] == [3, 3, 3]
    assert told.drafted[3:12] == [0] * 9
    assert told.drafted[12] == 3, "on again, it is asked anew"


def test_off_from_the_start_and_without_ngrams_is_plain_decoding() -> None:
    told = Told(SpeculationPolicy(mode="Always", ngrams=False), lambda _: False)
    assert told.run() == plain()
    assert set(told.drafted) == {0}
    assert told.steps == 1 + SAMPLING.max_tokens - 1, "a token a step, the first with the prompt"


def test_while_the_draft_may_not_be_asked_ngrams_go_on() -> None:
    again = SamplingParams(max_tokens=40, temperature=0.0, logit_bias=((7, 100.0),))  # and again
    told = Told(SpeculationPolicy(mode="Auto"), lambda _: False)
    assert told.run(again) == plain(again)
    assert set(told.drafted) == {0}
    assert told.steps < 0.75 * again.max_tokens


@pytest.mark.parametrize(
    ("said", "allowed"),
    [("off", False), ("off\n", False), (" Off ", False), ("on", True), ("", True), ("offline", True), ("\udcff", True)],
)
def test_only_off_is_off(tmp_path: Path, said: str, allowed: bool) -> None:
    (tmp_path / "speculation").write_bytes(said.encode(errors="surrogateescape"))
    assert SpeculationControl(tmp_path).allowed is allowed


def test_without_a_folder_or_file_it_may(tmp_path: Path) -> None:
    assert SpeculationControl().allowed
    assert SpeculationControl(tmp_path / "nowhere").allowed
    assert SpeculationControl(tmp_path).allowed
    (tmp_path / "speculation").mkdir()
    assert SpeculationControl(tmp_path).allowed


def test_a_config_map_that_is_replaced_is_followed(tmp_path: Path) -> None:
    control = SpeculationControl(mount(tmp_path, {}))
    seen = [control.allowed]
    for said in (b"off", b"on", b"off", None):
        mount(tmp_path, {} if said is None else {"speculation": said})
        control.look()
        seen.append(control.allowed)
    assert seen == [True, False, True, False, True]


async def test_it_looks_by_itself(tmp_path: Path) -> None:
    control = SpeculationControl(tmp_path)
    following = asyncio.create_task(control.follow(look_every_s=0.01))
    for said in ("off", "on"):
        (tmp_path / "speculation").write_text(said)
        async with asyncio.timeout(20):
            while control.allowed is not (said == "on"):  # noqa: ASYNC110 it has no event
                await asyncio.sleep(0.01)
    following.cancel()
