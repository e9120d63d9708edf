"""All rows at once give what each gives alone, and the device is waited for once."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from outrider_serving.engine import batch_sampler
from outrider_serving.engine.batch_sampler import choose_all, propose_all, propose_dense
from outrider_serving.engine.processors import History
from outrider_serving.engine.sampler import Choice, NoChoice, Place, choose_at
from outrider_serving.engine.sampling import LEAST_REPETITION_PENALTY, Sampling
from torch.utils._python_dispatch import TorchDispatchMode

VOCABULARY = 300

samplings = st.builds(
    Sampling,
    temperature=st.sampled_from([0.0, 1e-308, 1e-46, 1e-5, 0.3, 1.0, 2.0]),
    top_p=st.sampled_from([0.4, 0.9, 1.0]),
    seed=st.integers(-(2**63), 2**63),
    top_k=st.sampled_from([0, 1, 7]),
    min_p=st.sampled_from([0.0, 0.2]),
    presence_penalty=st.sampled_from([0.0, 1.0]),
    frequency_penalty=st.sampled_from([0.0, 0.5]),
    repetition_penalty=st.sampled_from([1.0, 1.3, LEAST_REPETITION_PENALTY]),
    logit_bias=st.sampled_from([(), ((4, -100.0), (9, 3.5))]),
    min_tokens=st.sampled_from([0, 50]),
    end_tokens=st.sampled_from([(), (1, 2)]),
)
contexts = st.lists(st.integers(0, VOCABULARY - 1), max_size=30)


@st.composite
def places(draw: st.DrawFn) -> Place:
    sampling = draw(samplings)
    tokens, path = draw(contexts), draw(st.lists(st.integers(0, VOCABULARY - 1), max_size=3))
    history = History(sampling, tokens, len(tokens) // 2, VOCABULARY) if sampling.edits_logits else None
    return Place(
        sampling,
        position=len(tokens) + len(path),
        edits=None if history is None else history.edits(path),
        children=tuple(draw(st.sets(st.integers(0, VOCABULARY - 1), max_size=40))),
        tolerance=draw(st.sampled_from([0.0, 0.0, 1.5])),
        logprobs=draw(st.sampled_from([None, 0, 5])),
    )


def rows_of(count: int, seed: int, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    return (torch.randn(count, VOCABULARY, generator=torch.Generator().manual_seed(seed)) * 3).to(dtype)


def chosen(logits: Sequence[torch.Tensor], places: Sequence[Place]) -> list[Choice]:
    """Of rows of numbers, each of which has a choice."""
    made = choose_all(logits, places)
    assert None not in made
    return [choice for choice in made if choice is not None]


@settings(max_examples=150, deadline=None)
@given(
    some=st.lists(places(), min_size=1, max_size=6),
    seed=st.integers(0, 1000),
    dtype=st.sampled_from([torch.float32, torch.bfloat16]),
)
def test_choices_of_a_batch_are_those_of_each_row(some: list[Place], seed: int, dtype: torch.dtype) -> None:
    rows = rows_of(len(some), seed, dtype)
    together = chosen([rows[:1], rows[1:]], some)
    alone = [choose_at(row, place) for row, place in zip(rows, some, strict=True)]
    assert [(one.token, one.near_tie, one.tolerated) for one in together] == [
        (one.token, one.near_tie, one.tolerated) for one in alone
    ]
    for one, other in zip(together, alone, strict=True):
        assert (one.logprob is None) == (other.logprob is None)
        if one.logprob is not None and other.logprob is not None:
            assert one.logprob.logprob == pytest.approx(other.logprob.logprob, abs=1e-5)
            assert [p for _, p in one.logprob.top] == pytest.approx([p for _, p in other.logprob.top], abs=1e-5)


@settings(max_examples=80, deadline=None)
@given(some=st.lists(places(), min_size=1, max_size=5), seed=st.integers(0, 1000))
@example(some=[Place(Sampling(0.0, 1.0, 0), 0), Place(Sampling(1e-5, 1.0, 0), 0)], seed=0)
def test_proposals_of_a_batch_are_those_of_each_row(some: list[Place], seed: int) -> None:
    rows = rows_of(len(some), seed)
    counts = [1 + index % 4 for index in range(len(some))]
    together = propose_dense(rows, some, counts)
    for one, other in zip(together, propose_all([rows], some, counts), strict=True):
        assert other
        assert [token for token, _ in one[: len(other)]] == [token for token, _ in other]
        assert [belief for _, belief in one[: len(other)]] == pytest.approx([belief for _, belief in other], abs=0.2)
        # A row alone leaves out what no noise could make the choice; on a device that would be a wait.
        assert all(belief < -15 for _, belief in one[len(other) :])


@pytest.mark.parametrize("wrong", [math.nan, math.inf])
@settings(max_examples=30, deadline=None)
@given(some=st.lists(places(), min_size=3, max_size=5), seed=st.integers(0, 1000), everywhere=st.booleans())
def test_a_row_that_is_no_numbers_has_no_choice_and_the_others_have_theirs(
    wrong: float, some: list[Place], seed: int, everywhere: bool
) -> None:
    rows = rows_of(len(some), seed)
    rows[1, slice(None) if everywhere else 7] = wrong
    numbers = [0, *range(2, len(some))]
    together = choose_all([rows], some)
    assert together[1] is None
    with pytest.raises(NoChoice):
        choose_at(rows[1], some[1])
    alone = chosen([rows[numbers]], [some[index] for index in numbers])
    assert [together[index] for index in numbers] == alone
    branches = [2] * len(some)
    for proposed in (propose_dense(rows, some, branches), propose_all([rows], some, branches)):
        assert [bool(guesses) for guesses in proposed] == [index != 1 for index in range(len(some))]


class Waits(TorchDispatchMode):
    """Counts the operations for which a host has to wait for a device: a value or a size that depends on data."""

    NAMES = ("_local_scalar_dense", "nonzero", "masked_select", "unique", "is_nonzero", "equal")

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.seen: list[str] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = func.overloadpacket.__name__
        masks = name in ("index", "index_put_", "index_put") and any(
            part is not None and part.dtype == torch.bool for part in args[1]
        )
        if masks or any(name.startswith(waits) for waits in self.NAMES):
            self.seen.append(name)
        return func(*args, **(kwargs or {}))


def busy_places() -> list[Place]:
    everything = Sampling(
        temperature=0.8,
        top_p=0.9,
        seed=3,
        top_k=20,
        min_p=0.01,
        frequency_penalty=0.5,
        repetition_penalty=1.2,
        logit_bias=((3, 2.0),),
        min_tokens=99,
        end_tokens=(1,),
    )
    history = History(everything, list(range(40)), 20, VOCABULARY)
    return [
        *[Place(everything, 60, history.edits([5, 6]), (7, 8), 0.5, logprobs=5)] * 40,
        *[Place(Sampling(0.0), 3)] * 3,
        *[Place(Sampling(1.0), 3, logprobs=0)] * 3,
    ]


@pytest.mark.parametrize("what", ["choices", "proposals"])
def test_a_device_is_waited_for_once(what: str, monkeypatch: pytest.MonkeyPatch) -> None:
    transfers: list[int] = []
    fetch = batch_sampler.fetch

    def counted(packed: Sequence[torch.Tensor]) -> list[list[float]]:
        transfers.append(len(packed))
        return fetch(packed)

    monkeypatch.setattr(batch_sampler, "fetch", counted)
    some = busy_places()
    rows = rows_of(len(some), 1)
    with Waits() as waits:
        if what == "choices":
            choose_all([rows], some)
        else:
            propose_dense(rows, some, [4] * len(some))
    assert waits.seen == []
    assert len(transfers) == 1


def test_waiting_would_be_noticed() -> None:
    with Waits() as waits:
        choose_at(rows_of(1, 1)[0], Place(Sampling(0.0), 3))
    assert waits.seen
