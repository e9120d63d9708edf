"""`outrider-target`: loads the target, connects to its draft if it has one, serves the OpenAI API."""

from __future__ import annotations

import socket
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer
import uvloop

from outrider_serving import flags, logs
from outrider_serving.api.keys import ApiKeys, BadKeys
from outrider_serving.cli import FlagError, run
from outrider_serving.engine.thread import EngineThread
from outrider_serving.role import Role, load_role
from outrider_serving.target.control import SpeculationControl
from outrider_serving.target.names import check_name
from outrider_serving.target.service import Access, Limits, TargetService, Wanted
from outrider_serving.target.speculation import SpeculationPolicy
from outrider_serving.tls import BadCertificate, ServingCertificate

PROGRAM = "outrider-target"
app = typer.Typer(add_completion=False)


class Mode(StrEnum):
    AUTO = "Auto"
    ALWAYS = "Always"
    OFF = "Off"


class Placement(StrEnum):
    SHARED = "Shared"
    OWN = "Own"


class Fallback(StrEnum):
    NGRAM = "NGram"
    NONE = "None"


@app.command(epilog="Example: outrider-target --model=hf://HuggingFaceTB/SmolLM2-135M-Instruct --max-model-len=2048")
def serve(
    model: flags.ModelFlag,
    model_mirror: flags.MirrorFlag = None,
    revision: flags.RevisionFlag = None,
    served_model_name: Annotated[
        str | None,
        typer.Option("--served-model-name", help="What requests call the model; its org/name if absent."),
    ] = None,
    dtype: flags.DtypeFlag = flags.Dtype.AUTO,
    quantization: flags.QuantizationFlag = None,
    max_model_len: flags.MaxModelLenFlag = 0,
    max_num_seqs: flags.MaxNumSeqsFlag = 8,
    max_batched_tokens: Annotated[
        int, typer.Option("--max-batched-tokens", min=16, help="Tokens of a step, prompts' and trees'.")
    ] = 512,
    max_queue: Annotated[
        int, typer.Option("--max-queue", min=0, help="Requests that may wait; one beyond is answered with 429.")
    ] = 256,
    kv_cache_memory: flags.KVCacheMemoryFlag = None,
    kv_cache_fraction: flags.KVCacheFractionFlag = None,
    host: flags.HostFlag = "0.0.0.0",
    port: Annotated[int, typer.Option("--port", min=0, max=65535, help="Port of the OpenAI API.")] = 8000,
    mode: Annotated[Mode, typer.Option("--mode", help="Auto speculates while it pays.")] = Mode.AUTO,
    draft: Annotated[
        list[str] | None,
        typer.Option(
            "--draft",
            help="HOST:PORT of a draft; may be repeated, and a name with several addresses is several. "
            "file:///PATH: those that the file lists, followed as it changes. Absent: none.",
        ),
    ] = None,
    placement: Annotated[
        Placement,
        typer.Option("--placement", help="Shared: draft and target take turns. Own: the draft runs ahead."),
    ] = Placement.SHARED,
    max_depth: Annotated[int, typer.Option("--max-depth", min=1, max=64, help="Levels of a tree.")] = 8,
    max_branches: Annotated[int, typer.Option("--max-branches", min=1, max=32, help="Children of a node.")] = 4,
    max_nodes: Annotated[int, typer.Option("--max-nodes", min=1, max=512, help="Nodes of a tree.")] = 32,
    min_probability: Annotated[
        float, typer.Option("--min-probability", min=0, max=1, help="A less probable path is pruned.")
    ] = 0.02,
    draft_patience_ms: Annotated[
        float | None,
        typer.Option("--draft-patience-ms", min=0, help="Longest wait for a tree in a step; absent: weighed."),
    ] = None,
    fallback: Annotated[
        Fallback,
        typer.Option("--fallback", help="NGram: prompt lookup joins the tree, and stands in for it."),
    ] = Fallback.NGRAM,
    tolerance: Annotated[
        float,
        typer.Option(
            "--tolerance",
            min=0,
            help="Nats below the best choice within which a drafted token is taken; above 0 it is no longer lossless.",
        ),
    ] = 0.0,
    tensor_parallel_size: Annotated[
        int,
        typer.Option(
            "--tensor-parallel-size", min=1, help="Ranks that share each layer, a GPU each; on a CPU its cores."
        ),
    ] = 1,
    control: Annotated[
        Path | None,
        typer.Option(
            "--control",
            help="Folder whose file `speculation`, while it says off, keeps from speculating; looked at every second.",
        ),
    ] = None,
    identity: flags.IdentityFlag = None,
    api_keys: Annotated[
        Path | None, typer.Option("--api-keys", help="Folder with an API key in each file. Absent: everybody may ask.")
    ] = None,
    tls: Annotated[
        Path | None, typer.Option("--tls", help="Folder with tls.crt and tls.key, to speak HTTPS. Absent: HTTP.")
    ] = None,
    linger_s: flags.LingerFlag = 0,
    version: flags.VersionFlag = False,  # noqa: ARG001 its callback shows it
) -> int:
    """Serves a model behind an OpenAI-compatible API, speculating with a draft, with n-grams, or not at all."""
    logs.configure("target")
    kv_cache = flags.kv_cache_size(kv_cache_memory, kv_cache_fraction, max_num_seqs)
    policy = SpeculationPolicy(
        mode=mode.value,
        run_ahead=placement is Placement.OWN,
        max_depth=max_depth,
        max_branches=max_branches,
        max_nodes=max_nodes,
        min_probability=min_probability,
        draft_patience_s=None if draft_patience_ms is None else draft_patience_ms / 1000,
        ngrams=fallback is Fallback.NGRAM,
        tolerance=tolerance,
    )
    _check_names(draft or [])
    access = _access(identity, api_keys, tls)
    listener = flags.bind("--port", host, port)
    thread = EngineThread()
    role = thread.call(
        lambda: load_role(
            model,
            model_mirror,
            revision,
            dtype,
            max_model_len,
            kv_cache,
            served_model_name,
            quantization,
            tensor_parallel_size,
        )
    )
    wanted = Wanted(
        limits=Limits(max_num_seqs, max_batched_tokens, max_queue),
        policy=policy,
        drafts=draft if draft and mode is not Mode.OFF else [],
        access=access,
        permission=SpeculationControl(control),
        linger_s=linger_s,
    )
    flags.listen("--port", listener)
    code = uvloop.run(_serve(thread, role, wanted, listener))
    if role.ranks is not None:
        role.ranks.end()
    return code


def _access(identity: Path | None, api_keys: Path | None, tls: Path | None) -> Access:
    """Raises FlagError for a folder that does not hold what it should."""
    try:
        keys = None if api_keys is None else ApiKeys(api_keys)
    except BadKeys as error:
        raise FlagError("--api-keys", str(error)) from None
    try:
        certificate = None if tls is None else ServingCertificate(tls)
    except BadCertificate as error:
        raise FlagError("--tls", str(error)) from None
    return Access(flags.identity(identity), keys, certificate)


def _check_names(drafts: list[str]) -> None:
    for name in drafts:
        try:
            check_name(name)
        except ValueError as error:
            raise FlagError("--draft", str(error)) from None


async def _serve(thread: EngineThread, role: Role, wanted: Wanted, listener: socket.socket) -> int:
    return await TargetService(thread, role, wanted).run(listener)


def main() -> None:
    run(app, PROGRAM)


if __name__ == "__main__":
    main()
