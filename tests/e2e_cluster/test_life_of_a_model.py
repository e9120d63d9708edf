"""A model's whole life in a cluster, as whoever runs it sees it: each step stands on those before."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from cluster.kubectl import Kubectl
from e2e.asking import SAMPLED, Answer, request
from e2e.tasks import TASKS
from e2e_cluster.asking import Asking
from e2e_cluster.conftest import RELEASE, SYSTEM, StartAsking
from e2e_cluster.looking import Look
from e2e_cluster.objects import ALONE, NAMESPACE, PAIR, alone, pair, url
from e2e_cluster.site import Site
from e2e_cluster.transcript import Shell, Transcript
from e2e_cluster.watching import assert_watched, serve_monitoring
from support.waiting import eventually

pytestmark = [pytest.mark.model_s, pytest.mark.timeout(3600)]

CHART = Path(__file__).parents[2] / "charts" / "outrider"
OPERATOR = "outrider-operator"
# Every pod gets a UID of its cluster's own.
FIRST_UID = 1000770000
# In one batch at most; with two targets of four places each, some wait.
AT_ONCE, MANY = 6, 8
MORE = 6


def requests(model: str) -> list[dict[str, Any]]:
    return [request(task, SAMPLED, model=model) for task in TASKS]


def ask_all(start: StartAsking, model: str) -> dict[int, Answer]:
    with start(url(model), requests(model), at_once=AT_ONCE, endless=False) as asking:
        asking.wait()
    assert asking.failures == []
    assert len(asking.answers) == len(TASKS)
    return dict(asking.answers)


def assert_undisturbed(asking: Asking, reference: dict[int, Answer]) -> None:
    """Nobody failed, and every answer is the one of the model alone."""
    assert asking.failures == []
    assert asking.answers
    assert [(index, answer) for index, answer in asking.answers if answer != reference[index]] == []


def assert_confined(site: Site, look: Look, pods: dict[str, str], container: str) -> None:
    """None is root, and none can write to its root. In a cluster of our own: a UID that no image knows, of group 0."""
    assert pods
    for pod in pods:
        uid, gid, read_only = look.who(pod, container)
        assert read_only, pod
        assert (uid >= FIRST_UID and gid == 0) if site.own else uid != 0, (pod, uid, gid)


def patch(shell: Shell, spec: dict[str, Any]) -> None:
    shell.kubectl("patch", "smodel", PAIR, "-n", NAMESPACE, "--type=merge", "-p", json.dumps({"spec": spec}))


def rolled(look: Look, before: dict[str, str]) -> bool:
    """Whether every target is a new one, and ready."""
    ready = look.condition(PAIR, "TargetReady")["reason"] == "AllReady"
    return ready and not set(before) & set(look.pods_of(PAIR, "target"))


def replaced(look: Look, draft: str) -> bool:
    """Whether another one is ready in the place of this pod."""
    return draft not in look.pods_of(PAIR, "draft") and look.ready_replicas(f"{PAIR}-draft") == 1


def operators(look: Look) -> dict[str, str]:
    pods = look.pods(f"app.kubernetes.io/name={OPERATOR},app.kubernetes.io/component=operator")
    return {pod["metadata"]["name"]: pod["metadata"]["uid"] for pod in pods}


def test_helm_installs_an_operator_of_two_replicas(site: Site, shell: Shell, kubectl: Kubectl) -> None:
    serve_monitoring(site, shell)
    shell.helm(
        *("install", RELEASE, str(CHART), "--namespace", SYSTEM, "--create-namespace", "--wait", "--timeout=10m"),
        *("--set", f"test.model={NAMESPACE}/{PAIR}"),
        *(("--set", f"image.registry={site.registry},servingImage.registry={site.registry}") if site.registry else ()),
    )
    shell.kubectl("get", "pods", "-n", SYSTEM)
    system = Look(kubectl, SYSTEM)
    assert system.ready_replicas(OPERATOR) == 2
    assert_confined(site, system, operators(system), "operator")
    holder = ["get", "lease", OPERATOR, "-n", SYSTEM, "-o=jsonpath={.spec.holderIdentity}", "--ignore-not-found"]
    names = tuple(operators(system))
    system.until("one of them leads", lambda: kubectl(*holder).startswith(names))


def test_an_applied_pair_becomes_ready(
    site: Site, shell: Shell, kubectl: Kubectl, look: Look, namespace: str, transcript: Transcript
) -> None:
    shell.kubectl("apply", "--validate=false", "-f", "-", stdin=yaml.safe_dump_all([pair(), alone()]))
    look.until("the pair serves, with its draft", lambda: look.condition(PAIR, "Ready")["reason"] == "Serving")
    look.until("the model alone serves", lambda: look.condition(ALONE, "Ready")["status"] == "True")
    shell.kubectl("get", "smodel,pods", "-n", namespace)
    assert len(look.pods_of(PAIR, "target")) == 2
    assert_confined(site, look, look.pods_of(PAIR, "target"), "target")
    assert_confined(site, look, look.pods_of(PAIR, "draft"), "draft")
    policy = kubectl.read(f"networkpolicy/{PAIR}-draft", "-n", namespace)
    peers = {str(port["port"]): rule.get("from") for rule in policy["spec"]["ingress"] for port in rule["ports"]}
    assert peers["50051"][0]["podSelector"]["matchLabels"]["app.kubernetes.io/component"] == "target"
    transcript.say("NetworkPolicies are there; a cluster of our own does not enforce them: its CNI is a plain bridge")


def test_streamed_answers_are_those_of_the_model_alone(
    start_asking: StartAsking, reference: dict[int, Answer], transcript: Transcript, shell: Shell, look: Look
) -> None:
    reference |= ask_all(start_asking, ALONE)
    answers = ask_all(start_asking, PAIR)
    assert answers == reference
    tokens = sum(answer.completion_tokens for answer in answers.values())
    transcript.say(f"{len(answers)} streamed answers, {tokens} tokens: the same, from the first to the last")
    shell.kubectl("delete", "smodel", ALONE, "-n", NAMESPACE)
    look.until("nothing is left of the model alone", lambda: not look.children(ALONE))


def test_a_prometheus_reads_every_pod_and_no_alert_waits(
    site: Site, kubectl: Kubectl, transcript: Transcript, tmp_path: Path
) -> None:
    if not site.own:
        transcript.say("not looked at by Prometheus: from here the pods of this cluster cannot be reached")
        return
    assert_watched(kubectl, transcript, tmp_path)


def test_helm_test_completes_a_chat(shell: Shell) -> None:
    said = shell.helm("test", RELEASE, "--namespace", SYSTEM, "--timeout=5m")
    assert f"{PAIR} was asked" in said


def test_a_draft_deleted_in_the_middle_of_streams_is_missed_by_none(
    start_asking: StartAsking, reference: dict[int, Answer], shell: Shell, look: Look, transcript: Transcript
) -> None:
    [draft] = look.pods_of(PAIR, "draft")
    with start_asking(url(PAIR), requests(PAIR)[:AT_ONCE], at_once=AT_ONCE, endless=False) as asking:
        eventually("text on every stream", lambda: len(asking.begun) == AT_ONCE or asking.failures)
        under_way = AT_ONCE - len(asking.answers)
        shell.kubectl("delete", "pod", draft, "-n", NAMESPACE, "--wait=false", "--grace-period=1")
        asking.wait()
    assert_undisturbed(asking, reference)
    assert len(asking.answers) == AT_ONCE
    assert under_way > 0
    look.until("another draft is ready", lambda: replaced(look, draft))
    transcript.say(f"{under_way} streams were under way; all {AT_ONCE} came to their end unchanged")


def test_targets_are_replaced_under_load_and_no_request_fails(
    start_asking: StartAsking, reference: dict[int, Answer], shell: Shell, look: Look, transcript: Transcript
) -> None:
    before = look.pods_of(PAIR, "target")
    with start_asking(url(PAIR), requests(PAIR), at_once=AT_ONCE, endless=True) as asking:
        asking.sees_answers(MORE)
        patch(shell, {"target": {"podTemplate": {"annotations": {"example.com/rolled": "once"}}}})
        look.until("every target is new", lambda: rolled(look, before) or asking.failures)
        asking.sees_answers(MORE)
    after = look.pods_of(PAIR, "target")
    assert len(after) == 2
    assert not set(after) & set(before)
    assert_undisturbed(asking, reference)
    transcript.say(f"{len(asking.answers)} requests while {len(before)} targets were replaced, none failed")


def test_autoscaling_adds_a_draft_under_load(
    start_asking: StartAsking, reference: dict[int, Answer], shell: Shell, look: Look, transcript: Transcript
) -> None:
    targets = look.pods_of(PAIR, "target")
    patch(shell, {"autoscaling": {"draft": {"minReplicas": 1, "maxReplicas": 2}}})
    with start_asking(url(PAIR), requests(PAIR), at_once=MANY, endless=True) as asking:
        look.until("a second draft", lambda: look.ready_replicas(f"{PAIR}-draft") == 2 or asking.failures)
        asking.sees_answers(MORE)
    assert_undisturbed(asking, reference)
    assert look.pods_of(PAIR, "target") == targets
    decisions = [each for each in look.model(PAIR)["status"]["scalingDecisions"] if each["role"] == "draft"]
    assert (decisions[-1]["from"], decisions[-1]["to"]) == (1, 2)
    transcript.say(f"draft 1 → 2: {decisions[-1]['message']} ({decisions[-1]['reason']})")


def test_an_upgrade_with_a_changed_value_leaves_the_models_pods_alone(
    start_asking: StartAsking, reference: dict[int, Answer], shell: Shell, kubectl: Kubectl, look: Look
) -> None:
    system = Look(kubectl, SYSTEM)
    before, targets = operators(system), look.pods_of(PAIR, "target")
    shell.helm(
        *("upgrade", RELEASE, str(CHART), "--namespace", SYSTEM, "--reuse-values", "--set", "verbose=true"),
        *("--wait", "--timeout=10m"),
    )
    after = operators(system)
    assert after
    assert not set(after) & set(before)
    args = kubectl.read(f"deployment/{OPERATOR}", "-n", SYSTEM)["spec"]["template"]["spec"]["containers"][0]["args"]
    assert "--verbose" in args
    assert look.pods_of(PAIR, "target") == targets
    assert ask_all(start_asking, PAIR) == reference


def test_a_deleted_model_leaves_nothing(shell: Shell, look: Look, kubectl: Kubectl) -> None:
    assert look.children(PAIR)
    shell.kubectl("delete", "smodel", PAIR, "-n", NAMESPACE)
    look.until("nothing is left of the pair", lambda: not look.children(PAIR))
    secrets = kubectl("get", "secrets", "-n", NAMESPACE, "-o", "name").split()
    assert [name for name in secrets if name.startswith(f"secret/{PAIR}-") and name.endswith("-tls")] == []


def test_an_uninstalled_release_leaves_the_crd(shell: Shell, kubectl: Kubectl) -> None:
    shell.helm("uninstall", RELEASE, "--namespace", SYSTEM, "--wait", "--timeout=5m")
    shell.kubectl("get", "crd", "speculativemodels.outrider.dev")
    left = ["get", "deployments,pods,services", "-n", SYSTEM, "-l", f"app.kubernetes.io/name={OPERATOR}", "-o", "name"]
    Look(kubectl, SYSTEM).until("nothing is left of the operator", lambda: not kubectl(*left).split())
