"""The answers' distribution is the target's own: 10^5 walks through real trees against exact enumeration, for every
parameter of sampling; and the test that says so catches a verifier that is a little wrong.

A model of six tokens that remembers one: p(first), and p(second | first).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from functools import cache

import pytest
import torch
from outrider_serving.engine import batch_sampler
from outrider_serving.engine.batch_sampler import choose_all, propose_dense
from outrider_serving.engine.processors import Edits, History, edited
from outrider_serving.engine.sampler import Choice, Place, candidates
from outrider_serving.engine.sampling import Sampling
from outrider_serving.engine.tree import ROOT, Source, Tree
from outrider_serving.target.verify import Walk, verify

VOCABULARY = 6
SAMPLES = 100_000
# A walk costs 0.1 ms, so that only two cases take so many.
ALL_SAMPLES, FEWER_SAMPLES = ("plain", "all"), 20_000
PROMPT = [0, 3]
_seeded = torch.Generator().manual_seed(5)
TARGET = torch.randn(VOCABULARY, VOCABULARY, generator=_seeded)
DRAFT = TARGET + 0.5 * torch.randn(VOCABULARY, VOCABULARY, generator=_seeded)

CASES = {
    "plain": Sampling(1.0),
    "temperature": Sampling(0.6),
    "top_p": Sampling(1.0, top_p=0.8),
    "top_k": Sampling(1.3, top_k=3),
    "min_p": Sampling(1.0, min_p=0.3),
    "presence_penalty": Sampling(1.0, presence_penalty=1.5),
    "frequency_penalty": Sampling(1.0, frequency_penalty=-1.0),
    "repetition_penalty": Sampling(1.0, repetition_penalty=1.8),
    "logit_bias": Sampling(1.0, logit_bias=((2, 1.5), (4, -100.0))),
    "min_tokens": Sampling(1.0, min_tokens=2, end_tokens=(1,)),
    "all": Sampling(0.9, 0.9, 8, 5, 0.02, 0.5, 0.3, 1.2, ((0, 0.7),), 1, (5,)),
}

Verifier = Callable[[Tree, Callable[[int], Choice]], Walk]


@cache
def _edits_by_path(name: str) -> dict[tuple[int, ...], Edits]:
    history = History(CASES[name], PROMPT, len(PROMPT), VOCABULARY)
    return {path: history.edits(path) for path in [(), *((token,) for token in range(VOCABULARY))]}


NAMES = {id(sampling): name for name, sampling in CASES.items()}


def edits_after(sampling: Sampling, path: tuple[int, ...]) -> Edits | None:
    return _edits_by_path(NAMES[id(sampling)])[path] if sampling.edits_logits else None


def place(sampling: Sampling, sample: int, path: list[int]) -> Place:
    """Each sample has two positions of its own, so that all can share a seed."""
    return Place(sampling, 2 * sample + len(path), edits_after(sampling, tuple(path)))


def logits_after(model: torch.Tensor, path: list[int]) -> torch.Tensor:
    return model[(path or PROMPT)[-1]]


def probabilities(sampling: Sampling, path: list[int]) -> torch.Tensor:
    """Written out in float64: what the rule is to sample from."""
    logits = edited(logits_after(TARGET, path)[None], [edits_after(sampling, tuple(path))])[0].double()
    values, tokens = (logits / sampling.temperature).sort(descending=True)
    kept = torch.arange(VOCABULARY) < (sampling.top_k or VOCABULARY)
    shares = torch.softmax(values.masked_fill(~kept, -torch.inf), 0)
    kept &= shares.cumsum(0) - shares < sampling.top_p
    kept &= shares >= sampling.min_p * shares[0]
    return torch.zeros(VOCABULARY).double().scatter(0, tokens, torch.softmax(values.masked_fill(~kept, -torch.inf), 0))


def expected_pairs(sampling: Sampling) -> torch.Tensor:
    """float64 [first, second]."""
    second = torch.stack([probabilities(sampling, [first]) for first in range(VOCABULARY)])
    return probabilities(sampling, [])[:, None] * second


def choices(sampling: Sampling, wanted: list[tuple[int, list[int]]]) -> list[Choice]:
    """The target's choices, each of a sample after a path."""
    if not wanted:
        return []
    rows = TARGET[[(path or PROMPT)[-1] for _, path in wanted]]
    made = choose_all([rows], [place(sampling, *one) for one in wanted])
    return [choice for choice in made if choice is not None]


def trees(sampling: Sampling, samples: int) -> list[Tree]:
    """Two children of the root, as the draft proposes them."""
    rows = logits_after(DRAFT, [])[None].expand(samples, -1)
    proposals = propose_dense(rows, [place(sampling, sample, []) for sample in range(samples)], [2] * samples)
    return [
        Tree(
            tokens=tuple(token for token, _ in proposal),
            parents=(ROOT,) * len(proposal),
            scores=tuple(score for _, score in proposal),
            sources=(Source.DRAFT,) * len(proposal),
        )
        for proposal in proposals
    ]


def pairs(sampling: Sampling, verifier: Verifier, samples: int = SAMPLES) -> tuple[torch.Tensor, float]:
    """Counts [first, second] of all samples, and the share of samples whose tree was followed."""
    drafted = trees(sampling, samples)
    nodes = [(sample, list(path)) for sample, tree in enumerate(drafted) for path in [(), *((t,) for t in tree.tokens)]]
    made = iter(choices(sampling, nodes))
    walks = []
    for tree in drafted:
        known = dict(zip(range(ROOT, len(tree)), made, strict=False))
        walks.append(verifier(tree, known.__getitem__))
    # Where the tree was left at once, the next step chooses the second token.
    missed = [(sample, [walk.choices[0].token]) for sample, walk in enumerate(walks) if len(walk.choices) < 2]
    late = iter(choices(sampling, missed))
    firsts = [walk.choices[0].token for walk in walks]
    seconds = [walk.choices[1].token if len(walk.choices) > 1 else next(late).token for walk in walks]
    counted = Counter(zip(firsts, seconds, strict=True))
    counts = torch.zeros(VOCABULARY, VOCABULARY).double()
    for pair, count in counted.items():
        counts[pair] = count
    return counts, 1 - len(missed) / samples


def p_value(counts: torch.Tensor, probability: torch.Tensor) -> float:
    """Of chi-square; 0 where something came that cannot. Cells that expect fewer than five are taken together."""
    counts, expected = counts.flatten(), probability.flatten() * counts.sum()
    if bool((counts[expected == 0] > 0).any()):
        return 0.0
    rare = expected < 5
    counts = torch.cat([counts[~rare], counts[rare].sum()[None]])
    expected = torch.cat([expected[~rare], expected[rare].sum()[None]])
    counts, expected = counts[expected > 0], expected[expected > 0]
    statistic = ((counts - expected) ** 2 / expected).sum()
    return float(torch.special.gammaincc(torch.tensor((len(counts) - 1) / 2).double(), statistic / 2))


@pytest.fixture(autouse=True)
def _wide_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batch_sampler, "ROWS", 10_000)


@pytest.mark.long
@pytest.mark.parametrize("name", CASES)
def test_first_tokens_and_pairs_come_as_often_as_the_target_alone_would_give_them(name: str) -> None:
    sampling = CASES[name]
    counts, followed = pairs(sampling, verify, SAMPLES if name in ALL_SAMPLES else FEWER_SAMPLES)
    probability = expected_pairs(sampling)
    assert followed > 0.5
    assert p_value(counts.sum(1), probability.sum(1)) > 1e-3
    assert p_value(counts, probability) > 1e-3


def test_a_verifier_that_accepts_a_likely_child_now_and_then_is_caught() -> None:
    turns = torch.rand(FEWER_SAMPLES, generator=torch.Generator().manual_seed(1)).tolist()

    def eager(tree: Tree, choose: Callable[[int], Choice]) -> Walk:
        walk = verify(tree, choose)
        if turns.pop() < 0.1:
            return Walk((1,), (Choice(tree.tokens[1]), choose(1)))
        return walk

    counts, _ = pairs(CASES["plain"], eager, FEWER_SAMPLES)
    assert p_value(counts.sum(1), expected_pairs(CASES["plain"]).sum(1)) < 1e-9


def test_noise_that_is_used_twice_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    def careless(sampling: Sampling, sample: int, path: list[int]) -> Place:
        return Place(sampling, 2 * sample, edits_after(sampling, tuple(path)))

    monkeypatch.setitem(globals(), "place", careless)
    counts, _ = pairs(CASES["plain"], verify, FEWER_SAMPLES)
    assert p_value(counts, expected_pairs(CASES["plain"])) < 1e-9


def test_the_walks_of_a_batch_are_those_of_the_rule_one_by_one() -> None:
    sampling = CASES["all"]
    made = choices(sampling, [(sample, []) for sample in range(300)])
    for sample, choice in enumerate(made):
        tokens, weights = candidates(logits_after(TARGET, []), sampling, 2 * sample, edits_after(sampling, ()))
        assert choice.token == int(tokens[weights.argmax()])
