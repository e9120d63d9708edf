"""A target cut over several ranks, each a real process: the same tokens as one rank, and one end for all."""

from __future__ import annotations

import contextlib
import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import psutil
import pytest
from outrider_serving import loading
from outrider_serving.engine.attention import ATTENTION
from outrider_serving.engine.model_runner import ModelRunner
from support import tensor_parallel
from support.pair import first_layers, random_llama
from support.tiny import tiny_tokenizer

TESTS = Path(__file__).parents[2]
PATIENCE_S = 200.0
RANK = "outrider_serving.rank"


def save_pair(folder: Path, heads: int, kv_heads: int) -> tuple[Path, Path]:
    """Pair R with these heads of 16, as model folders."""
    target = random_llama(4, distance=0.1, vocabulary=263, heads=heads, kv_heads=kv_heads)
    paths = folder / "target", folder / "draft"
    for model, path in zip((target, first_layers(target, 1)), paths, strict=True):
        model.save_pretrained(path)
        tiny_tokenizer().save_pretrained(path)
    return paths


def eventually(what: str, look: Callable[[], object]) -> None:
    deadline_s = time.monotonic() + PATIENCE_S
    while not look():
        assert time.monotonic() < deadline_s, f"never seen: {what}"
        time.sleep(0.05)


@pytest.mark.parametrize(("ranks", "heads", "kv_heads"), [(2, 4, 2), (3, 6, 3)])
def test_ranks_together_choose_the_tokens_of_one_with_and_without_speculation(
    tmp_path: Path, ranks: int, heads: int, kv_heads: int
) -> None:
    target, draft = save_pair(tmp_path, heads, kv_heads)
    one = tensor_parallel.run(
        *(ModelRunner(loading.load_model(path, "float32", ATTENTION)) for path in (target, draft))
    )
    command = [sys.executable, "-m", "support.tensor_parallel", str(target), str(draft), str(ranks)]
    done = subprocess.run(command, cwd=TESTS, capture_output=True, text=True, check=False, timeout=PATIENCE_S)
    assert done.returncode == 0, done.stderr
    together = json.loads(done.stdout)
    assert together == one
    for temperature in tensor_parallel.TEMPERATURES:
        plain = together[f"plain {temperature}"]
        assert all(len(tokens) == tensor_parallel.TOKENS for tokens in plain)
        assert all(together[f"{way} {temperature}"] == plain for way in tensor_parallel.WAYS)


class Target:
    """`outrider-target` on two ranks, ready."""

    def __init__(self, model: Path, said: Path) -> None:
        self.said = said
        command = [
            *(sys.executable, "-m", "outrider_serving.target.main", f"--model=file://{model}"),
            *("--dtype=float32", "--tensor-parallel-size=2", "--host=127.0.0.1", "--port=0"),
        ]
        with said.open("wb") as out:
            self.process = psutil.Popen(command, stdout=out, stderr=out)
        self.ranks: list[psutil.Process] = []
        eventually("a line that says where it serves", self._serves)

    def _serves(self) -> bool:
        assert self.process.poll() is None, self.said.read_text()
        self.ranks = self.process.children()
        return any(line["event"] == "serving" for line in self.lines())

    def lines(self) -> list[dict[str, object]]:
        return [json.loads(line) for line in self.said.read_text().splitlines() if line.startswith("{")]

    @property
    def url(self) -> str:
        [address] = [line["address"] for line in self.lines() if line["event"] == "serving"]
        assert isinstance(address, list)
        return f"http://127.0.0.1:{address[1]}"

    def ask(self) -> str:
        body = {"model": "target", "prompt": "the rain in", "max_tokens": 8, "temperature": 0}
        answer = httpx.post(f"{self.url}/v1/completions", json=body, timeout=60, trust_env=False)
        assert answer.is_success, answer.text
        text: str = answer.json()["choices"][0]["text"]
        return text

    def has_left_nothing(self) -> bool:
        return not any(rank.is_running() and rank.status() != psutil.STATUS_ZOMBIE for rank in self.ranks)


@pytest.fixture
def target(tmp_path: Path) -> Iterator[Target]:
    model, _ = save_pair(tmp_path, 4, 2)
    started = Target(model, tmp_path / "said")
    try:
        yield started
    finally:
        for process in [started.process, *started.ranks]:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        started.process.wait()


def test_it_answers_and_ends_cleanly_with_all_its_ranks(target: Target) -> None:
    assert len(target.ranks) == 1
    assert RANK in " ".join(target.ranks[0].cmdline())
    assert target.ask() == target.ask()
    target.process.send_signal(signal.SIGTERM)
    assert target.process.wait(PATIENCE_S) == 0, target.said.read_text()
    eventually("no rank", target.has_left_nothing)
    assert not [line for line in target.lines() if line["level"] in ("error", "critical")]


def test_killed_it_leaves_no_rank_behind(target: Target) -> None:
    target.process.send_signal(signal.SIGKILL)
    target.process.wait(PATIENCE_S)
    eventually("no rank", target.has_left_nothing)


def test_when_a_rank_dies_the_whole_pod_starts_anew_and_says_why(target: Target) -> None:
    target.ranks[0].send_signal(signal.SIGKILL)
    assert target.process.wait(PATIENCE_S) == 1, target.said.read_text()
    [said] = [line for line in target.lines() if line["level"] == "error"]
    assert (said["rank"], said["how"]) == (1, "SIGKILL")


def test_ranks_are_ended_though_one_of_them_has_died_amid_a_message() -> None:
    told = """
from outrider_serving.engine.ranks import RankDied, Ranks

ranks = Ranks("outrider_serving.rank", 3)
ranks.on_death = lambda: None
dead, other = ranks._processes
dead.kill()
dead.wait()
try:
    ranks.send(b"settings")
except RankDied:
    ranks.end()
    print(other.returncode)
"""
    done = subprocess.run([sys.executable, "-c", told], capture_output=True, text=True, check=False, timeout=PATIENCE_S)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1].lstrip("-").isdigit(), "the other has ended too"


def test_heads_that_do_not_divide_are_refused_in_one_line_with_the_numbers_that_do(tmp_path: Path) -> None:
    model, _ = save_pair(tmp_path, 6, 3)
    command = [sys.executable, "-m", "outrider_serving.target.main", f"--model=file://{model}", "--port=0"]
    done = subprocess.run(
        [*command, "--tensor-parallel-size=2"],
        capture_output=True,
        text=True,
        check=False,
        timeout=PATIENCE_S,
    )
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1] == (
        "outrider-target: error: --tensor-parallel-size: 2 ranks cannot share 6 attention heads and 3 key-value heads "
        "evenly; give 1 or 3"
    )
