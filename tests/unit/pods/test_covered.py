"""What decides whether CI runs the scenario again."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from e2e_cluster import covered


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """With one file that is covered."""
    subprocess.run(["git", "init", "--quiet", str(tmp_path)], check=True)
    monkeypatch.setattr(covered, "ROOT", tmp_path)
    (tmp_path / "operator").mkdir()
    (tmp_path / "operator" / "main.py").write_text("one", encoding="utf-8")
    return tmp_path


@pytest.mark.parametrize("name", ["operator/main.py", "operator/more.py", "charts/outrider/values.yaml"])
def test_what_an_image_or_the_chart_is_made_of_counts(checkout: Path, name: str) -> None:
    before = covered.state()
    (checkout / name).parent.mkdir(parents=True, exist_ok=True)
    (checkout / name).write_text("two", encoding="utf-8")
    assert covered.state() != before


@pytest.mark.parametrize("name", ["operator/README.md", "tests/unit/test_more.py"])
def test_documents_and_other_tests_do_not(checkout: Path, name: str) -> None:
    before = covered.state()
    (checkout / name).parent.mkdir(parents=True, exist_ok=True)
    (checkout / name).write_text("two", encoding="utf-8")
    assert covered.state() == before


def test_a_file_that_goes_counts_too(checkout: Path) -> None:
    before = covered.state()
    (checkout / "operator" / "main.py").unlink()
    assert covered.state() != before
