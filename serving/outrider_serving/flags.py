"""Flags that both roles have, and what happens to a process before its model is loaded."""

from __future__ import annotations

import os
import socket
from dataclasses import dataclass
from enum import StrEnum
from importlib.metadata import version
from pathlib import Path
from typing import Annotated

import torch
import typer

from outrider_serving.cli import FlagError
from outrider_serving.engine.memory import free_bytes, parse_size
from outrider_serving.engine.quantization import Quantization
from outrider_serving.protocol.identity import BadIdentity, Identity

# The rest of a CPU's memory is others' too; a GPU is this process's alone, but for what a forward needs.
FRACTION_OF_CPU = 0.5
FRACTION_OF_GPU = 0.9


class Dtype(StrEnum):
    AUTO = "auto"
    BFLOAT16 = "bfloat16"
    FLOAT32 = "float32"


def _show_version(value: bool) -> None:
    if value:
        print(f"outrider-serving {version('outrider-serving')}")
        raise typer.Exit


ModelFlag = Annotated[
    str, typer.Option("--model", help="hf://org/name or file:///path. A mirror is looked up before the hub.")
]
MirrorFlag = Annotated[
    str | None,
    typer.Option("--model-mirror", envvar="OUTRIDER_MODEL_MIRROR", help="Folder or URL laid out as org/name."),
]
RevisionFlag = Annotated[str | None, typer.Option("--revision", help="Branch, tag or commit on the hub.")]
DtypeFlag = Annotated[
    Dtype, typer.Option("--dtype", help="auto: the checkpoint's own where this machine computes in it fast.")
]
QuantizationFlag = Annotated[
    Quantization | None,
    typer.Option("--quantization", help="8-bit weights, faster; fp8 on a GPU only. Of a target they change the text."),
]
MaxModelLenFlag = Annotated[
    int,
    typer.Option("--max-model-len", min=0, help="Tokens of prompt and answer together; 0: the model's own."),
]
MaxNumSeqsFlag = Annotated[int, typer.Option("--max-num-seqs", min=1, help="Sequences that run at once; more wait.")]
KVCacheMemoryFlag = Annotated[
    str | None, typer.Option("--kv-cache-memory", help="Memory of the KV cache, like 4Gi; absent: a fraction.")
]
KVCacheFractionFlag = Annotated[
    float | None,
    typer.Option(
        "--kv-cache-fraction",
        help="Share of the memory free after loading that the KV cache may take; absent: 0.5 on a CPU, 0.9 on a GPU.",
    ),
]
IdentityFlag = Annotated[
    Path | None,
    typer.Option(
        "--identity",
        help="Folder with tls.crt, tls.key and ca.crt: draft and target speak over mutual TLS. Absent: in the clear.",
    ),
]
HostFlag = Annotated[str, typer.Option("--host", help="Address to listen on.")]
LingerFlag = Annotated[
    float,
    typer.Option(
        "--linger-s",
        min=0,
        help="Seconds to go on taking what comes once told to end, while /ready says 503: Services hear of it late.",
    ),
]
VersionFlag = Annotated[
    bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version and leave.")
]


def bind(flag: str, host: str, port: int) -> socket.socket:
    """A bound socket. Taken before the model is loaded, so that a port in use is known at once; what connects is
    refused until it listens.

    Raises FlagError naming `flag`."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    bound = socket.socket(family, socket.SOCK_STREAM)
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        bound.bind((host, port))
    except OSError as error:
        bound.close()
        raise _not_listening(flag, host, port, error.strerror) from None
    return bound


def listen(flag: str, bound: socket.socket) -> None:
    """Two may bind one port as long as neither listens: this tells the one whose model took longer. uvloop does not: it
    takes a socket that cannot listen, and serves nobody.

    Raises FlagError naming `flag`."""
    try:
        bound.listen()
    except OSError as error:
        host, port = bound.getsockname()[:2]
        raise _not_listening(flag, host, port, error.strerror) from None


def port_taken(flag: str, host: str, port: int) -> FlagError:
    """What to say where a library was refused the port, which was free before the model was loaded."""
    return _not_listening(flag, host, port, "taken while the model was loaded")


def _not_listening(flag: str, host: str, port: int, cause: str | None) -> FlagError:
    return FlagError(flag, f"cannot listen on {host}:{port} ({cause}); stop what listens there or give another port")


def identity(folder: Path | None) -> Identity | None:
    """Raises FlagError for a folder that does not hold what it should."""
    if folder is None:
        return None
    found = Identity(folder)
    try:
        found.check()
    except BadIdentity as error:
        raise FlagError("--identity", str(error)) from None
    return found


def use_own_cores(ranks: int = 1) -> int:
    """One compute thread a core that this process may run on, or as many as OMP_NUM_THREADS says, shared by so many
    ranks. Returns how many this one has.
    """
    asked = os.environ.get("OMP_NUM_THREADS", "").partition(",")[0]  # a number for each level of nesting
    threads = (int(asked) if asked.isdigit() else 0) or len(os.sched_getaffinity(0))
    threads = max(1, threads // ranks)
    torch.set_num_threads(threads)
    return threads


@dataclass(frozen=True)
class KVCacheSize:
    """What the KV cache may take: bytes, or else a share of what is free after loading; for so many sequences."""

    memory_bytes: int | None
    fraction: float | None
    max_num_seqs: int

    def allowed_bytes(self, device: torch.device, ranks: int = 1) -> int:
        """For one of so many ranks. They have a GPU each, but share a CPU's memory."""
        if self.memory_bytes is not None:
            return self.memory_bytes // ranks
        if device.type == "cuda":
            return int((self.fraction or FRACTION_OF_GPU) * free_bytes(device))
        return int((self.fraction or FRACTION_OF_CPU) * free_bytes(device)) // ranks


def kv_cache_size(memory: str | None, fraction: float | None, max_num_seqs: int) -> KVCacheSize:
    """Raises FlagError for an amount that is none and a share that is not within 0 and 1."""
    if fraction is not None and not 0 < fraction <= 1:
        raise FlagError("--kv-cache-fraction", f"{fraction} is not a share; give a value above 0 and at most 1")
    if memory is not None and fraction is not None:
        raise FlagError("--kv-cache-fraction", "--kv-cache-memory is given too; give one of them")
    try:
        return KVCacheSize(None if memory is None else parse_size(memory), fraction, max_num_seqs)
    except ValueError as error:
        raise FlagError("--kv-cache-memory", str(error)) from None


def model_name(uri: str) -> str:
    """What a model is called when nobody said: org/name of the hub, or the last part of a path."""
    scheme, _, rest = uri.partition("://")
    return rest if scheme == "hf" else rest.rstrip("/").rpartition("/")[2]


def context_length(asked: int, own: int) -> int:
    """Tokens a sequence may have. Raises FlagError when more is asked than the model was made for."""
    if asked > own:
        raise FlagError("--max-model-len", f"{asked} is more than the model's own {own}; give at most that, or 0")
    return asked or own
