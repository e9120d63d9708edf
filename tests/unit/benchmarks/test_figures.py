"""Figures of a benchmark, from runs whose figures are known."""

from __future__ import annotations

import pytest
from benchmarks.figures import (
    Speculation,
    decode_tok_s,
    differences,
    first_difference,
    median_rate,
    ratio,
    worst_category,
)
from benchmarks.goals import HF_ASSISTED, OUTRIDER, OUTRIDER_OFF, SAMPLED
from unit.benchmarks.measured import encode, run_of


def test_a_rate_is_the_median_over_prompts_so_that_a_stall_does_not_move_it() -> None:
    runs = [run_of("outrider", seconds, prompt=str(seconds)) for seconds in (1.0, 2.0, 50.0)]
    assert median_rate(runs, OUTRIDER) == 5.0


def test_a_rate_of_what_was_not_run_is_none() -> None:
    assert median_rate([run_of("own", 1.0)], OUTRIDER) is None


def test_runs_of_another_temperature_are_another_case() -> None:
    runs = [run_of("outrider", 1.0), run_of("outrider", 2.0, temperature=1.0)]
    assert (median_rate(runs, OUTRIDER), median_rate(runs, SAMPLED)) == (10.0, 5.0)


def test_a_ratio_is_taken_prompt_by_prompt() -> None:
    runs = [
        *(run_of("outrider", seconds, prompt=prompt) for prompt, seconds in (("a", 1.0), ("b", 10.0), ("c", 3.0))),
        *(run_of("outrider_off", seconds, prompt=prompt) for prompt, seconds in (("a", 2.0), ("b", 40.0), ("c", 3.0))),
    ]
    assert ratio(runs, OUTRIDER, OUTRIDER_OFF) == 2.0


def test_a_ratio_leaves_out_prompts_that_only_one_has_run() -> None:
    runs = [run_of("outrider", 1.0), run_of("outrider_off", 3.0), run_of("outrider", 0.6, prompt="2")]
    assert ratio(runs, OUTRIDER, OUTRIDER_OFF) == pytest.approx(3.0)
    assert ratio(runs[2:], OUTRIDER, OUTRIDER_OFF) is None


def test_decode_counts_from_the_first_token_on() -> None:
    run = run_of("outrider", 5.0)
    assert (run.tok_s, run.decode_tok_s) == (2.0, 2.0)


def test_an_answer_that_came_at_once_has_no_decode_rate_and_spoils_no_ratio() -> None:
    runs = [run_of("outrider", 5.0), run_of("hf_assisted", 5.0, first_tokens=10)]
    assert ratio(runs, OUTRIDER, HF_ASSISTED, rate=decode_tok_s) is None
    assert ratio(runs, OUTRIDER, HF_ASSISTED) == 1.0


def test_the_worst_category_is_named() -> None:
    runs = [
        run_of("outrider", 1.0, category="rag"),
        run_of("outrider_off", 3.0, category="rag"),
        run_of("outrider", 2.0, category="qa"),
        run_of("outrider_off", 1.0, category="qa"),
    ]
    assert worst_category(runs, OUTRIDER, OUTRIDER_OFF) == ("qa", 0.5)


@pytest.mark.parametrize(
    ("one", "other", "position"),
    [("abc", "abc", None), ("abc", "abd", 2), ("abc", "ab", 2), ("", "a", 0), ("", "", None)],
)
def test_the_first_difference_is_a_position(one: str, other: str, position: int | None) -> None:
    assert first_difference(encode(one), encode(other)) == position


def test_differences_count_choices_up_to_the_first_that_differs() -> None:
    runs = [
        run_of("outrider", 1.0, prompt="a", text="same"),
        run_of("outrider_off", 1.0, prompt="a", text="same"),
        run_of("outrider", 1.0, prompt="b", text="abXY"),
        run_of("outrider_off", 1.0, prompt="b", text="abcd"),
    ]
    found = differences(runs, OUTRIDER, OUTRIDER_OFF, encode)
    assert found is not None
    assert found["share"] == pytest.approx(1 / 7)
    assert (found["answers"], found["answers_identical"], found["first_differences"]) == (2, 1, [2])
    assert found["prefix_agreement"] == 0.75


def test_speculation_is_summed_over_runs_before_it_is_divided() -> None:
    counters = {
        "decode_tokens": 9.0,
        "decode_sequence_steps": 3.0,
        "draft_asked": 2.0,
        "draft_tree_hits": 1.0,
        "spec_decode_num_draft_tokens": 12.0,
        "step_seconds.forward": 0.3,
    }
    long = {**counters, "decode_tokens": 1.0, "decode_sequence_steps": 1.0}
    found = Speculation.of([run_of("outrider", 1.0, counters=counters), run_of("outrider", 1.0, counters=long)])
    assert found.accepted_per_step == 2.5
    assert found.nodes_per_step == 6.0
    assert found.tree_hit_rate == 0.5
    assert found.step_split_ms is not None
    assert found.step_split_ms["forward"] == pytest.approx(150.0)


def test_a_system_that_counts_nothing_has_no_figures() -> None:
    assert Speculation.of([run_of("hf_generate", 1.0)]) == Speculation(None, None, None, None, None, None)
