"""`outrider replay` as a person meets it."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from unit.operator.yaml_models import ROOT

HEAD = "TIMESTAMP,ContextTokens,GeneratedTokens\n"
PNG = b"\x89PNG"


def replay(*args: str, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", "from outrider_operator.cli import main; main()", "replay", *args]
    env = {**os.environ, **environment}
    return subprocess.run(command, env=env, capture_output=True, text=True, cwd=ROOT, check=False)


@pytest.fixture
def trace(tmp_path: Path) -> str:
    """Ten minutes of a request every five seconds."""
    file = tmp_path / "tiny.csv"
    rows = [f"2023-11-16 18:{at // 60:02}:{at % 60:02}.0000000,800,100\n" for at in range(0, 600, 5)]
    file.write_text(HEAD + "".join(rows))
    return str(file)


def test_a_table_with_a_row_for_each_policy(trace: str) -> None:
    done = replay("--trace", trace, "--policy", "outrider", "--policy", "hpa", "--policy", "kpa", "--policy", "fixed")
    assert (done.returncode, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    assert lines[0] == f"{trace}, 1×: 120 requests in 9.9 min, acceptance 0.8; begins with 1 target"
    assert [line.split()[0] for line in lines[-4:]] == ["outrider", "hpa", "kpa", "fixed"]
    assert "100.0%" in lines[-1]


def test_json_has_all_of_it_and_is_the_same_again(trace: str) -> None:
    flags = ("--trace", trace, "--speed", "2", "--drift", "0.8:0.3", "--policy", "fixed", "--replicas", "2", "--json")
    done = replay(*flags)
    report = json.loads(done.stdout)
    assert report["requests"] == 120
    assert report["length_s"] == pytest.approx(595 / 2)
    assert report["fleet"]["acceptance"] == {"before": 0.8, "after": 0.3}
    assert report["policies"]["fixed"]["targets_mean"] == pytest.approx(2.0)
    assert report["policies"]["fixed"]["gpu_hours"] == pytest.approx(2 * 5 * (595 / 2 + 120) / 3600)
    assert len(report["policies"]["fixed"]["minutes"]) == 7
    assert replay(*flags).stdout == done.stdout


def test_figures_of_the_fleet_are_flags(trace: str) -> None:
    flags = ("--trace", trace, "--policy", "fixed", "--replicas", "1", "--json", "--duration", "1m")
    slow = json.loads(replay(*flags, "--step", "0.2", "--acceptance", "0", "--target-gpus", "8").stdout)
    assert slow["requests"] == 12
    assert slow["policies"]["fixed"]["slo"] == 0.0
    assert slow["policies"]["fixed"]["slow"] == 1.0
    assert slow["policies"]["fixed"]["target_gpu_hours"] == pytest.approx(8 * (55 + 120) / 3600)
    kinder = json.loads(replay(*flags, "--step", "0.2", "--acceptance", "0", "--itl-p95", "1").stdout)
    assert kinder["policies"]["fixed"]["slo"] == 1.0


def test_decisions_are_lines_with_reasons(trace: str) -> None:
    flags = ("--trace", trace, "--policy", "hpa", "--concurrency-goal", "0.01", "--start-replicas", "3")
    done = replay(*flags, "--decisions")
    line = re.compile(r"hpa 0:\d\d:\d\d (target|draft) \d+ → \d+.*")
    decided = [each for each in done.stdout.splitlines() if each.startswith("hpa 0:")]
    assert decided
    assert all(line.fullmatch(each) for each in decided)
    assert any("requests a pod, 0.6 is the goal" in each for each in decided)


@pytest.mark.long
def test_a_plot_is_a_png(trace: str, tmp_path: Path) -> None:
    file = tmp_path / "replay.png"
    done = replay("--trace", trace, "--policy", "hpa", "--policy", "outrider", "--plot", str(file))
    assert (done.returncode, done.stderr) == (0, "")
    assert file.read_bytes().startswith(PNG)
    nowhere = replay("--trace", trace, "--policy", "hpa", "--plot", str(tmp_path / "none" / "replay.png"))
    assert nowhere.returncode == 2
    assert nowhere.stderr.startswith("outrider: error: --plot: ")


def test_without_matplotlib_a_plot_says_what_to_install(trace: str, tmp_path: Path) -> None:
    (tmp_path / "matplotlib.py").write_text("raise ImportError('none here')\n")
    path = os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])
    done = replay("--trace", trace, "--policy", "hpa", "--plot", str(tmp_path / "x.png"), PYTHONPATH=path)
    assert done.returncode == 2
    assert done.stderr == ("outrider: error: --plot: needs matplotlib; run `pip install 'outrider-operator[plot]'`\n")


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        (["--drift", "0.8"], "--drift: '0.8' is none; write two shares of 0 to 1, like 0.8:0.3"),
        (["--drift", "0.8:3"], "--drift: '0.8:3' is none;"),
        (["--duration", "soon"], "--duration: 'soon' is no time span; write 90s, 20m or 1h"),
        (["--min-replicas", "4", "--max-replicas", "2"], "--min-replicas: 4 is more than --max-replicas 2;"),
        (["--policy", "keda"], "'keda'"),
        (["--speed", "0"], "--speed"),
    ],
)
def test_a_wrong_flag_is_one_line_and_exit_2(flags: list[str], says: str, trace: str) -> None:
    done = replay("--trace", trace, *flags)
    assert (done.returncode, done.stdout) == (2, "")
    [line] = done.stderr.splitlines()
    assert line.startswith("outrider: error: ")
    assert says in line


def test_a_file_that_is_no_trace_is_one_line_with_its_place(tmp_path: Path) -> None:
    file = tmp_path / "broken.csv"
    file.write_text(HEAD + "2023-11-16 18:15:46.68,374,44\n2023-11-16 18:15:47.00,many,44\n")
    done = replay("--trace", str(file))
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == (f"outrider: error: {file}:3: ContextTokens 'many' is no number of tokens; write 0 or more\n")


def test_help_has_examples_and_every_default_of_the_fleet() -> None:
    text = replay("--help", COLUMNS="200").stdout
    assert "outrider replay --trace trace.csv --speed 5 --drift 0.8:0.3 --decisions --plot replay.png" in text
    for flag, default in (
        ("--step", "0.02"),
        ("--step-token", "0.00015"),
        ("--prefill", "8000"),
        ("--max-sequences", "64"),
        ("--target-start", "180"),
        ("--draft-level", "0.0015"),
        ("--draft-sequence", "2e-05"),
        ("--draft-start", "30"),
        ("--ttft-p95", "2"),
        ("--itl-p95", "0.05"),
    ):
        assert re.search(rf"{flag}\b.*default: {re.escape(default)}", text), flag
