"""`outrider up FILE`: the command line, and everything that must be right before anything is started."""

import asyncio
import os
import tempfile
from pathlib import Path
from typing import Annotated

import typer

from outrider_operator.api.v1alpha1 import SpeculativeModel
from outrider_operator.local.cores import machine_cores
from outrider_operator.local.errors import LocalError
from outrider_operator.local.mirror import model_mirror
from outrider_operator.local.plan import Machine, Plan, plan_run
from outrider_operator.local.ports import port_problem
from outrider_operator.local.screen import make_screen
from outrider_operator.local.session import Session
from outrider_operator.terminal import fail, read_models

COULD_NOT_START = 1


def up(
    file: Annotated[
        Path, typer.Argument(metavar="FILE", help="YAML with one SpeculativeModel; - reads standard input.")
    ],
    mirror: Annotated[
        str | None,
        typer.Option(
            "--model-mirror",
            metavar="DIR_OR_URL",
            help="Folder or URL laid out as org/name, looked up before the hub. "
            "Default: OUTRIDER_MODEL_MIRROR, else what `outrider-models prepare` has filled.",
        ),
    ] = None,
    log_dir: Annotated[
        Path | None,
        typer.Option("--log-dir", metavar="DIR", help="Where each role's log goes. Default: a new temporary folder."),
    ] = None,
    as_json: Annotated[
        bool,
        typer.Option("--json", help="Print one JSON object a tick; lines for people go to standard error."),
    ] = False,
) -> None:
    """Run a model on this machine: the processes that a cluster would run, with the same flags.

    Of each role as many run as spec says; where that is more than one target, all are behind the endpoint's port. With
    spec.autoscaling the number changes as in a cluster: what is decided is a line, with its reason, and stands under
    `decisions` of --json.

    \b
    Exit codes
      0    ended by Ctrl-C, SIGTERM or a closed terminal: every process in order
      130  ended by a second Ctrl-C: every process killed (128 + the signal)
      1    the resource or this machine does not allow it, or the target cannot start
      2    FILE or a flag cannot be used
    """
    try:
        with tempfile.TemporaryDirectory(prefix="outrider-", ignore_cleanup_errors=True) as folder:
            code = _run(_one_model(file), mirror, log_dir, as_json, Path(folder))
    except LocalError as problem:
        fail(str(problem), COULD_NOT_START)
    raise typer.Exit(code)


def _run(model: SpeculativeModel, mirror: str | None, log_dir: Path | None, as_json: bool, folder: Path) -> int:
    """Raises LocalError before anything has been started."""
    machine = Machine(
        mirror=model_mirror(mirror, os.environ), cores=machine_cores(), folder=folder, user_env=os.environ
    )
    plan = plan_run(model, machine)
    problem = port_problem(plan.port)
    if problem is not None:
        raise LocalError(f"spec.endpoint.port: {problem}; end what uses it, or choose another port")
    return asyncio.run(_serve(plan, log_dir, as_json))


async def _serve(plan: Plan, log_dir: Path | None, as_json: bool) -> int:
    screen = make_screen(plan.url, as_json)
    log_folder = _log_folder(log_dir)
    session = Session(plan, screen, log_folder, os.environ)
    for note in plan.notes:
        screen.say(note)
    screen.say(f"logs: {log_folder}")
    return await session.run()


def _one_model(file: Path) -> SpeculativeModel:
    models = read_models(file)
    if len(models) != 1:
        raise LocalError(f"{file}: holds {len(models)} models; name a file with one: each needs its own port")
    return models[0]


def _log_folder(log_dir: Path | None) -> Path:
    if log_dir is None:
        return Path(tempfile.mkdtemp(prefix="outrider-logs-"))
    try:
        log_dir.mkdir(parents=True, exist_ok=True)
    except OSError as problem:
        raise LocalError(f"--log-dir: {log_dir}: {problem.strerror}; name a folder that can be written") from None
    if not os.access(log_dir, os.W_OK | os.X_OK):
        raise LocalError(f"--log-dir: {log_dir}: cannot be written; name another folder")
    return log_dir.absolute()
