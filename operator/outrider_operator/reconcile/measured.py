"""What was measured of a model, as its status has it. Pure: the autoscaler's loop measures, reconcile writes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from outrider_operator.reconcile.conditions import (
    DRAFT_COMPATIBLE,
    METRICS_AVAILABLE,
    SCALING_ACTIVE,
    SPECULATION_ACTIVE,
    Finding,
    finding_of,
)
from outrider_operator.resources.pod import Object

COLUMNS = ("acceptanceRate", "acceptedTokensPerStep", "goodputGain", "ttftP95", "itlP95")
CONDITIONS = (DRAFT_COMPATIBLE, SPECULATION_ACTIVE, METRICS_AVAILABLE, SCALING_ACTIVE)
OF_SCALING = ("speculating", "scalingDecisions")
FIELDS = (*COLUMNS, *OF_SCALING)


@dataclass(frozen=True)
class Measured:
    """fields: of the status, by name; those that are not there have nothing to say. findings: the conditions."""

    fields: Mapping[str, object] = field(default_factory=dict)
    findings: tuple[Finding, ...] = ()

    def of(self, drafts: bool, scaled: bool) -> Measured:
        """What of it still is about the spec: drafts, a draft is to run; scaled, there is spec.autoscaling."""
        gone = (() if drafts else (DRAFT_COMPATIBLE, SPECULATION_ACTIVE)) + (() if scaled else (SCALING_ACTIVE,))
        fields = {name: value for name, value in self.fields.items() if scaled or name not in OF_SCALING}
        return Measured(fields, tuple(each for each in self.findings if each.type not in gone))


def carried(status: Object) -> Measured:
    """What the status says already. It stands until somebody has looked, after the operator was started."""
    findings = tuple(finding_of(each) for each in status.get("conditions") or () if each["type"] in CONDITIONS)
    return Measured({name: status[name] for name in FIELDS if name in status}, findings)
