"""`outrider replay`: the autoscaler, or another policy, against a trace and simulated pods."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import typer
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from outrider_operator.autoscaling.policy import Bounds, Policy
from outrider_operator.autoscaling.replay import flags, view
from outrider_operator.autoscaling.replay.contest import Contest, Result
from outrider_operator.autoscaling.replay.flags import PolicyName
from outrider_operator.autoscaling.replay.fleet import Acceptance, DraftSpec, FleetSpec, Slo, TargetSpec
from outrider_operator.autoscaling.replay.plot import PlotError, plot
from outrider_operator.autoscaling.replay.start import start_replicas
from outrider_operator.autoscaling.replay.trace import Request, TraceError, read_trace, sped_up
from outrider_operator.cluster.log_line import parse_since_s
from outrider_operator.terminal import console, fail, show

CONCURRENCY_GOAL = 0.7
UTILIZATION = 0.7
MAX_REPLICAS = 32


def replay(
    trace: flags.TraceFlag,
    policy: flags.PolicyFlag = None,
    speed: flags.SpeedFlag = 1.0,
    duration: flags.DurationFlag = None,
    seed: flags.SeedFlag = 1,
    as_json: flags.JsonFlag = False,
    plot_file: flags.PlotFlag = None,
    show_decisions: flags.DecisionsFlag = False,
    ttft_p95: flags.TtftFlag = flags.SLO.ttft_s,
    itl_p95: flags.ItlFlag = flags.SLO.itl_s,
    min_replicas: flags.MinReplicasFlag = 1,
    max_replicas: flags.MaxReplicasFlag = MAX_REPLICAS,
    min_goodput_gain: flags.GainFlag = 1.05,
    concurrency_goal: flags.GoalFlag = CONCURRENCY_GOAL,
    replicas: flags.ReplicasFlag = None,
    start: flags.StartFlag = None,
    utilization: flags.UtilizationFlag = UTILIZATION,
    acceptance: flags.AcceptanceFlag = flags.ACCEPTANCE.before,
    drift: flags.DriftFlag = None,
    step: flags.StepFlag = flags.TARGET.step_base_s,
    step_token: flags.StepTokenFlag = flags.TARGET.step_token_s,
    prefill: flags.PrefillFlag = flags.TARGET.prefill_tokens_per_s,
    chunk: flags.ChunkFlag = flags.TARGET.chunk_tokens,
    max_sequences: flags.SequencesFlag = flags.TARGET.max_sequences,
    kv_tokens: flags.KvTokensFlag = flags.TARGET.kv_tokens,
    target_start: flags.TargetStartFlag = flags.TARGET.start_s,
    target_gpus: flags.TargetGpusFlag = flags.TARGET.gpus,
    draft_level: flags.LevelFlag = flags.DRAFT.level_s,
    draft_sequence: flags.LevelSequenceFlag = flags.DRAFT.sequence_s,
    draft_prefill: flags.DraftPrefillFlag = flags.DRAFT.prefill_tokens_per_s,
    draft_start: flags.DraftStartFlag = flags.DRAFT.start_s,
    draft_gpus: flags.DraftGpusFlag = flags.DRAFT.gpus,
    max_depth: flags.DepthFlag = 8,
    gpus: flags.GpusFlag = None,
) -> None:
    """Replay a trace of requests against simulated pods, and see what the autoscaler would do and earn.

    The default policy is the function that the operator itself calls every 15 seconds. hpa is Kubernetes' autoscaler on
    concurrency, kpa is Knative's, fixed never changes. All begin with as many ready pods, but fixed with its own.
    The defaults of the fleet are a 70B-class target on four GPUs and a 1B draft on one.

    A request is within the SLO when its first token comes within --ttft-p95 and its further tokens every --itl-p95 on
    average; one that has not ended two minutes after the last arrival is not. GPU-hours count from the start of a
    pod to its end, start-up and draining included.

    \b
    Exit codes
      0    replayed
      2    FILE or a flag cannot be used
      130  ended by Ctrl-C
    """
    if min_replicas > max_replicas:
        fail(f"--min-replicas: {min_replicas} is more than --max-replicas {max_replicas}; lower it or raise the other")
    fleet = FleetSpec(
        target=TargetSpec(step, step_token, prefill, chunk, max_sequences, kv_tokens, target_start, target_gpus),
        draft=DraftSpec(draft_level, draft_sequence, draft_prefill, draft_start, draft_gpus),
        acceptance=Acceptance(acceptance) if drift is None else _drift(drift),
        slo=Slo(ttft_p95, itl_p95),
        max_depth=max_depth,
        gpus=gpus,
    )
    requests = _requests(trace, speed, duration)
    asked = Policy(
        target=Bounds(min_replicas, max_replicas),
        draft=Bounds(0, max_replicas),
        ttft_p95_s=ttft_p95,
        itl_p95_s=itl_p95,
        min_goodput_gain=min_goodput_gain,
        max_depth=max_depth,
    )
    begin = start or max(min_replicas, start_replicas(requests, fleet, utilization, max_replicas))
    contest = Contest(requests, fleet, asked, begin, seed)
    names = list(dict.fromkeys(policy or [PolicyName.OUTRIDER]))
    results = _run(contest, names, concurrency_goal, replicas)
    if plot_file is not None:
        _plot(plot_file, f"{trace.name}, {speed:g}×: {view.heading(contest)}", contest, results)
    if as_json:
        typer.echo(json.dumps({"trace": str(trace), **view.as_json(contest, results, speed)}, ensure_ascii=False))
        return
    typer.echo(f"{trace}, {speed:g}×: {view.heading(contest)}")
    show(view.table(results))
    if show_decisions:
        for line in (line for result in results for line in view.decisions(result)):
            typer.echo(line)


def _drift(text: str) -> Acceptance:
    try:
        return flags.parse_drift(text)
    except ValueError:
        fail(f"--drift: {text!r} is none; write two shares of 0 to 1, like 0.8:0.3")


def _requests(file: Path, speed: float, duration: str | None) -> list[Request]:
    try:
        duration_s = None if duration is None else float(parse_since_s(duration))
    except ValueError:
        fail(f"--duration: {duration!r} is no time span; write 90s, 20m or 1h")
    try:
        return sped_up(read_trace(file), speed, duration_s)
    except TraceError as error:
        fail(str(error))


def _run(contest: Contest, names: Sequence[PolicyName], goal: float, replicas: int | None) -> list[Result]:
    """One policy after another, with a bar where somebody looks on."""
    errors = console(stderr=True)
    bar = Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        TimeElapsedColumn(),
        console=errors,
        transient=True,
        disable=not errors.is_terminal,
    )
    with bar:
        task = bar.add_task("", total=1.0)

        def told(what: str, share: float) -> None:
            bar.update(task, description=what, completed=share)

        return _results(replace(contest, told=told), names, goal, replicas)


def _results(contest: Contest, names: Sequence[PolicyName], goal: float, replicas: int | None) -> list[Result]:
    results: dict[PolicyName, Result] = {}
    for name in names:
        match name:
            case PolicyName.OUTRIDER:
                results[name] = contest.outrider()
            case PolicyName.HPA:
                results[name] = contest.hpa(goal)
            case PolicyName.KPA:
                results[name] = contest.kpa(goal)
            case PolicyName.FIXED if replicas is not None:
                results[name] = contest.fixed(replicas)
            case PolicyName.FIXED:
                ours = results.get(PolicyName.OUTRIDER) or contest.outrider()
                results[name] = contest.best_fixed(ours.figures.slo)
    return list(results.values())


def _plot(file: Path, title: str, contest: Contest, results: Sequence[Result]) -> None:
    try:
        plot(file, title, contest.fleet.slo, results)
    except PlotError as error:
        fail(f"--plot: {error}")
