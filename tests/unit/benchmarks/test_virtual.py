"""A benchmark in virtual time: what is counted, and what becomes of it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from benchmarks.load.points import Point
from benchmarks.tables import console
from benchmarks.virtual.__main__ import app
from benchmarks.virtual.kinds import Kind, describe, machine
from benchmarks.virtual.report import Result, System, build
from benchmarks.virtual.tables import show
from outrider_serving.cli import FlagError
from outrider_serving.engine.model_runner import ModelRunner
from outrider_serving.target.speculation import SpeculationPolicy
from outrider_serving.target.step import StepReport
from support.machines import GPU
from support.pair import first_layers, random_llama
from support.virtual import Clock, Costly, Served, Server, Traffic
from typer.main import get_command

POINT = Point("qa", 8, 0.0, 16, ())


def served(elapsed_s: float, *steps: StepReport) -> Served:
    return Served(elapsed_s, [[1] * 24] * 2, list(steps))


def test_a_point_is_told_by_its_systems_and_what_steps_did() -> None:
    drafted = StepReport(decoded_sequences=2, decoded_tokens=7, draft_tokens=12, asked=2)
    plain = StepReport(decoded_sequences=2, decoded_tokens=2)
    reading = StepReport(prompt_tokens=40)
    result = Result(
        POINT,
        45,
        24,
        {
            System.ON: served(2.0, reading, drafted, plain),
            System.OFF: served(4.0),
            System.DRAFT_ONLY: served(1.9),
            System.NGRAMS_ONLY: served(3.0),
        },
    )
    content = build("q", [result], complete=True)
    [point] = content["points"]
    assert (point["on_tok_s"], point["off_tok_s"]) == (24.0, 12.0)
    assert (point["on_off"], point["on_better"]) == (2.0, pytest.approx(0.95))
    assert (point["accepted_per_step"], point["nodes_per_step"], point["asked_share"]) == (2.25, 3.0, 0.5)
    assert [(goal["met"], goal["where"]) for goal in content["goals"]] == [
        (True, "qa, 8 streams, T=0"),
        (False, "qa, 8 streams, T=0"),
    ]


def test_what_was_not_run_is_null_and_shown(capsys: pytest.CaptureFixture[str]) -> None:
    content = build("q", [Result(POINT, 45, 24, {System.ON: served(2.0)})], complete=False)
    [point] = content["points"]
    assert (point["off_tok_s"], point["on_off"], point["on_better"], point["accepted_per_step"]) == (None,) * 4
    json.dumps(content, allow_nan=False)
    show(console(), content)
    assert "not run" in capsys.readouterr().out


def test_a_server_goes_on_with_what_it_has_learnt_and_takes_the_same_time_each_run() -> None:
    """Two servers use the same weights in turn: what one has read is not in the other's cache."""

    def elapsed_s() -> list[float]:
        clock = Clock()
        model = random_llama(2, 0.0)
        assert GPU.draft is not None
        target, draft = Costly(model, GPU.target, clock), Costly(first_layers(model, 1), GPU.draft, clock)
        drafted = Server(clock, target, draft, SpeculationPolicy())
        plain = Server(clock, target, None, SpeculationPolicy(mode="Off"))
        asked = Traffic(1, 2, 40, 16, 0.0).asked()
        runs = [server.serve(asked, 1) for server in (drafted, plain, plain)]
        assert runs[0].tokens == runs[1].tokens
        assert [run.steps[0].prefix_hits > 0 for run in runs] == [False, False, True]
        return [run.elapsed_s for run in runs]

    assert elapsed_s() == elapsed_s()


def test_this_machine_is_measured_as_a_server_does() -> None:
    runner = ModelRunner(random_llama(2))
    found = machine(Kind.HERE, runner, None)
    assert found.draft is None
    told = describe(found)
    assert told["draft"] is None
    assert set(told["target"]["forward_ms"]) >= {"1", "64"}
    assert machine(Kind.GPU, runner, runner) is GPU


@pytest.mark.parametrize(
    ("arguments", "names"),
    [
        (["--pair=s", "--kind=gpu"], "--kind"),
        (["--pair=q", "--systems=on,fast"], "--systems"),
        (["--pair=s", "--systems=on,draft_only"], "--systems"),
        (["--pair=q", "--streams=0"], "--streams"),
        (["--pair=q", "--temperatures=hot"], "--temperatures"),
    ],
)
def test_a_flag_that_cannot_be_used_is_named(tmp_path: Path, arguments: list[str], names: str) -> None:
    with pytest.raises(FlagError, match=names):
        get_command(app).main([*arguments, f"--json={tmp_path / 'x.json'}"], standalone_mode=False)
