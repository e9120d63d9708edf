"""Whether the scenario has passed with all it covers as it is now: a run takes half an hour, and CI has more to do.

usage: python -m e2e_cluster.covered [--passed]
Ends with 0 where it has, else with 1. --passed: it has just now.
"""

from __future__ import annotations

import hashlib
import subprocess
import sys
from pathlib import Path

from cluster.assets import cache_root

ROOT = Path(__file__).parents[2]
COVERED = (
    *("charts/outrider", "crds", "operator", "serving", "constraints.txt", ".containerignore"),
    *("tests/cluster", "tests/e2e_cluster", "tests/prometheus", "tests/e2e/asking.py", "tests/e2e/tasks.py"),
)


def state() -> str:
    """Of what git has and has not yet of it, apart from what is written for people."""
    listed = _git("ls-files", "--cached", "--others", "--exclude-standard", "--", *COVERED).split("\n")
    files = [ROOT / name for name in sorted(set(listed)) if name and not name.endswith(".md")]
    digest = hashlib.sha256()
    for file in files:
        if file.is_file():
            digest.update(f"{file.relative_to(ROOT)}\n".encode() + hashlib.sha256(file.read_bytes()).digest())
    return digest.hexdigest()


def passed_file() -> Path:
    """Beside what the clusters need: on a new machine there is none, and the scenario runs."""
    return cache_root() / "e2e-passed"


def _git(*arguments: str) -> str:
    return subprocess.run(["git", *arguments], cwd=ROOT, check=True, capture_output=True, text=True).stdout


def main() -> None:
    if "--passed" in sys.argv:
        passed_file().parent.mkdir(parents=True, exist_ok=True)
        passed_file().write_text(state(), encoding="ascii")
    has = passed_file().is_file() and passed_file().read_text(encoding="ascii") == state()
    sys.exit(0 if has else 1)


if __name__ == "__main__":
    main()
