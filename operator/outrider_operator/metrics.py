"""The operator's own metrics: kopf has none."""

from __future__ import annotations

from collections.abc import Callable, Mapping

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


class ScalingMetrics:
    """What a person on call asks of the autoscaler: what it wants and why, and whether it can see."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._desired = Gauge(
            "outrider_desired_replicas",
            "Replicas that autoscaling wants, with the reason that says most.",
            ["namespace", "model", "role", "reason"],
            registry=registry,
        )
        self._shown: dict[tuple[str, str], dict[str, str]] = {}
        self._changes = Counter(
            "outrider_operator_scaling_changes",
            "What autoscaling changed: replicas of a role, or speculation.",
            ["role", "direction"],
            registry=registry,
        )
        self._failures = Counter(
            "outrider_operator_scaling_failures", "Decisions that the API server did not take.", registry=registry
        )
        self._reads = Counter(
            "outrider_operator_scrapes", "Pages read of pods, or of Prometheus.", ["result"], registry=registry
        )
        self._read_s = Histogram(
            "outrider_operator_scrape_duration_seconds", "Time of one page.", buckets=DURATIONS_S, registry=registry
        )
        self._tick_s = Histogram(
            "outrider_operator_scaling_duration_seconds",
            "Time in which all models were looked at once.",
            buckets=DURATIONS_S,
            registry=registry,
        )

    def decided(self, key: tuple[str, str], desired: Mapping[str, tuple[int, str]]) -> None:
        """key: namespace and name of the model. desired: by role, with the reason."""
        shown = {role: reason for role, (_, reason) in desired.items()}
        for role, reason in self._shown.get(key, {}).items():
            if shown.get(role) != reason:
                self._desired.remove(*key, role, reason)
        for role, (replicas, reason) in desired.items():
            self._desired.labels(*key, role, reason).set(replicas)
        self._shown[key] = shown

    def undecided(self, key: tuple[str, str]) -> None:
        """Nothing is wanted of it any more."""
        self.decided(key, {})
        del self._shown[key]

    def nothing_decided(self) -> None:
        """Another replica decides from now on."""
        self._desired.clear()
        self._shown.clear()

    def changed(self, role: str, up: bool) -> None:
        self._changes.labels(role, "up" if up else "down").inc()

    def not_carried_out(self) -> None:
        self._failures.inc()

    def read(self, well: bool, seconds: float) -> None:
        self._reads.labels("ok" if well else "failed").inc()
        self._read_s.observe(seconds)

    def ticked(self, seconds: float) -> None:
        self._tick_s.observe(seconds)
