"""`outrider`, and `kubectl outrider`: what a person does with a SpeculativeModel."""

import contextlib
import errno
import io
import json
import os
import re
import shlex
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Annotated

import typer
from rich.text import Text
from typer.exceptions import TyperException

from outrider_operator.api.dump import to_yaml
from outrider_operator.api.problem import Problem, UnreadableError
from outrider_operator.api.rules import NAMESPACE_MESSAGE, is_namespace
from outrider_operator.api.v1alpha1 import SpeculativeModel
from outrider_operator.autoscaling.replay.command import replay
from outrider_operator.cluster.logs import logs
from outrider_operator.cluster.status import status
from outrider_operator.cluster.top import top
from outrider_operator.local.up import up
from outrider_operator.resources.build import build
from outrider_operator.resources.platform import Platform, default_image
from outrider_operator.resources.pod import Object
from outrider_operator.terminal import (
    INVALID,
    UNUSABLE,
    console,
    examples,
    fail,
    program,
    read_checked,
    read_models,
    show_error,
    show_problems,
)

FILE_HELP = "YAML with one SpeculativeModel or more; - reads standard input."
# A full disk, a quota, a device that fails: not a fault of the program.
UNWRITABLE = (errno.ENOSPC, errno.EDQUOT, errno.EIO)
# Where a shell says what it wants completed; the same for both names.
COMPLETE = "_OUTRIDER_COMPLETE"

app = typer.Typer(
    name="outrider",
    help="Speculative decoding as a Kubernetes service: a draft model rides ahead of the one that is served.",
    # kubectl has its own way to complete a plugin: see complete_for_kubectl.
    add_completion=program() == "outrider",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command(
    epilog=examples(
        "up manifests/samples/qwen-coder.yaml",
        "up model.yaml --json --log-dir logs",
    )
)(up)
app.command(
    epilog=examples(
        "status",
        "status qwen-coder -n chat",
        "status qwen-coder --watch",
        "status -A --json",
    )
)(status)
app.command(
    epilog=examples(
        "top",
        "top qwen-coder -n chat --interval 5",
        "top -A --json",
    )
)(top)
app.command(
    epilog=examples(
        "logs qwen-coder --since 10m",
        "logs qwen-coder --role draft --previous",
        "logs qwen-coder -f --tail 20 -n chat",
        "logs qwen-coder --raw | jq .event",
    )
)(logs)
app.command(
    epilog=examples(
        "replay --trace trace.csv",
        "replay --trace trace.csv --policy outrider --policy hpa --policy fixed",
        "replay --trace trace.csv --speed 5 --drift 0.8:0.3 --decisions --plot replay.png",
        "replay --trace trace.csv --duration 20m --target-start 60 --json | jq .policies.outrider.slo",
    )
)(replay)


def main() -> None:
    """The command line. A wrong flag is one line on standard error and exit code 2."""
    _make_streams_usable()
    try:
        sys.exit(app(prog_name=program(), complete_var=COMPLETE, standalone_mode=False))
    except TyperException as error:
        message = error.format_message().rstrip(".")
        show_error(f"{message}{'' if message.endswith('?') else ';'} see `{program()} --help`")
        sys.exit(UNUSABLE)
    except typer.Abort:
        sys.exit(130)
    except OSError as error:
        if error.errno not in UNWRITABLE:
            raise
        show_error(f"cannot write: {error.strerror or error}; send the output elsewhere")
        # What is still to be written would fail again when Python ends, with words of its own.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(UNUSABLE)


def _make_streams_usable() -> None:
    """What nobody reads goes nowhere, and a sign that the output's encoding lacks is a question mark: neither ends a
    model that serves.
    """
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:  # Python's own word for one that is closed
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: PTH123, SIM115
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")  # standard error writes them as numbers by itself


def complete_for_kubectl() -> None:
    """`kubectl_complete-outrider WORD...`, which kubectl asks what the last word may become.

    A completion a line, each with what it is after a tab, and `:0`: where there is none, a shell may name files.
    """
    *before, last = sys.argv[1:] or [""]
    words = " ".join([*map(shlex.quote, ["outrider", *before]), shlex.quote(last) if last else ""])
    os.environ |= {
        COMPLETE: "complete_fish",
        "_TYPER_COMPLETE_FISH_ACTION": "get-args",
        "_TYPER_COMPLETE_ARGS": words,
    }
    with contextlib.suppress(SystemExit):
        app(prog_name="outrider", complete_var=COMPLETE)
    typer.echo(":0")


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"outrider {version('outrider-operator')}")
        raise typer.Exit


@app.callback(invoke_without_command=True)
def options(
    context: typer.Context,
    _version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    """Options of every command; without a command, its help."""
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())


@app.command(
    epilog=examples("validate manifests/samples/*.yaml", "validate - < model.yaml", "validate --json model.yaml")
)
def validate(
    files: Annotated[list[Path], typer.Argument(metavar="FILE...", help=FILE_HELP)],
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object instead of lines.")] = False,
) -> None:
    """Say what is wrong with resource files, with line, field and remedy.

    Exit code 1: a resource breaks a rule. 2: a file cannot be read, or is not YAML.
    """
    models: list[tuple[Path, SpeculativeModel]] = []
    problems: list[Problem] = []
    unreadable: list[str] = []
    for file in files:
        try:
            checked = read_checked(file)
        except UnreadableError as error:
            unreadable.append(str(error))
        else:
            models += [(file, model) for model in checked.models]
            problems += checked.problems
    if as_json:
        typer.echo(json.dumps(_report(models, problems, unreadable), indent=2))
    else:
        for file, model in models:
            console().print(Text.assemble(f"{file}: SpeculativeModel {model.metadata.name}: ", ("ok", "green")))
        show_problems(problems)
        for message in unreadable:
            show_error(message)
    raise typer.Exit(UNUSABLE if unreadable else INVALID if problems else 0)


def _report(models: list[tuple[Path, SpeculativeModel]], problems: list[Problem], unreadable: list[str]) -> Object:
    return {
        "valid": not problems and not unreadable,
        "models": [
            {"source": str(file), "namespace": model.metadata.namespace, "name": model.metadata.name}
            for file, model in models
        ],
        "problems": [vars(problem) for problem in problems],
        "unreadable": unreadable,
    }


@app.command(
    epilog=examples(
        "render manifests/samples/qwen-coder.yaml",
        "render model.yaml --namespace chat | kubectl apply -f -",
    )
)
def render(
    file: Annotated[Path, typer.Argument(metavar="FILE", help=FILE_HELP)],
    namespace: Annotated[
        str | None,
        typer.Option("--namespace", "-n", help="Render into this namespace, whatever the file says."),
    ] = None,
    model_mirror: Annotated[
        str | None,
        typer.Option(help="Folder in the containers, or URL, laid out as org/name; looked up before the hub."),
    ] = None,
    image_target: Annotated[str | None, typer.Option(help="Image of the target.")] = None,
    image_draft: Annotated[str | None, typer.Option(help="Image of the draft.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print a JSON List instead of YAML.")] = False,
) -> None:
    """Print the Kubernetes objects of a model: what the operator applies, and what `outrider up` runs."""
    platform = Platform(
        target_image=_image("--image-target", image_target),
        draft_image=_image("--image-draft", image_draft),
        model_mirror=model_mirror,
    )
    models = [_moved(model, namespace) for model in read_models(file)]
    objects = [built for model in models for built in build(model, platform)]
    typer.echo(_as_json(objects) if as_json else to_yaml(objects), nl=False)


def _image(flag: str, image: str | None) -> str:
    if image is None:
        return default_image()
    if not re.fullmatch(r"[A-Za-z0-9][^\s]*", image):
        fail(f"{flag}: {image!r} is not the name of an image; write registry/image:tag")
    return image


def _moved(model: SpeculativeModel, namespace: str | None) -> SpeculativeModel:
    """The model in another namespace, where one is given."""
    if namespace is None:
        return model
    if not is_namespace(namespace):
        fail(f"--namespace: {namespace!r} is {NAMESPACE_MESSAGE}")
    metadata = model.metadata.model_copy(update={"namespace": namespace})
    return model.model_copy(update={"metadata": metadata})


def _as_json(objects: list[Object]) -> str:
    return json.dumps({"apiVersion": "v1", "kind": "List", "items": objects}, indent=2) + "\n"
