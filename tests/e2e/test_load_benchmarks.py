"""The load benchmark measures all three systems over real processes; the one in virtual time counts in one."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

TESTS = Path(__file__).parents[1]
SETTINGS = ["--pair=s", "--streams=2", "--only=mixed", "--temperatures=0", "--tokens=6", "--waves=1"]


def run(benchmark: str, file: Path) -> dict[str, Any]:
    command = [sys.executable, "-m", benchmark, *SETTINGS, f"--json={file}"]
    ran = subprocess.run(command, cwd=TESTS, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    report: dict[str, Any] = json.loads(file.read_text())
    return report


def test_two_streams_are_measured_through_every_system(tmp_path: Path) -> None:
    report = run("benchmarks.load", tmp_path / "load.json")
    assert (report["benchmark"], report["pair"], report["complete"]) == ("load", "s", True)
    [point] = report["points"]
    assert (point["category"], point["streams"], point["requests"]) == ("mixed", 2, 2)
    for system in ("on", "off", "hf"):
        assert point[f"{system}_tok_s"] > 0
        assert point["systems"][system]["tokens"] == 2 * 6
        assert 0 < point["systems"][system]["ttft_ms"]["p50"] <= point["systems"][system]["ttft_ms"]["p99"]
    assert point["accepted_per_step"] >= 1


def test_two_streams_are_counted_over_the_real_model(tmp_path: Path) -> None:
    report = run("benchmarks.virtual", tmp_path / "virtual.json")
    assert (report["benchmark"], report["pair"], report["complete"]) == ("virtual", "s", True)
    [point] = report["points"]
    assert (point["category"], point["streams"], point["requests"], point["tokens"]) == ("mixed", 2, 2, 6)
    forward_ms = report["counted"]["target"]["forward_ms"]
    # Two prompts were read and five tokens more made of each, in steps of at least one row.
    assert 2 * 6 / point["off_tok_s"] > 6 * forward_ms["1"] / 1000
    assert point["on_tok_s"] > 0


def test_an_interrupted_count_keeps_the_points_that_are_done(tmp_path: Path) -> None:
    file = tmp_path / "virtual.json"
    command = [sys.executable, "-m", "benchmarks.virtual", *SETTINGS, "--streams=2,4", f"--json={file}"]
    with subprocess.Popen(command, cwd=TESTS, stdout=subprocess.PIPE, text=True, preexec_fn=interruptible) as counting:
        assert counting.stdout is not None
        for line in counting.stdout:
            if line.startswith("1/2"):
                counting.send_signal(signal.SIGINT)
                break
        said = counting.stdout.read()
    assert counting.returncode == 130, said
    assert f"stopped; what was counted is: {file}" in said
    report = json.loads(file.read_text())
    assert (report["complete"], len(report["points"])) == (False, 1)


def interruptible() -> None:
    """Whoever started the tests may have set Ctrl-C aside."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
