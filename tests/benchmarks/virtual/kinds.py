"""Whose time is counted: of a machine of a known kind, or of this one."""

from __future__ import annotations

from enum import StrEnum
from typing import Any

from outrider_serving.engine.model_runner import ModelRunner
from outrider_serving.engine.warmup import measure_forwards
from support.machines import GPU, MATRIX_UNIT, NO_MATRIX_UNIT, VECTOR_UNIT
from support.virtual import Cost, Machine


class Kind(StrEnum):
    HERE = "here"
    MATRIX_UNIT = "matrix-unit"
    VECTOR_UNIT = "vector-unit"
    NO_MATRIX_UNIT = "no-matrix-unit"
    GPU = "gpu"


# Of pair q's sizes.
KNOWN = {
    Kind.MATRIX_UNIT: MATRIX_UNIT,
    Kind.VECTOR_UNIT: VECTOR_UNIT,
    Kind.NO_MATRIX_UNIT: NO_MATRIX_UNIT,
    Kind.GPU: GPU,
}


def machine(kind: Kind, target: ModelRunner, draft: ModelRunner | None) -> Machine:
    """`here` is measured as a server does before it is ready."""
    if kind in KNOWN:
        return KNOWN[kind]
    return Machine(_measured(target), None if draft is None else _measured(draft))


def _measured(runner: ModelRunner) -> Cost:
    times = measure_forwards(runner)
    return Cost(tuple(times.by_rows.items()), times.sequence_s)


def describe(machine: Machine) -> dict[str, Any]:
    """Milliseconds, for the JSON."""
    return {role: None if cost is None else _describe(cost) for role, cost in vars(machine).items()}


def _describe(cost: Cost) -> dict[str, Any]:
    by_rows = {str(rows): round(1000 * seconds, 3) for rows, seconds in cost.measured}
    return {"forward_ms": by_rows, "sequence_ms": round(1000 * cost.sequence_s, 4)}
