"""What `outrider top` shows: as a table and as JSON. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass

from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from outrider_operator.cluster.observed import Pod
from outrider_operator.measure.figures import DraftFigures, TargetFigures
from outrider_operator.resources.pod import Object

NOTHING = "–"
# Two lines each, so that the table fits into 80 columns.
FIGURES = ("run/\nwait", "tokens\n/s", "per\nstep", "accept\nrate", "TTFT\np95", "ITL\np95", "KV\nuse", "draft\nwait")
# Of a reason: one can be longer than a screen.
LONGEST_REASON = 200


@dataclass(frozen=True)
class PodRow:
    """figures: None where the pod does not answer; then reason says why."""

    pod: Pod
    figures: TargetFigures | DraftFigures | None
    reason: str


@dataclass(frozen=True)
class ModelRow:
    """state: what the model's own conditions say. figures: of all its targets; None where none answers."""

    namespace: str
    name: str
    state: str
    figures: TargetFigures | None
    pods: list[PodRow]


def page(rows: Sequence[ModelRow], with_namespace: bool) -> list[RenderableType]:
    """The table, and below it a line for each pod that does not answer."""
    return [_table(rows, with_namespace), *(Text(note, "yellow") for note in notes(rows))]


def _table(rows: Sequence[ModelRow], with_namespace: bool) -> Table:
    """A row a model, below it one for each pod."""
    made = Table(box=None, pad_edge=False, padding=(0, 1, 0, 0))
    made.add_column("model\n  pod", no_wrap=True)
    made.add_column("state", no_wrap=True)
    for heading in FIGURES:
        made.add_column(heading, justify="right", no_wrap=True)
    for row in rows:
        name = f"{row.namespace}/{row.name}" if with_namespace else row.name
        colour = "green" if row.state == "Ready" else "yellow"
        made.add_row(Text(name, "bold"), Text(row.state, colour), *cells(row.figures))
        for each in row.pods:
            silent = each.figures is None and each.pod.running
            state = Text(
                "no answer" if silent else each.pod.state, "green" if each.pod.ready and not silent else "yellow"
            )
            # The whole name, where it is needed, stands in the line below and in `outrider status`.
            made.add_row(f"  {each.pod.role} …{each.pod.name.rsplit('-', 1)[-1]}", state, *cells(each.figures))
    return made


def notes(rows: Sequence[ModelRow]) -> list[str]:
    """Why figures are missing, a line each."""
    missing = [each for row in rows for each in row.pods if each.figures is None]
    lines = [f"{each.pod.name}: {each.reason[:LONGEST_REASON]}" for each in missing]
    return lines + [f"{row.name}: no pods" for row in rows if not row.pods]


def cells(figures: TargetFigures | DraftFigures | None) -> list[str]:
    match figures:
        case TargetFigures():
            return [
                f"{figures.running}/{figures.waiting}",
                _number(figures.tokens_per_s, "{:.1f}"),
                _number(figures.tokens_per_step, "{:.2f}"),
                _percent(figures.acceptance_rate),
                _latency(figures.ttft_p95_s),
                _latency(figures.itl_p95_s),
                _percent(figures.kv_usage),
                _percent(figures.draft_wait_share),
            ]
        case DraftFigures():
            drafted = [str(figures.sequences), _number(figures.tokens_per_s, "{:.1f}"), "", _percent(figures.hit_rate)]
            return [*drafted, *[""] * (len(FIGURES) - len(drafted))]
        case None:
            return [""] * len(FIGURES)


def as_json(rows: Sequence[ModelRow], at: str) -> Object:
    """All of it for programs; null where nothing was there to measure."""
    return {"at": at, "models": [_model(row) for row in rows]}


def _model(row: ModelRow) -> Object:
    return {
        "namespace": row.namespace,
        "name": row.name,
        "state": row.state,
        "figures": asdict(row.figures) if row.figures else None,
        "pods": [
            {
                "name": each.pod.name,
                "role": each.pod.role,
                "state": each.pod.state,
                "answers": each.figures is not None,
                "reason": each.reason,
                "figures": asdict(each.figures) if each.figures else None,
            }
            for each in row.pods
        ],
    }


def _number(value: float | None, form: str) -> str:
    return NOTHING if value is None else form.format(value)


def _percent(share: float | None) -> str:
    return _number(None if share is None else share * 100, "{:.0f} %")


def _latency(value_s: float | None) -> str:
    if value_s is None:
        return NOTHING
    return f"{value_s * 1000:.0f} ms" if value_s < 10 else f"{value_s:.1f} s"
