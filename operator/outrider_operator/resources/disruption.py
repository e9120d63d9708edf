"""How much of a role a drain of nodes may take at a time."""

from outrider_operator.api.v1alpha1 import SpeculativeModel
from outrider_operator.resources.names import labels, namespace, selector
from outrider_operator.resources.pod import Object


def disruption_budget(model: SpeculativeModel, role: str, name: str) -> Object:
    """One pod at a time. Not none: a single replica would keep its node from ever being drained."""
    return {
        "apiVersion": "policy/v1",
        "kind": "PodDisruptionBudget",
        "metadata": {"name": name, "namespace": namespace(model), "labels": labels(model, role)},
        "spec": {"maxUnavailable": 1, "selector": {"matchLabels": selector(model, role)}},
    }
