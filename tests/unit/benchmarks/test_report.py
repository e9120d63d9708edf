"""The JSON: whole while it is written, with every promised key from the first run on, and goals judged."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from benchmarks.goals import GOALS
from benchmarks.identity import compare
from benchmarks.report import build, identical, write_json
from benchmarks.systems import System
from benchmarks.tables import console, show
from unit.benchmarks.measured import encode, run_of

PROMISED = {*System, "accepted_per_step", "identical", "by_category", "ratios", "temperature_1", "step_split_ms"} | {
    "tree_hit_rate",
    "bf16_differing_share",
    "runs",
    "complete",
}


@pytest.mark.parametrize("pair", ["q", "s"])
def test_every_key_is_there_before_the_first_run_and_all_of_it_is_json(pair: str, tmp_path: Path) -> None:
    content = build(pair, [], [], encode, complete=False)
    write_json(tmp_path / "out.json", content)
    read = json.loads((tmp_path / "out.json").read_text())
    assert set(read) >= PROMISED
    assert read["complete"] is False
    assert read["identical"] is None


def test_a_file_is_replaced_whole_and_nothing_else_is_left(tmp_path: Path) -> None:
    for value in (1, 2):
        write_json(tmp_path / "out.json", {"value": value})
    assert [file.name for file in tmp_path.iterdir()] == ["out.json"]
    assert json.loads((tmp_path / "out.json").read_text()) == {"value": 2}


def test_an_interrupted_run_shows_the_figures_that_it_has() -> None:
    runs = [run_of("outrider", 1.0), run_of("outrider_off", 2.0)]
    content = build("q", runs, [], encode, complete=False)
    assert content["outrider"] == 10.0
    assert content["own"] is None
    assert content["ratios"]["outrider/outrider_off"]["total"] == 2.0
    assert content["by_category"]["qa"]["outrider_off"] == 5.0


def test_a_goal_is_met_missed_or_not_run() -> None:
    runs = [run_of("outrider", 1.0), run_of("outrider_off", 1.5), run_of("hf_assisted", 1.4)]
    judged = build("q", runs, [], encode, complete=True)["goals"]
    assert [goal["met"] for goal in judged] == [False, True, None, None, None, None, True, None]


def test_both_ways_of_drafting_together_are_held_against_the_better_one_of_each_category() -> None:
    runs = [
        run_of("outrider", 1.0, category="qa"),
        run_of("draft_only", 2.0, category="qa"),
        run_of("ngrams_only", 3.0, category="qa"),
        run_of("outrider", 1.0, category="rag"),
        run_of("draft_only", 4.0, category="rag"),
        run_of("ngrams_only", 0.9, category="rag"),
    ]
    [together] = [goal for goal in GOALS["q"] if "better of" in goal.what]
    assert together.measure(runs) == pytest.approx(0.9)
    assert together.measure(runs[:2]) is None


def test_what_was_not_loaded_together_is_not_compared() -> None:
    runs = [
        run_of("outrider", 1.0, part=0),
        run_of("outrider_off", 2.0, part=0),
        run_of("outrider", 1.0, part=2),
        run_of("outrider_off", 9.0, part=1),
    ]
    assert build("q", runs, [], encode, complete=True)["ratios"]["outrider/outrider_off"]["total"] == 2.0


def test_copying_and_open_chat_are_judged_apart() -> None:
    runs = [
        run_of("outrider", 1.0, category="copying"),
        run_of("outrider_off", 3.0, category="copying"),
        run_of("outrider", 2.0, category="writing"),
        run_of("outrider_off", 1.0, category="writing"),
    ]
    assert [goal.judge(runs)["measured"] for goal in GOALS["s"]] == [3.0, 0.5, None]


def test_one_phase_that_differs_is_enough_for_not_identical() -> None:
    assert identical([{"identical": True}, {"identical": None}]) is True
    assert identical([{"identical": True}, {"identical": False}]) is False
    assert identical([{"identical": None}]) is None


def test_identity_is_held_against_off_and_transformers_stand_beside_it() -> None:
    greedy, sampled = ("p", 0.0), ("p", 1.0)
    texts = {
        "off": {greedy: "abc", sampled: "xyz"},
        "ngrams": {greedy: "abc\ufffd", sampled: "xyz"},
        "hf_generate": {greedy: "abd"},
    }
    same = compare(texts)
    assert (same["identical"], same["identical_to_hf_generate"]) == (True, False)
    texts["first_layers"] = {greedy: "abc", sampled: "xYz"}
    other = compare(texts)
    assert other["identical"] is False
    assert other["differing"]["first_layers"] == [{"prompt": "p", "temperature": 1.0, "from_character": 1}]


def test_the_tables_name_what_was_met_and_what_was_not(capsys: pytest.CaptureFixture[str]) -> None:
    runs = [
        run_of("outrider", 1.0),
        run_of("outrider_off", 1.1),
        run_of("hf_assisted", 1.4, first_tokens=10),
    ]
    show(console(), build("q", runs, [], encode, complete=True))
    shown = capsys.readouterr().out
    assert "✗" in shown
    assert "✓" in shown
    assert "not run" in shown
    assert "1.10×" in shown
