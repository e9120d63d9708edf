"""The rows of the local runner's table, from two readings of the metrics."""

from outrider_operator.local.rates import draft_rates, target_rates
from outrider_operator.measure.scrape import Scrape


def scrape(at_s: float, run: int = 1, **values: float) -> Scrape:
    return Scrape(at_s, run, values)


def test_a_targets_row() -> None:
    before = scrape(0, generation_tokens_total=0, decode_tokens_total=0, decode_sequence_steps_total=0)
    after = scrape(
        10,
        generation_tokens_total=260,
        decode_tokens_total=250,
        decode_sequence_steps_total=100,
        num_requests_running=2,
        num_requests_waiting=1,
        requests_total=7,
        speculation_goodput_gain=1.4,
    )
    rates = target_rates(before, after)
    assert (rates.running, rates.waiting, rates.total) == (2, 1, 10)
    assert rates.tokens_per_s == 26
    assert rates.tokens_per_step == 2.5  # the first token of a request is no step's
    assert rates.gain == 1.4
    assert rates.itl_p95_s is None


def test_an_idle_target_has_no_tokens_per_step() -> None:
    rates = target_rates(scrape(0), scrape(10))
    assert rates.tokens_per_step is None
    assert rates.tokens_per_s == 0


def test_a_drafts_row() -> None:
    after = scrape(
        10,
        draft_sequences=3,
        draft_tokens_total=400,
        draft_levels_total=100,
        draft_commits_total=40,
        draft_commit_hits_total=30,
    )
    rates = draft_rates(scrape(0), after)
    assert (rates.sequences, rates.tokens_per_s, rates.levels_per_s, rates.hit_rate) == (3, 40, 10, 0.75)


def test_a_draft_that_nobody_asked_has_no_hit_rate() -> None:
    assert draft_rates(scrape(0), scrape(10)).hit_rate is None
