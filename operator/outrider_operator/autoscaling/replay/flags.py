"""Flags of `outrider replay`: what is simulated, and what policies are told."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from outrider_operator.autoscaling.replay.fleet import Acceptance, DraftSpec, Slo, TargetSpec

POLICY, FLEET, GOALS = "Policies", "The simulated fleet", "Goals"
TARGET, DRAFT, ACCEPTANCE, SLO = TargetSpec(), DraftSpec(), Acceptance(), Slo()
TINY = 1e-6


class PolicyName(StrEnum):
    """fixed: in hindsight the best fixed number of targets."""

    OUTRIDER = "outrider"
    HPA = "hpa"
    KPA = "kpa"
    FIXED = "fixed"


TraceFlag = Annotated[
    Path, typer.Option("--trace", metavar="FILE", help="CSV with the columns TIMESTAMP,ContextTokens,GeneratedTokens.")
]
PolicyFlag = Annotated[
    list[PolicyName] | None,
    typer.Option(
        "--policy", help="Which to replay; give it several times to compare. Default: outrider.", show_default=False
    ),
]
SpeedFlag = Annotated[float, typer.Option("--speed", min=0.01, metavar="TIMES", help="So many times as dense.")]
DurationFlag = Annotated[
    str | None,
    typer.Option("--duration", metavar="SPAN", help="Only so much of the replay: 90s, 20m, 1h.", show_default=False),
]
SeedFlag = Annotated[int, typer.Option("--seed", help="Of the errors in what is measured.")]
JsonFlag = Annotated[bool, typer.Option("--json", help="Print one JSON object instead of a table.")]
PlotFlag = Annotated[
    Path | None,
    typer.Option(
        "--plot", metavar="FILE.png", help="Draw load, replicas, latencies and decisions.", show_default=False
    ),
]
DecisionsFlag = Annotated[
    bool, typer.Option("--decisions", help="Print a line for everything that was changed, and why.")
]

MinReplicasFlag = Annotated[
    int, typer.Option("--min-replicas", min=1, help="Targets at least.", rich_help_panel=POLICY)
]
MaxReplicasFlag = Annotated[
    int, typer.Option("--max-replicas", min=1, help="Targets and drafts at most.", rich_help_panel=POLICY)
]
GainFlag = Annotated[
    float,
    typer.Option("--min-goodput-gain", min=1.0, help="outrider: below it speculation is off.", rich_help_panel=POLICY),
]
GoalFlag = Annotated[
    float,
    typer.Option(
        "--concurrency-goal",
        min=0.01,
        max=1.0,
        help="hpa, kpa: share of a target's sequences that is to be in use.",
        rich_help_panel=POLICY,
    ),
]
ReplicasFlag = Annotated[
    int | None,
    typer.Option(
        "--replicas",
        min=1,
        help="fixed: so many targets. Default: in hindsight the fewest that are as good as outrider, else the best.",
        rich_help_panel=POLICY,
        show_default=False,
    ),
]
StartFlag = Annotated[
    int | None,
    typer.Option(
        "--start-replicas",
        min=1,
        help="Targets, and drafts, that are ready at the beginning. Default: what the first five minutes need.",
        rich_help_panel=POLICY,
        show_default=False,
    ),
]
UtilizationFlag = Annotated[
    float,
    typer.Option(
        "--utilization", min=0.01, max=1.0, help="Of the targets at the beginning, for that.", rich_help_panel=POLICY
    ),
]

TtftFlag = Annotated[
    float, typer.Option("--ttft-p95", min=TINY, metavar="SECONDS", help="To the first token.", rich_help_panel=GOALS)
]
ItlFlag = Annotated[
    float,
    typer.Option(
        "--itl-p95", min=TINY, metavar="SECONDS", help="Between a request's tokens, on average.", rich_help_panel=GOALS
    ),
]


def _figure(name: str, metavar: str, text: str, least: float) -> Any:
    return typer.Option(name, min=least, metavar=metavar, help=text, rich_help_panel=FLEET)


StepFlag = Annotated[float, _figure("--step", "SECONDS", "Of a target: its step but for the tokens.", TINY)]
StepTokenFlag = Annotated[float, _figure("--step-token", "SECONDS", "What a token in a step adds.", 0.0)]
PrefillFlag = Annotated[float, _figure("--prefill", "TOKENS", "Of prompts, that a target reads in a second.", 1.0)]
ChunkFlag = Annotated[int, _figure("--chunk", "TOKENS", "Of a prompt, that are read in one step.", 1)]
SequencesFlag = Annotated[int, _figure("--max-sequences", "N", "That a target runs at once.", 1)]
KvTokensFlag = Annotated[int, _figure("--kv-tokens", "TOKENS", "That a target's pool holds.", 1)]
TargetStartFlag = Annotated[float, _figure("--target-start", "SECONDS", "Until a new target is ready.", 0.0)]
TargetGpusFlag = Annotated[int, _figure("--target-gpus", "N", "Of a target.", 1)]
LevelFlag = Annotated[float, _figure("--draft-level", "SECONDS", "Of a draft: a level of its trees.", TINY)]
LevelSequenceFlag = Annotated[float, _figure("--draft-sequence", "SECONDS", "What a sequence adds to a level.", 0.0)]
DraftPrefillFlag = Annotated[
    float, _figure("--draft-prefill", "TOKENS", "Of prompts, that a draft reads in a second.", 1.0)
]
DraftStartFlag = Annotated[float, _figure("--draft-start", "SECONDS", "Until a new draft is ready.", 0.0)]
DraftGpusFlag = Annotated[int, _figure("--draft-gpus", "N", "Of a draft.", 1)]
DepthFlag = Annotated[int, _figure("--max-depth", "TOKENS", "That a draft runs ahead at most.", 1)]
AcceptanceFlag = Annotated[
    float,
    typer.Option("--acceptance", min=0.0, max=1.0, help="Of a drafted token.", rich_help_panel=FLEET),
]
DriftFlag = Annotated[
    str | None,
    typer.Option(
        "--drift",
        metavar="FROM:TO",
        help="Acceptance that changes in the middle of the trace, like 0.8:0.3.",
        rich_help_panel=FLEET,
        show_default=False,
    ),
]
GpusFlag = Annotated[
    int | None,
    typer.Option(
        "--gpus",
        min=1,
        help="Of the cluster; pods beyond stay pending. Default: enough.",
        rich_help_panel=FLEET,
        show_default=False,
    ),
]


def parse_drift(text: str) -> Acceptance:
    """FROM:TO. Raises ValueError."""
    before, _, after = text.partition(":")
    found = Acceptance(float(before), float(after))
    if not (0 <= found.before <= 1 and found.after is not None and 0 <= found.after <= 1):
        raise ValueError(text)
    return found
