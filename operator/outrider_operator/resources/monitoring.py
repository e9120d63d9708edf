"""What a Prometheus of the cluster is told to read of a model's pods, and what it is to warn of.

Prometheus gives what it reads from a PodMonitor the label job, NAMESPACE/NAME: by it the rules find the pods of one
model.
"""

from outrider_operator.api.v1alpha1 import SpeculativeModel
from outrider_operator.resources.names import draft_name, labels, namespace, selector, target_name
from outrider_operator.resources.network import target_scheme
from outrider_operator.resources.placement import draft_in_use
from outrider_operator.resources.pod import Object

API_VERSION = "monitoring.coreos.com/v1"

# A rollout has no pod to spare: for as long as the new one loads its model there is none.
TARGET_DOWN_FOR = "15m"
# The target serves meanwhile, only slower.
DRAFT_DOWN_FOR = "15m"
# A queue that is full for a moment is what a queue is for.
REJECTED_SHARE = 0.05
REJECTED_FOR = "10m"


def monitoring(model: SpeculativeModel) -> list[Object]:
    """The PodMonitors of both roles and the PrometheusRule of the model."""
    https = target_scheme(model) == "https"
    # The certificate is for the name that clients know; Prometheus asks by the pod's address.
    by_address: Object = {"scheme": "https", "tlsConfig": {"insecureSkipVerify": True}} if https else {}
    target = _pod_monitor(model, "target", target_name(model), by_address)
    rules = _prometheus_rule(model)
    if draft_in_use(model) is None:
        return [target, rules]
    return [_pod_monitor(model, "draft", draft_name(model), {}), target, rules]


def _pod_monitor(model: SpeculativeModel, role: str, name: str, how: Object) -> Object:
    return {
        "apiVersion": API_VERSION,
        "kind": "PodMonitor",
        "metadata": {"name": name, "namespace": namespace(model), "labels": labels(model, role)},
        "spec": {
            "selector": {"matchLabels": selector(model, role)},
            "podMetricsEndpoints": [{"port": "http", "path": "/metrics", **how}],
        },
    }


def _prometheus_rule(model: SpeculativeModel) -> Object:
    draft = draft_in_use(model)
    alerts = [_target_down(model), _rejecting(model)]
    if draft is not None and draft.replicas > 0:
        alerts.append(_draft_down(model))
    return {
        "apiVersion": API_VERSION,
        "kind": "PrometheusRule",
        "metadata": {
            "name": target_name(model),
            "namespace": namespace(model),
            "labels": labels(model, "target"),
        },
        "spec": {"groups": [{"name": f"outrider.{namespace(model)}.{model.metadata.name}", "rules": alerts}]},
    }


def _target_down(model: SpeculativeModel) -> Object:
    pods = f'namespace="{namespace(model)}",deployment="{target_name(model)}"'
    return _alert(
        model,
        "OutriderTargetDown",
        # As kube-state-metrics has it: a pod that is loading can be read, and is not ready.
        f"kube_deployment_spec_replicas{{{pods}}} > 0 and kube_deployment_status_replicas_available{{{pods}}} == 0",
        TARGET_DOWN_FOR,
        "critical",
        "no replica of the target is ready, so the model does not answer",
        "each pod has its reason there: it is loading, has no node, cannot fetch the model, or crashes",
    )


def _draft_down(model: SpeculativeModel) -> Object:
    return _alert(
        model,
        "OutriderDraftDown",
        # While the targets are told not to speculate, there may be no draft: it is scaled to zero.
        f"max(outrider_draft_connected{{{_job(model)}}}) == 0"
        f" and max(outrider_speculation_allowed{{{_job(model)}}}) == 1",
        DRAFT_DOWN_FOR,
        "warning",
        "the target serves without its draft: answers are the same, and slower",
        "DraftReady says whether a draft runs, DraftCompatible whether the target refuses it",
    )


def _rejecting(model: SpeculativeModel) -> Object:
    rejected = f'outrider_requests_total{{{_job(model)},outcome="rejected"}}'
    ended = f"outrider_requests_total{{{_job(model)}}}"
    return _alert(
        model,
        "OutriderRejecting",
        f"sum(rate({rejected}[5m])) / sum(rate({ended}[5m])) > {REJECTED_SHARE}",
        REJECTED_FOR,
        "warning",
        f"more than {REJECTED_SHARE:.0%} of the requests are rejected",
        "where requests wait, the queue is full: more replicas or a longer queue help; else the target's log says why,"
        " such as prompts longer than maxModelLen or wrong API keys",
    )


def _job(model: SpeculativeModel) -> str:
    return f'job="{namespace(model)}/{target_name(model)}"'


def _alert(model: SpeculativeModel, name: str, expr: str, lasting: str, severity: str, what: str, then: str) -> Object:
    """what: is wrong. then: what to look at in the status of the model."""
    return {
        "alert": name,
        "expr": expr,
        "for": lasting,
        "labels": {"severity": severity, "namespace": namespace(model), "model": model.metadata.name},
        "annotations": {
            "summary": f"{namespace(model)}/{model.metadata.name}: {what}",
            "runbook": f"`outrider status {model.metadata.name} --namespace {namespace(model)}`: {then}.",
        },
    }
