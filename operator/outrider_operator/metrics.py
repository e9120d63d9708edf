"""The operator's own metrics: kopf has none."""

from __future__ import annotations

from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

# A reconcile that writes takes as many round trips as there are children; one that waits for the server takes longer.
DURATIONS_S = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)


class OperatorMetrics:
    """What a person on call asks of the operator: does it lead, does it keep up, does the server let it."""

    def __init__(self, registry: CollectorRegistry, queued: Callable[[], int]) -> None:
        """queued: how many models wait to be looked at, later ones included."""
        self._reconciles = Counter(
            "outrider_operator_reconciles", "Reconciles, by how they ended.", ["result"], registry=registry
        )
        self._duration = Histogram(
            "outrider_operator_reconcile_duration_seconds",
            "Time of a reconcile.",
            buckets=DURATIONS_S,
            registry=registry,
        )
        self._calls = Counter(
            "outrider_operator_api_calls", "Calls to the API server.", ["verb", "status"], registry=registry
        )
        self._call_s = Counter(
            "outrider_operator_api_call_seconds", "Time of calls to the API server.", ["verb"], registry=registry
        )
        self._leader = Gauge("outrider_operator_leader", "1 while this replica works.", registry=registry)
        self._models = Gauge("outrider_operator_models", "Models known.", registry=registry)
        Gauge("outrider_operator_queue", "Models that wait to be looked at.", registry=registry).set_function(queued)

    def called(self, verb: str, status: int, seconds: float) -> None:
        """A call to the API server was answered with this status; 0: not at all."""
        self._calls.labels(verb, str(status)).inc()
        self._call_s.labels(verb).inc(seconds)

    def reconciled(self, result: str, seconds: float) -> None:
        """result: ok, waiting, failed."""
        self._reconciles.labels(result).inc()
        self._duration.observe(seconds)

    def leading(self, leads: bool) -> None:
        self._leader.set(leads)

    def knows(self, models: int) -> None:
        self._models.set(models)
