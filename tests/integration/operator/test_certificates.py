"""The Secrets of mutual TLS on a real API server, under the operator's own rights, while years go by."""

from __future__ import annotations

import json
from collections import Counter
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from cluster.kubectl import Kubectl
from cluster.operator_process import Operator
from kubernetes.aio.client import Configuration
from kubernetes.aio.config import load_kube_config
from outrider_operator.api.v1alpha1 import SpeculativeModel
from outrider_operator.certificates.authority import Pair, fits, renewal
from outrider_operator.kube.client import Kube
from outrider_operator.kube.login import client
from outrider_operator.reconcile.certificates import Certificates
from outrider_operator.reconcile.reconcile import read
from outrider_operator.resources.certificates import files

SAMPLE = Path(__file__).parents[3] / "manifests" / "samples" / "qwen-coder.yaml"
ROLES = ("draft", "target")


def secret(kubectl: Kubectl, namespace: str, name: str) -> dict[str, Any]:
    found: dict[str, Any] = kubectl.read(f"secret/{name}", "-n", namespace)
    return found


def there(kubectl: Kubectl, namespace: str) -> tuple[dict[str, Any], SpeculativeModel]:
    """The model, and what it says."""
    model = kubectl.read("smodel/qwen-coder", "-n", namespace)
    typed, problems = read(model)
    assert typed is not None, problems
    return model, typed


def names(kubectl: Kubectl, namespace: str) -> set[str]:
    ours = "app.kubernetes.io/managed-by=outrider-operator"
    return {item["metadata"]["name"] for item in kubectl.read("secrets", "-n", namespace, "-l", ours)["items"]}


def test_a_model_has_its_certificates_and_takes_them_with_it(
    kubectl: Kubectl, operator: Operator, namespace: str
) -> None:
    kubectl("apply", "--validate=false", "-n", namespace, "-f", str(SAMPLE))
    all_three = {"outrider-ca", "qwen-coder-draft-tls", "qwen-coder-target-tls"}
    kubectl.until(lambda: names(kubectl, namespace) == all_three, "all Secrets")
    authority = files(secret(kubectl, namespace, "outrider-ca"))
    for role in ROLES:
        found = files(secret(kubectl, namespace, f"qwen-coder-{role}-tls"))
        name = f"qwen-coder-{role}.{namespace}.svc"
        assert fits(Pair(found["tls.key"], found["tls.crt"]), authority["tls.crt"], [name, f"*.{name}"])
    events = kubectl("get", "events", "-n", namespace, "-o", "json")
    assert "PRIVATE" not in operator.log.read_text(encoding="utf-8") + events
    kubectl("delete", "smodel", "qwen-coder", "-n", namespace)
    kubectl.until(lambda: names(kubectl, namespace) == {"outrider-ca"}, "the authority alone is left")


async def test_certificates_and_authority_follow_one_another_and_a_second_look_writes_nothing(
    kubectl: Kubectl, operators_kubeconfig: Path, namespace: str
) -> None:
    kubectl("apply", "--validate=false", "-n", namespace, "-f", str(SAMPLE))
    model, typed = there(kubectl, namespace)
    of_operator = Configuration()
    await load_kube_config(str(operators_kubeconfig), client_configuration=of_operator)
    calls: Counter[str] = Counter()

    def content(name: str) -> dict[str, bytes]:
        return files(secret(kubectl, namespace, name))

    async with client(of_operator) as api:
        kube = Kube(api, lambda verb, _status, _s: calls.update([verb]))

        async def look(now: datetime) -> dict[str, int]:
            """What a new process writes that looks at this time, and nothing more at a second look."""
            calls.clear()
            assert await Certificates(kube, lambda: now).bring(model, typed) == []
            wrote = {verb: count for verb, count in calls.items() if verb != "get"}
            calls.clear()
            assert await Certificates(kube, lambda: now).bring(model, typed) == []
            assert dict(calls) == {"get": 3}
            return wrote

        start = datetime.now(UTC)
        assert await look(start) == {"create": 1, "apply": 2}
        first, leaf = content("outrider-ca"), content("qwen-coder-draft-tls")
        assert await look(start + timedelta(days=59)) == {}
        assert await look(start + timedelta(days=61)) == {"apply": 2}
        assert content("qwen-coder-draft-tls")["tls.crt"] != leaf["tls.crt"]

        due = renewal(first["tls.crt"])
        assert await look(due) == {"apply": 3}
        during = content("outrider-ca")
        assert during["tls.crt"] == first["tls.crt"]
        assert content("qwen-coder-target-tls")["ca.crt"] == during["next.crt"] + first["tls.crt"]

        assert await look(due + timedelta(days=1)) == {"apply": 3}
        after = content("outrider-ca")
        assert after == {"tls.crt": during["next.crt"], "tls.key": during["next.key"], "ca.crt": during["ca.crt"]}

        off = {"spec": {"speculation": {"mode": "Off"}}}
        kubectl("patch", "smodel", "qwen-coder", "-n", namespace, "--type=merge", "-p", json.dumps(off))
        model, typed = there(kubectl, namespace)
        await Certificates(kube, lambda: start).bring(model, typed)
    assert names(kubectl, namespace) == {"outrider-ca"}
