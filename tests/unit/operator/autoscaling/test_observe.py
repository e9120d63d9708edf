"""What is known of a model while its pods are replaced: clients are served by all of them, whatever their revision."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from outrider_operator.autoscaling.observation import Pods, Signals
from outrider_operator.autoscaling.observe import Seen, observe
from outrider_operator.autoscaling.pods import SeenPod
from outrider_operator.autoscaling.signals import Readings
from outrider_operator.autoscaling.source import Read
from outrider_operator.measure.scrape import Scrape
from outrider_operator.reconcile.store import Key, Store
from support import cluster_objects as objects
from support.pod_pages import ready_pod

NOW = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)
OLD, NEW = "r1", "r2"


def pod(uid: str, revision: str, role: str = "target", ready: bool = True, hopeless: bool = False) -> SeenPod:
    """The old ones are an hour old, the new ones ten minutes."""
    since = NOW - timedelta(minutes=10 if revision == NEW else 60)
    made = replace(ready_pod(uid, 8000), role=role, revision=revision, created=since, unready_since=since)
    return replace(made, ready=ready, hopeless=hopeless)


def readings(requests: float, tokens_s: float = 0.02, at_s: tuple[float, ...] = (0.0, 60.0), **last: float) -> Readings:
    """So many requests in a minute, of a target that has served for long, whose step of one token takes so long."""
    past = {"requests_arrived_total": 900.0, "generation_tokens_total": 9000.0}
    now = {
        "requests_arrived_total": 900.0 + requests,
        "generation_tokens_total": 9000.0 + 10 * requests,
        "step_time_seconds{1}": tokens_s,
        "max_num_seqs": 8.0,
        **last,
    }
    return tuple(Scrape(at, 0, now if at == at_s[-1] else past) for at in at_s)


def seen(pods: list[SeenPod], told: dict[str, Readings], wanted: int = 4, asked: tuple[str, ...] = ()) -> Seen:
    """asked: the model of both roles, as their Deployments have it."""
    deployments = [objects.deployment(role, wanted=wanted, ready=0) for role in ("target", "draft")]
    for each, role in zip(deployments, ("target", "draft"), strict=True):
        each["spec"]["template"] = {"spec": {"containers": [{"name": role, "args": list(asked)}]}}
    return observe(Key("chat", "qwen-coder"), deployments, pods, Read(told), Store(), NOW)


def measured(found: Seen) -> Signals:
    assert found.observation.signals is not None
    return found.observation.signals


def test_while_a_new_revision_loads_the_old_pods_that_serve_are_what_is_measured() -> None:
    pods = [pod("a", OLD), pod("b", OLD), pod("c", OLD), pod("d", NEW, ready=False)]
    found = seen(pods, {uid: readings(60.0) for uid in "abc"})
    assert found.observation.target == Pods(wanted=4, ready=3, starting=1)
    assert (measured(found).pods, measured(found).requests_per_s) == pytest.approx((3, 3.0))
    assert (found.ready, found.answering) == (3, 3)


def test_a_revision_whose_image_is_not_there_blinds_nobody() -> None:
    pods = [pod("a", OLD), pod("b", OLD), pod("c", OLD), pod("d", NEW, ready=False, hopeless=True)]
    found = seen(pods, {uid: readings(60.0, speculation_allowed=1.0, draft_connected=1.0) for uid in "abc"})
    assert found.observation.target == Pods(wanted=4, ready=3, stuck=1)
    assert (measured(found).pods, measured(found).requests_per_s) == pytest.approx((3, 3.0))
    assert (found.speaking.targets, found.speaking.connected) == (3, 3)


def test_half_way_load_is_of_all_and_what_a_step_takes_of_the_new_revision() -> None:
    pods = [pod("a", OLD), pod("b", OLD), pod("c", NEW), pod("d", NEW, ready=False)]
    told = {"a": readings(60.0, 0.02), "b": readings(60.0, 0.02), "c": readings(60.0, 0.01)}
    found = measured(seen(pods, told))
    assert (found.pods, found.requests_per_s) == pytest.approx((3, 3.0))
    assert found.step_time is not None
    assert found.step_time.curve == ((1.0, 0.01),)


def test_until_the_new_revision_was_read_twice_a_step_takes_what_it_took() -> None:
    pods = [pod("a", OLD), pod("b", NEW)]
    found = measured(seen(pods, {"a": readings(60.0, 0.02), "b": readings(0.0, 0.01, at_s=(60.0,))}))
    assert found.step_time is not None
    assert found.step_time.curve == ((1.0, 0.02),)


def test_the_time_of_a_draft_is_the_new_revision_s_once_it_is_there() -> None:
    pods = [pod("a", OLD), pod("old", OLD, "draft"), pod("new", NEW, "draft", ready=False)]
    told = {"a": readings(60.0), "old": (Scrape(60.0, 0, {"draft_level_seconds": 0.004}),)}
    assert (before := measured(seen(pods, told)).draft_time) is not None
    assert before.level_s == 0.004
    pods[-1] = replace(pods[-1], ready=True)
    told["new"] = (Scrape(60.0, 0, {"draft_level_seconds": 0.001}),)
    assert (after := measured(seen(pods, told)).draft_time) is not None
    assert after.level_s == 0.001


def test_a_draft_that_only_the_old_targets_refuse_is_not_called_incompatible() -> None:
    old, new = pod("a", OLD), pod("b", NEW)
    told = {"a": readings(1.0, draft_incompatible=1.0), "b": readings(1.0, draft_connected=1.0)}
    assert (seen([old, new], told).refusing, seen([old], told).refusing) == (None, old)


def test_the_last_draft_waits_for_old_targets_to_stop_asking_too() -> None:
    pods = [pod("a", OLD), pod("b", NEW)]
    told = {"a": readings(1.0, speculation_allowed=1.0), "b": readings(1.0, speculation_allowed=0.0)}
    assert not seen(pods, told).stopped
    told["a"] = readings(1.0, speculation_allowed=0.0)
    assert seen(pods, told).stopped
    assert not seen(pods, {}).stopped


SMALL, BETTER = ("--model=hf://org/small",), ("--model=hf://org/better",)


def test_the_old_drafts_earn_what_is_measured_until_the_last_of_them_has_gone() -> None:
    """Two of three have to go still when the first new one is ready; it is what is tried from there on."""
    target = replace(pod("t", NEW), model=BETTER)
    old = [replace(pod(uid, OLD, "draft"), model=SMALL) for uid in ("a", "b")]
    new = [replace(pod(uid, NEW, "draft", ready=False), model=BETTER) for uid in ("c", "d", "e")]

    def shown(drafts: list[SeenPod]) -> tuple[tuple[str, ...], bool, bool]:
        found = seen([target, *drafts], {"t": readings(60.0)}, wanted=3, asked=BETTER)
        return found.models["draft"], "draft" in found.awaited, found.observation.outgoing

    assert shown([*old, new[0]]) == (SMALL, True, True)
    ready = [replace(each, ready=True) for each in new]
    assert shown([old[0], ready[0], new[1]]) == (BETTER, False, True)
    assert shown([*ready[:2], new[2]]) == (BETTER, False, False)
    assert shown(ready) == (BETTER, False, False)


def test_a_new_model_that_never_starts_is_not_waited_for() -> None:
    old = replace(pod("a", OLD, "draft"), model=SMALL)
    hung = replace(pod("b", NEW, "draft", ready=False, hopeless=True), model=BETTER)
    target = replace(pod("t", NEW), model=BETTER)
    assert not seen([target, old, hung], {"t": readings(60.0)}, wanted=2, asked=BETTER).observation.outgoing


def test_a_target_is_judged_by_its_new_model_when_that_was_read_twice() -> None:
    old, new = replace(pod("a", OLD), model=SMALL), replace(pod("b", NEW), model=BETTER)
    found = seen([old, new], {"a": readings(60.0), "b": readings(0.0, at_s=(60.0,))}, asked=BETTER)
    assert (found.models["target"], found.awaited, found.observation.outgoing) == (SMALL, {"target"}, True)
    found = seen([old, new], {"a": readings(60.0), "b": readings(60.0)}, asked=BETTER)
    assert (found.models["target"], found.awaited, found.observation.outgoing) == (BETTER, set(), False)


def test_the_model_of_a_draft_that_is_scaled_to_none_is_the_one_that_would_run() -> None:
    assert seen([], {}, wanted=0, asked=BETTER).models == {"target": BETTER, "draft": BETTER}
    assert seen([], {}, wanted=1, asked=BETTER).models == {}
