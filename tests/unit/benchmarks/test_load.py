"""A load benchmark before and after its processes: what is run, what becomes of what clients saw, and the JSON."""

from __future__ import annotations

import json
import zlib
from pathlib import Path
from typing import cast

import pytest
from benchmarks.load.clients import Received, Refused
from benchmarks.load.estimate import SETTLE_S, Estimate
from benchmarks.load.latencies import Batch, Measured, Stream, figures, percentile, tok_s
from benchmarks.load.long_prompt import UNCOUNTED_PIECES, Stall, split
from benchmarks.load.points import LONG_PROMPT, MIXED, SCALES, TRACES, Contender, Point, order, plan
from benchmarks.load.report import Result, build
from benchmarks.load.tables import show
from benchmarks.load.workload import Lengths, Workload, in_turn, read_trace, scaled
from benchmarks.prompts import Question
from benchmarks.report import write_json
from benchmarks.tables import console
from hypothesis import given
from hypothesis import strategies as st
from outrider_serving.cli import FlagError
from transformers import PreTrainedTokenizerBase

S, Q = SCALES["s"], SCALES["q"]
LOADS = (1, 4, 8, 16, 32)
ALL = [MIXED, *TRACES, "qa", "rag"]
ON, OFF, HF = Contender
PROMISED_OF_A_POINT = {
    "streams",
    "category",
    "temperature",
    "on_tok_s",
    "off_tok_s",
    "hf_tok_s",
    "ttft_p95_ms",
    "itl_p95_ms",
    "accepted_per_step",
    "wasted_share",
}


def test_every_load_and_temperature_of_the_mixed_workload_is_run_by_all() -> None:
    points = [point for point in plan(S, LOADS, ALL, list(Contender)) if point.category == MIXED]
    assert {(point.streams, point.temperature) for point in points} == {(n, t) for n in LOADS for t in (0.0, 1.0)}
    assert all(point.contenders == tuple(Contender) for point in points)
    assert all(point.requests >= point.streams for point in points)


def test_categories_are_run_at_both_temperatures_and_without_transformers() -> None:
    points = [point for point in plan(Q, LOADS, ALL, list(Contender)) if point.category == "rag"]
    assert [(point.temperature, point.contenders) for point in points] == [(0.0, (ON, OFF)), (1.0, (ON, OFF))]


def test_a_long_prompt_is_no_point() -> None:
    assert plan(S, LOADS, [LONG_PROMPT], list(Contender)) == []


def test_no_point_has_more_streams_than_the_most_that_were_asked_for() -> None:
    assert {point.streams for point in plan(S, (2,), ALL, list(Contender))} == {2}


def test_only_the_systems_asked_for_are_run() -> None:
    assert {each for point in plan(S, LOADS, ALL, [OFF]) for each in point.contenders} == {OFF}
    assert all(point.category not in ("qa", "rag") for point in plan(S, LOADS, ALL, [HF]))


@given(st.integers(0, 100))
def test_each_contender_is_once_first_second_and_last_in_a_turn_of_points(start: int) -> None:
    point = Point(MIXED, 1, 0.0, 1, tuple(Contender))
    orders = [order(point, 3 * start + index) for index in range(3)]
    for place in range(3):
        assert {contenders[place] for contenders in orders} == set(Contender)


def test_two_contenders_do_not_always_follow_in_the_same_order() -> None:
    point = Point("qa", 8, 0.0, 8, (ON, OFF))
    assert {tuple(order(point, index)) for index in range(4)} == {(ON, OFF), (OFF, ON)}


@given(st.lists(st.floats(0, 1e3), min_size=1), st.floats(0, 100))
def test_a_percentile_lies_among_the_values_and_rises(values: list[float], percent: float) -> None:
    at = percentile(values, percent)
    half = percentile(values, percent / 2)
    assert at is not None
    assert half is not None
    assert min(values) <= half <= at <= max(values)


def test_percentiles_between_two_values_are_interpolated() -> None:
    assert percentile([3.0, 1.0, 2.0, 4.0], 50) == 2.5
    assert percentile([], 50) is None


def measured(*streams: Stream, wall_s: float = 2.0, counters: dict[str, float] | None = None) -> Measured:
    return Measured(Batch(streams, wall_s, counters or {}), others_cpu_share=0.01, foreign_cpu_share=0.02)


def test_latencies_are_those_of_the_client() -> None:
    of = figures([measured(Stream(0.5, (1.0, 1.1, 1.4), 5), Stream(1.0, (2.0,), 1))])
    assert of["tok_s"] == 3.0
    assert of["ttft_ms"]["p50"] == pytest.approx(750)
    assert of["itl_ms"]["p50"] == pytest.approx(200)
    assert of["tpot_ms"]["p50"] == pytest.approx(100)  # 0.4 s for four tokens after the first


def test_wasted_is_the_share_of_verified_nodes_that_were_not_accepted() -> None:
    counters = {
        "spec_decode_num_draft_tokens": 8.0,
        "spec_decode_num_accepted_tokens": 6.0,
        "decode_tokens": 10.0,
        "decode_sequence_steps": 4.0,
    }
    of = figures([measured(Stream(0.0, (1.0,), 1), counters=counters)])
    assert (of["wasted_share"], of["accepted_per_step"], of["nodes_per_step"]) == (0.25, 2.5, 2.0)
    assert figures([measured(Stream(0.0, (1.0,), 1))])["wasted_share"] is None


def test_rounds_are_pooled_and_not_averaged() -> None:
    fast, slow = (measured(Stream(0.0, (1.0,), 10), wall_s=wall_s) for wall_s in (1.0, 3.0))
    assert tok_s([fast, slow]) == 5.0


def result(category: str, streams: int, **rates: float) -> Result:
    point = Point(category, streams, 0.0, streams, tuple(Contender))
    return Result(
        point,
        {Contender(name): [measured(Stream(0.0, (0.5, 1.0), 2), wall_s=2 / rate)] for name, rate in rates.items()},
        prompt_tokens=5,
        tokens=2,
    )


def test_a_point_has_every_promised_key_and_null_where_nothing_was_run(tmp_path: Path) -> None:
    content = build("q", [result("qa", 8, on=10.0, off=8.0)], {}, complete=False)
    write_json(tmp_path / "out.json", content)
    [point] = json.loads((tmp_path / "out.json").read_text())["points"]
    assert set(point) >= PROMISED_OF_A_POINT
    assert (point["on_tok_s"], point["off_tok_s"], point["hf_tok_s"]) == (10.0, 8.0, None)
    assert point["on_off"] == 1.25
    assert point["ttft_p95_ms"] == 500
    assert (point["accepted_per_step"], point["on_hf"], point["systems"]["hf"]) == (None, None, None)


def test_the_worst_point_decides_and_is_named() -> None:
    results = [result(MIXED, 1, on=2.0, off=1.0), result("rag", 8, on=0.5, off=1.0)]
    [never_slower] = build("q", results, {}, complete=True)["goals"]
    assert (never_slower["measured"], never_slower["met"]) == (0.5, False)
    assert never_slower["where"] == "rag, 8 streams, T=0"


def test_transformers_are_held_against_at_32_streams_of_the_mixed_workload_only() -> None:
    results = [
        result(MIXED, 32, on=3.0, hf=2.0),
        result(MIXED, 1, on=1.0, hf=2.0),
        result("azure_conv", 32, on=1.0, hf=2.0),
    ]
    goals = build("s", results, {}, complete=True)["goals"]
    assert (goals[1]["measured"], goals[1]["met"]) == (1.5, True)
    assert [goal["met"] for goal in goals] == [None, True, None]


def test_a_stall_is_the_longest_gaps_over_the_median_before() -> None:
    steady = [0.1 * piece for piece in range(UNCOUNTED_PIECES + 6)]
    sent_s = steady[-1]
    before, during = split([[*steady, sent_s + 0.4, sent_s + 0.5]], sent_s, first_s=sent_s + 0.2)
    assert before == pytest.approx([0.1] * 5)
    assert during == pytest.approx([0.4])
    stall = Stall(4096, 0.2, before, during)
    assert stall.times == pytest.approx(4.0)
    goal = build("s", [], {ON: stall}, complete=True)["goals"][2]
    assert (goal["at_most"], goal["met"]) == (3.0, False)


def test_the_tables_show_what_there_is(capsys: pytest.CaptureFixture[str]) -> None:
    stall = Stall(4096, 0.2, [0.1], [0.2])
    show(console(), build("s", [result(MIXED, 8, on=10.0, off=8.0)], {ON: stall}, complete=False))
    shown = capsys.readouterr().out
    assert "1.25×" in shown
    assert "2.00×" in shown
    assert "not run" in shown
    show(console(), build("s", [], {}, complete=False))
    assert "not run" in capsys.readouterr().out


def event(content: object) -> bytes:
    return b"data: " + (content if isinstance(content, bytes) else json.dumps(content).encode()) + b"\n\n"


def test_a_stream_is_read_whatever_the_pieces_it_came_in() -> None:
    text = [{"choices": [{"text": piece}], "usage": None} for piece in ("a", "", "b")]
    usage = {"choices": [], "usage": {"completion_tokens": 7}}
    whole = b"".join(map(event, [*text, usage, b"[DONE]"]))
    cut = whole.index(b'"b"')
    received = Received(0.25, [(1.0, whole[:cut]), (2.0, whole[cut:])])
    assert received.stream() == Stream(0.25, (1.0, 2.0), 7)


def test_a_stream_that_breaks_off_or_fails_is_no_answer() -> None:
    with pytest.raises(Refused, match="before its end"):
        Received(0.0, [(1.0, event({"choices": [{"text": "a"}]}))]).stream()
    with pytest.raises(Refused, match="out of memory"):
        Received(0.0, [(1.0, event({"error": {"message": "out of memory"}}))]).stream()


def test_questions_are_taken_of_every_category_in_turn() -> None:
    questions = [Question(str(index), category, "") for index, category in enumerate(["qa", "qa", "rag", "maths"])]
    assert [question.id for question in in_turn(questions, None)] == ["0", "2", "3", "1"]
    assert [question.id for question in in_turn(questions, "qa")] == ["0", "1"]


@given(st.lists(st.tuples(st.integers(0, 20_000), st.integers(0, 20_000)), min_size=1), st.integers(1, 64))
def test_lengths_of_a_trace_always_fit(rows: list[tuple[int, int]], count: int) -> None:
    lengths = scaled([Lengths(*row) for row in rows], count, Q)
    assert len(lengths) == count
    for each in lengths:
        assert each.prompt > 0
        assert each.answer > 1
        assert each.prompt + each.answer <= Q.longest_tokens


def test_a_trace_is_spread_over_evenly_and_divided() -> None:
    trace = [Lengths(400 * row, 40 * row) for row in range(1, 9)]
    assert scaled(trace, 2, S) == [Lengths(100, 10), Lengths(500, 50)]


class WordTokenizer:
    """A token a word."""

    def apply_chat_template(self, turns: list[dict[str, str]], **_: object) -> str:
        return f"<user> {turns[0]['content']} <end> <assistant>"

    def __call__(self, text: str, **_: object) -> dict[str, list[int]]:
        return {"input_ids": [zlib.crc32(word.encode()) for word in text.split()]}


def workload(*texts: str) -> Workload:
    questions = [Question(str(index), "qa", text) for index, text in enumerate(texts)]
    return Workload(questions, cast("PreTrainedTokenizerBase", WordTokenizer()), S)


def test_no_two_prompts_of_a_benchmark_begin_alike_and_each_has_a_seed() -> None:
    made = workload("the same words", "others")
    requests = [request for _ in range(2) for request in made.requests(Point(MIXED, 2, 0.0, 4, ()), tokens=8)]
    assert len({request.prompt[:2] for request in requests}) == len({request.seed for request in requests}) == 8


@given(st.integers(8, 5000))
def test_a_long_prompt_has_the_tokens_asked_for_and_still_asks_for_an_answer(tokens: int) -> None:
    made = workload("so many words of a question", "and of another one")
    request = made.cut_to(tokens, answer=1)
    assert len(request.prompt) == tokens
    assert request.prompt[-2:] == made.cut_to(8, answer=1).prompt[-2:]


def test_a_file_that_is_no_trace_is_named(tmp_path: Path) -> None:
    file = tmp_path / "azure.csv"
    for content in ("TIMESTAMP,Tokens\n1,2\n", "TIMESTAMP,ContextTokens,GeneratedTokens\n"):
        file.write_text(content)
        with pytest.raises(FlagError, match=r"azure\.csv"):
            read_trace(file)


def test_an_estimate_goes_by_the_nearest_number_of_streams() -> None:
    few, many = Point(MIXED, 1, 0.0, 1, (ON,)), Point(MIXED, 32, 0.0, 64, (ON,))
    estimate = Estimate({few: 10.0, many: 640.0})
    assert estimate.left_s([(ON, many)]) is None
    estimate.took((ON, few), 2.0)
    assert estimate.left_s([(ON, many)]) == pytest.approx(SETTLE_S + 128.0)
    estimate.took((ON, many), 6.4)
    assert estimate.left_s([(ON, many), (ON, few)]) == pytest.approx(2 * SETTLE_S + 6.4 + 2.0)
