"""`outrider up FILE`: the command line, and everything that must be right before anything is started."""

import asyncio
import os
import sys
import tempfile
from pathlib import Path
from typing import Annotated

import typer

from outrider_operator.api.problem import InvalidResourceError, UnreadableError
from outrider_operator.api.v1alpha1 import SpeculativeModel
from outrider_operator.api.validation import check, load
from outrider_operator.local.cores import machine_cores
from outrider_operator.local.errors import LocalError
from outrider_operator.local.mirror import model_mirror
from outrider_operator.local.plan import Machine, Plan, local_network, plan_run, roles_in_use
from outrider_operator.local.ports import free_port, port_problem
from outrider_operator.local.screen import make_screen
from outrider_operator.local.session import Session
from outrider_operator.resources.platform import Network


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
        typer.Option(
            "--log-dir", metavar="DIR", help="Where each role's log goes. Default: a new temporary folder."
        ),
    ] = None,
    as_json: Annotated[
        bool,
        typer.Option("--json", help="Print one JSON object a tick; lines for people go to standard error."),
    ] = False,
) -> None:
    """Run a model on this machine: the processes that a cluster would run, with the same flags.

    Ctrl-C, SIGTERM and a closed terminal end every process in order, with exit code 0; a second Ctrl-C kills
    them at once, with exit code 130 (128 and the signal's number). Exit code 1: it could not start.
    """
    try:
        with tempfile.TemporaryDirectory(prefix="outrider-", ignore_cleanup_errors=True) as folder:
            code = _run(file, mirror, log_dir, as_json, Path(folder))
    except (LocalError, UnreadableError) as problem:
        sys.stderr.write(f"outrider: error: {problem}\n")
        code = 1
    except InvalidResourceError as problems:
        sys.stderr.write(f"{problems}\n")
        code = 1
    raise typer.Exit(code)


def _run(file: Path, mirror: str | None, log_dir: Path | None, as_json: bool, folder: Path) -> int:
    """Raises LocalError, UnreadableError or InvalidResourceError before anything has been started."""
    model = _one_model(file)
    machine = Machine(
        network=_network(model),
        mirror=model_mirror(mirror, os.environ),
        cores=machine_cores(),
        folder=folder,
        user_env=os.environ,
    )
    plan = plan_run(model, machine)
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
    models = _load_stdin() if str(file) == "-" else load(file)
    if len(models) != 1:
        raise LocalError(
            f"{file}: holds {len(models)} models; name a file with one, each needs a port of its own"
        )
    return models[0]


def _load_stdin() -> list[SpeculativeModel]:
    """The models on standard input. Raises UnreadableError and InvalidResourceError."""
    checked = check(sys.stdin.read(), "<stdin>")
    if checked.problems:
        raise InvalidResourceError(checked.problems)
    return checked.models


def _network(model: SpeculativeModel) -> Network:
    """The resource's port for the target, as clients know it; for the draft its usual ones, else free ones."""
    port = model.spec.endpoint.port
    problem = port_problem(port)
    if problem is not None:
        raise LocalError(f"spec.endpoint.port: {problem}; end what uses it, or choose another port")
    if "draft" not in roles_in_use(model):
        return local_network(port, Network.draft_port, Network.draft_http_port)
    draft_port = free_port(Network.draft_port, {port})
    return local_network(port, draft_port, free_port(Network.draft_http_port, {port, draft_port}))


def _log_folder(log_dir: Path | None) -> Path:
    if log_dir is None:
        return Path(tempfile.mkdtemp(prefix="outrider-logs-"))
    try:
        log_dir.mkdir(parents=True, exist_ok=True)
    except OSError as problem:
        raise LocalError(
            f"--log-dir: {log_dir}: {problem.strerror}; name a folder that can be written"
        ) from None
    if not os.access(log_dir, os.W_OK | os.X_OK):
        raise LocalError(f"--log-dir: {log_dir}: cannot be written; name another folder")
    return log_dir.absolute()
