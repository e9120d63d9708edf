"""What a terminal that cannot be drawn over shows: the log of a CI job, a shell in an editor."""

from __future__ import annotations

import os
import select
import subprocess
import sys
from pathlib import Path

from support import cluster_objects as objects
from support.fake_api import FakeApi

COMMAND = [sys.executable, "-c", "from outrider_operator.cli import main; main()"]
PATIENCE_S = 60.0
DUMB = {**os.environ, "FORCE_COLOR": "1", "TERM": "dumb"}  # the first: as in a terminal


def test_top_prints_its_table_once(tmp_path: Path) -> None:
    with FakeApi() as api:
        api.add(objects.model())
        flags = ["--interval", "0.1", "--kubeconfig", str(api.kubeconfig(tmp_path / "config"))]
        done = subprocess.run([*COMMAND, "top", *flags], env=DUMB, capture_output=True, text=True, timeout=PATIENCE_S)
    assert "qwen-coder" in done.stdout


def test_status_watch_prints_its_tables_as_they_change(tmp_path: Path) -> None:
    with FakeApi() as api:
        api.add(objects.model())
        flags = ["--watch", "--kubeconfig", str(api.kubeconfig(tmp_path / "config"))]
        with subprocess.Popen([*COMMAND, "status", *flags], env=DUMB, stdout=subprocess.PIPE, text=True) as watching:
            assert watching.stdout is not None
            select.select([watching.stdout], [], [], PATIENCE_S)
            watching.terminate()
            shown = watching.stdout.read()
    assert "qwen-coder" in shown
