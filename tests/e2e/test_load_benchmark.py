"""The load benchmark measures all three systems over real processes."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

TESTS = Path(__file__).parents[1]
SETTINGS = ["--pair=s", "--streams=2", "--only=mixed", "--temperatures=0", "--tokens=6", "--waves=1"]


def test_two_streams_are_measured_through_every_system(tmp_path: Path) -> None:
    file = tmp_path / "load.json"
    command = [sys.executable, "-m", "benchmarks.load", *SETTINGS, f"--json={file}"]
    ran = subprocess.run(command, cwd=TESTS, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    report = json.loads(file.read_text())
    assert (report["benchmark"], report["pair"], report["complete"]) == ("load", "s", True)
    [point] = report["points"]
    assert (point["category"], point["streams"], point["requests"]) == ("mixed", 2, 2)
    for system in ("on", "off", "hf"):
        assert point[f"{system}_tok_s"] > 0
        assert point["systems"][system]["tokens"] == 2 * 6
        assert 0 < point["systems"][system]["ttft_ms"]["p50"] <= point["systems"][system]["ttft_ms"]["p99"]
    assert point["accepted_per_step"] >= 1
