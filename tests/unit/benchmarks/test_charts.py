"""Figures beside the JSON that they were drawn from."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from benchmarks.charts import caption, categories, draw, throughput
from benchmarks.load.latencies import Stream
from benchmarks.load.points import Contender, Point
from benchmarks.load.report import Result, build
from benchmarks.report import build as build_decode
from outrider_serving.cli import FlagError
from unit.benchmarks.measured import encode, run_of
from unit.benchmarks.test_load import measured

PNG = b"\x89PNG"
ABOUT = {
    "machine": {
        "cpu": "A processor",
        "cores": 2,
        "memory_gib": 24.0,
        "torch": "2",
        "transformers": "5",
        "date": "2026-01-02T03:04:05",
    },
    "settings": {"target": "org/target", "draft": None, "dtype": "bfloat16", "tokens": 8},
}


def load_report() -> dict[str, Any]:
    def result(category: str, streams: int, temperature: float, on_s: float) -> Result:
        point = Point(category, streams, temperature, streams, tuple(Contender))
        walls_s = {Contender.ON: on_s, Contender.OFF: 1.0}
        rates = {who: [measured(Stream(0.0, (0.5,), 10), wall_s=wall_s)] for who, wall_s in walls_s.items()}
        return Result(point, rates, prompt_tokens=5, tokens=10)

    results = [result("mixed", 4, 0.0, 0.5), result("mixed", 1, 0.0, 1.0), result("qa", 8, 1.0, 0.8)]
    return build("s", results, {}, complete=True) | ABOUT


def test_throughput_rises_with_the_streams_and_leaves_out_who_did_not_run() -> None:
    assert throughput(load_report()) == {0.0: {"on": [(1, 10.0), (4, 20.0)], "off": [(1, 10.0), (4, 10.0)]}}


def test_a_category_has_a_bar_only_where_it_was_run() -> None:
    names, [greedy, sampled] = categories(load_report())
    assert names == ["qa"]
    assert greedy.values == [None]
    assert sampled.values[0] == pytest.approx(1.25)


def test_figures_lie_beside_the_json_that_they_were_drawn_from(tmp_path: Path) -> None:
    file = tmp_path / "load-s.json"
    file.write_text(json.dumps(load_report()))
    drawn = draw(file)
    assert [png.name for png in drawn] == ["load-s-throughput.png", "load-s-categories.png"]
    assert all(png.read_bytes().startswith(PNG) for png in drawn)


def test_single_streams_are_drawn_by_category(tmp_path: Path) -> None:
    runs = [run_of("outrider", 1.0), run_of("outrider_off", 2.0)]
    report = {"benchmark": "decode", "pair": "s"} | build_decode("s", runs, [], encode, complete=True) | ABOUT
    assert categories(report)[1][0].values == [2.0]
    file = tmp_path / "s.json"
    file.write_text(json.dumps(report))
    assert [png.name for png in draw(file)] == ["s-categories.png"]


def test_the_caption_says_on_which_machine_and_whether_it_ran_to_the_end() -> None:
    said = caption(load_report())
    assert "A processor, 2 cores" in said
    assert "stopped" not in said
    assert "stopped" in caption(load_report() | {"complete": False})


@pytest.mark.parametrize("content", ["{", "[]", '{"benchmark": "soak"}'])
def test_another_file_is_refused_in_one_line(content: str, tmp_path: Path) -> None:
    file = tmp_path / "x.json"
    file.write_text(content)
    with pytest.raises(FlagError, match=r"x\.json is no JSON of"):
        draw(file)
