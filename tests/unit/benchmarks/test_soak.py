"""What a soak is passed by, and what fails it."""

from __future__ import annotations

import json
import random
from collections import Counter

from benchmarks.soak.report import Counts, Sample, build, flatness
from benchmarks.soak.requests import ENDINGS, TEMPERATURES, ending_of, request_body

MIB = 2**20


def samples(*target_mib: int) -> list[Sample]:
    return [Sample(10.0 * index, {"target": size * MIB}) for index, size in enumerate(target_mib)]


def counts(**ended: int) -> Counts:
    return Counts(ended=Counter(ended), tokens=100)


def test_memory_that_grows_in_the_warm_up_only_is_flat() -> None:
    content = build(samples(500, 800, 1000, 1010, 1000), counts(completed=5), 20.0, left_running=0, complete=True)
    assert content["passed"] is True
    assert content["memory"]["target"]["median_bytes"] == 1000 * MIB


def test_memory_that_grows_later_fails() -> None:
    content = build(samples(1000, 1000, 1000, 1031), counts(completed=5), 0.0, left_running=0, complete=True)
    assert (content["flat"], content["passed"]) == (False, False)


def test_each_role_has_to_be_flat() -> None:
    found = flatness([Sample(at_s, {"target": 100, "draft": draft}) for at_s, draft in ((0.0, 100), (1.0, 110))], 0.0)
    assert (found["target"].flat, found["draft"].flat) == (True, False)


def test_an_error_a_request_left_behind_or_an_early_end_fails() -> None:
    for ended, left, complete in ((counts(error=1), 0, True), (counts(), 1, True), (counts(), 0, False)):
        assert build(samples(100, 100), ended, 0.0, left_running=left, complete=complete)["passed"] is False


def test_before_the_warm_up_is_over_nothing_is_said_of_memory() -> None:
    content = build(samples(100), counts(), 60.0, left_running=None, complete=False)
    assert (content["flat"], content["emptied"], content["memory"]) == (None, None, {})
    json.dumps(content)


def test_only_the_first_errors_are_kept_and_all_are_counted() -> None:
    found = Counts()
    for number in range(100):
        found.failed(f"HTTP 500: {number}")
    assert found.ended["error"] == 100
    assert found.errors[0] == "HTTP 500: 0"
    assert len(found.errors) < 100


def test_requests_differ_in_length_temperature_and_ending() -> None:
    rng = random.Random(1)
    endings = [ending_of(rng) for _ in range(200)]
    bodies = [request_body(rng, [(1,), (2, 3)], ending) for ending in endings]
    assert set(endings) == set(ENDINGS)
    assert {body["temperature"] for body in bodies} == set(TEMPERATURES)
    assert len({body["max_tokens"] for body in bodies}) > 20
    assert all(("stop" in body) == (ending == "stop") for body, ending in zip(bodies, endings, strict=True))
