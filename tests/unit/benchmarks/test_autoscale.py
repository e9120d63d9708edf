"""The autoscaler's benchmark: a case from start to end on a tiny trace, and what is held against the goals."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from benchmarks.autoscale.cases import FILES, GOALS, MOST_REPLICAS, Case, Row, cases, play
from benchmarks.autoscale.figure import draw
from benchmarks.autoscale.report import best_other, build, judge
from outrider_operator.autoscaling.replay.fleet import Acceptance

PNG = b"\x89PNG"


def folder(tmp_path: Path) -> Path:
    """Both traces, five minutes of a request each three seconds."""
    rows = [f"2023-11-16 18:{at // 60:02}:{at % 60:02}.0,800,60\n" for at in range(0, 300, 3)]
    for file in FILES.values():
        (tmp_path / file).write_text("TIMESTAMP,ContextTokens,GeneratedTokens\n" + "".join(rows))
    return tmp_path


def test_each_trace_is_replayed_at_both_speeds_with_and_without_drift(tmp_path: Path) -> None:
    assert [case.name for case in cases(folder(tmp_path))] == [
        f"{trace}-{speed}x{drift}" for trace in ("conv", "code") for speed in (1, 5) for drift in ("", "-drift")
    ]


def test_a_trace_that_is_not_there_is_named(tmp_path: Path) -> None:
    (folder(tmp_path) / FILES["code"]).unlink()
    with pytest.raises(FileNotFoundError, match=FILES["code"]):
        cases(tmp_path)


@pytest.mark.long
def test_a_case_has_every_policy_and_the_others_at_every_setting(tmp_path: Path) -> None:
    case = cases(folder(tmp_path))[1]
    picture = tmp_path / "case.png"
    played = play(case, seeds=[1, 2, 3], picture=picture)
    assert set(played.policies) == {"outrider", "hpa", "kpa", "fixed_best"}
    tried = {name: len(rows) for name, rows in played.tried.items()}
    assert tried == {"outrider": 3, "hpa": len(GOALS), "kpa": len(GOALS)}
    assert (played.requests, played.start_replicas) == (100, 1)
    content = build([played], {}, seeds=[1, 2, 3], complete=True)
    [entry] = content["runs"]
    assert (entry["trace"], entry["speed"], entry["drift"]) == ("conv", 1.0, "0.8:0.3")
    assert entry["policies"]["fixed_best"]["slo"] >= entry["policies"]["outrider"]["slo"]
    assert {"slo", "gpu_hours", "flips"} <= entry["policies"]["hpa"].keys()
    assert entry["at_fall"]["targets_most"] == MOST_REPLICAS > entry["policies"]["outrider"]["targets_most"]
    assert picture.read_bytes().startswith(PNG)
    draw(tmp_path / "all.png", [entry])
    assert (tmp_path / "all.png").read_bytes().startswith(PNG)


def test_of_several_replays_the_median_of_each_figure_is_told() -> None:
    first = Row("SLO", 0.9, 10.0, 0, 0.1, 0.0, 0, 1.0, None, 4.0, 6, 1.0, 3)
    second = replace(first, slo=0.8, gpu_hours=12.0, ttft_p95_s=None, itl_p95_s=0.03)
    third = replace(first, slo=0.95, gpu_hours=11.0, ttft_p95_s=3.0)
    told = Row.median([first, second, third])
    assert (told.slo, told.gpu_hours, told.ttft_p95_s, told.itl_p95_s) == (0.9, 11.0, 3.0, None)


def run(ours: tuple[float, float], hpa: tuple[float, float], fixed: float, flips: int = 0) -> dict[str, Any]:
    """(attainment, GPU-hours) of each; the rest does not matter to goals."""
    rows = {"outrider": ours, "hpa": hpa, "kpa": (0.5, 1.0), "fixed_best": (ours[0], fixed)}
    policies = {name: {"slo": slo, "gpu_hours": hours, "flips": flips} for name, (slo, hours) in rows.items()}
    return {"trace": "conv", "speed": 1.0, "drift": None, "length_s": 3600.0, "policies": policies}


def met(*runs: dict[str, Any]) -> list[bool]:
    return [goal["met"] for goal in judge(runs)]


def test_every_goal_is_held_against_the_run_that_meets_it_least() -> None:
    good = run((0.99, 8.0), (0.98, 10.0), fixed=8.0, flips=4)
    assert met(good) == [True, True, True, True]
    assert met(good, run((0.97, 8.0), (0.98, 10.0), fixed=8.0)) == [False, True, True, True]
    assert met(good, run((0.99, 9.0), (0.98, 10.0), fixed=9.0)) == [True, False, True, True]
    assert met(good, run((0.99, 8.0), (0.98, 10.0), fixed=7.0)) == [True, True, False, True]
    assert met(good, run((0.99, 8.0), (0.98, 10.0), fixed=8.0, flips=5)) == [True, True, True, False]
    [first, *_] = judge([good, run((0.97, 8.0), (0.98, 10.0), fixed=8.0)])
    assert (first["measured"], first["met_in"]) == (pytest.approx(-0.01), "1 of 2")


def test_the_best_of_the_others_is_the_one_within_slo_most_often() -> None:
    assert best_other(run((0.99, 8.0), (0.98, 10.0), fixed=8.0))["gpu_hours"] == 10.0
    assert best_other(run((0.99, 8.0), (0.4, 10.0), fixed=8.0))["gpu_hours"] == 1.0


def test_a_case_is_named_by_what_it_is() -> None:
    assert Case("conv", Path(), 5.0, Acceptance(0.8, 0.3)).name == "conv-5x-drift"
