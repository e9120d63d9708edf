"""Processes come and go with the load, and nobody who is served can tell: no request fails, no text is another."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from e2e.asking import SAMPLED
from e2e.conftest import Reference
from e2e.resources import speculative_model
from e2e.running import Resource, Up, running
from e2e.streams import STREAM_TOKENS, Streams
from e2e.tasks import TASKS
from support.waiting import eventually

pytestmark = [pytest.mark.model_s, pytest.mark.timeout(900)]

# One stream without rest keeps all of a target busy on cores that it shares; with it a fifth, of which one is enough.
REST = 4.0
FAST = {"scaleDown": {"stabilizationWindowSeconds": 6, "policies": [{"type": "Pods", "value": 1, "periodSeconds": 3}]}}


def scaled(draft: str, target: tuple[int, int], drafts: tuple[int, int], mode: str) -> Resource:
    """Bounds of both. Targets follow their load: four sequences at once, for which sixteen streams are too many."""
    resource = speculative_model(draft=draft, mode=mode)
    resource["spec"]["target"]["maxNumSeqs"] = 4
    resource["spec"]["autoscaling"] = {
        "target": {"minReplicas": target[0], "maxReplicas": target[1], "behavior": FAST},
        "draft": {"minReplicas": drafts[0], "maxReplicas": drafts[1], "behavior": FAST},
    }
    return resource


def assert_undisturbed(streams: Streams, reference: Reference) -> None:
    """As far as they were asked for, the answers are those of the target alone."""
    expected = dict(zip(TASKS, reference.answers(SAMPLED), strict=True))
    assert streams.failures == []
    assert {answer.completion_tokens for _, answer in streams.answers} == {STREAM_TOKENS}
    assert [answer for task, answer in streams.answers if not expected[task].text.startswith(answer.text)] == []


def decided(up: Up, role: str) -> list[dict[str, Any]]:
    return [decision for decision in up.decisions() if decision["role"] == role]


def steps(up: Up, role: str) -> list[tuple[int, int]]:
    return [(decision["from"], decision["to"]) for decision in decided(up, role)]


def assert_well_told(up: Up) -> None:
    """Each with a word for programs and a sentence: of a role with figures, of speculation with how it is now."""
    assert up.decisions()
    for decision in up.decisions():
        assert decision["reason"].isalpha()
        assert decision["message"].endswith(".")
        if decision["role"] == "speculation":
            assert decision["message"].startswith("On" if decision["to"] else "Off"), decision
        else:
            assert any(character.isdigit() for character in decision["message"]), decision


def sees(up: Up, what: str, look: Callable[[], bool]) -> None:
    """Waits long: on cores that they share, processes start and drain one after another beside sixteen streams."""
    try:
        eventually(what, look, patience_s=300.0)
    except AssertionError as problem:
        raise AssertionError(f"{problem}; decided: {up.decisions()}") from None


def seen(up: Up, looks: list[dict[str, float]]) -> dict[str, float]:
    """What the target counts now, kept with what was seen before."""
    looks.append(up.metrics())
    return looks[-1]


def assert_waited_for_no_draft(looks: list[dict[str, float]]) -> None:
    """Tokens came all the while, and no step asked or waited for a tree."""
    assert looks[0]["outrider_decode_tokens_total"] < looks[-1]["outrider_decode_tokens_total"]
    assert len({look["outrider_draft_asked_total"] for look in looks}) == 1
    assert len({look["outrider_step_seconds_total/draft_wait"] for look in looks}) == 1


def sees_answers(up: Up, streams: Streams, more: int) -> None:
    enough = len(streams.answers) + more
    sees(up, f"{more} answers", lambda: len(streams.answers) >= enough)


def test_targets_and_drafts_follow_the_load_up_and_down(
    tmp_path: Path, first_layers: str, reference: Reference
) -> None:
    resource = scaled(first_layers, (1, 3), (0, 2), "Always")
    with running(tmp_path, resource, hurried=True) as up, Streams(up.url, SAMPLED) as streams:
        streams.wanted = 1
        sees_answers(up, streams, 4)
        streams.wanted = 16
        sees(up, "three targets", lambda: up.replicas("target") == 3)
        sees(up, "a second draft", lambda: up.replicas("draft") == 2)
        sees_answers(up, streams, 16)
        streams.wanted, streams.rest = 1, REST
        sees(up, "one target again", lambda: up.replicas("target") == 1)
        sees(up, "one draft again", lambda: up.replicas("draft") == 1)
        assert [before < after for before, after in steps(up, "target")][:1] == [True]
        assert {decision["reason"] for decision in decided(up, "target")} == {"ScaleUp", "ScaleDown"}
        assert steps(up, "target")[-1][1] == steps(up, "draft")[-1][1] == 1
    assert_well_told(up)
    assert_undisturbed(streams, reference)


def test_a_draft_that_earns_nothing_is_ended_and_tried_again(
    tmp_path: Path, first_layers: str, reference: Reference
) -> None:
    resource = scaled(first_layers, (1, 1), (0, 1), "Auto")
    # Its trees and the n-grams' bring 3 %, a busy machine is taken for up to 10 %: so much that neither is near it.
    resource["spec"]["autoscaling"]["minGoodputGain"] = 1.5
    with running(tmp_path, resource, hurried=True) as up, Streams(up.url, SAMPLED) as streams:
        streams.wanted = 2
        sees(up, "no draft", lambda: up.replicas("draft") == 0)
        assert up.metrics()["outrider_speculation_allowed"] == 0
        # Then the step is over that had still asked.
        sees_answers(up, streams, 1)
        looks = [up.metrics()]
        sees(up, "a draft again", lambda: seen(up, looks)["outrider_draft_connected"] == 1)
        sees(up, "drafting allowed again", lambda: seen(up, looks)["outrider_speculation_allowed"] == 1)
        assert_waited_for_no_draft([look for look in looks if look["outrider_speculation_allowed"] == 0])
        sees_answers(up, streams, 2)
        assert steps(up, "draft")[:2] == [(1, 0), (0, 1)]
        assert steps(up, "speculation")[:2] == [(1, 0), (0, 1)]
        assert up.replicas("target") == 1
    assert_well_told(up)
    assert_undisturbed(streams, reference)
