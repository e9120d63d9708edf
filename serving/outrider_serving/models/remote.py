"""Copies one model from a mirror at a URL, laid out as org/name, into the cache.

Files are asked for by the names that a model folder has, because a plain file server lists nothing. A
download that breaks off goes on with a Range request, and the folder appears by rename once all is whole.
"""

from __future__ import annotations

import http.client
import json
import time
from pathlib import Path
from urllib.error import HTTPError, URLError
from urllib.parse import quote
from urllib.request import Request, urlopen

CONFIG = "config.json"
INDEX = "model.safetensors.index.json"
SINGLE = "model.safetensors"
OPTIONAL = (
    "generation_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "chat_template.jinja",
)
TIMEOUT_S = 30.0
ATTEMPTS = 5  # in a row without a byte; one that brought bytes does not count
PAUSE_S = 0.5
CHUNK_BYTES = 1 << 20


class NotInMirror(LookupError):
    """The mirror answered, and has no such model."""


class MirrorUnreachable(OSError):
    """The mirror did not answer, or broke off again and again."""


def copy_model(base_url: str, target: Path) -> None:
    """Fills `target` with the model folder at `base_url`; what an earlier run fetched is kept.

    Raises NotInMirror when there is no config or no safetensors, MirrorUnreachable when it cannot be read.
    """
    partial = target.with_name(f".{target.name}.partial")
    partial.mkdir(parents=True, exist_ok=True)
    if not _copy_file(base_url, CONFIG, partial):
        raise NotInMirror(f"no {base_url}/{CONFIG}")
    for name in _weight_files(base_url, partial):
        if not _copy_file(base_url, name, partial):
            raise NotInMirror(f"no {base_url}/{name}")
    for name in OPTIONAL:
        _copy_file(base_url, name, partial)
    partial.rename(target)


def _weight_files(base_url: str, folder: Path) -> list[str]:
    if not _copy_file(base_url, INDEX, folder):
        return [SINGLE]
    try:
        names = sorted(set(json.loads((folder / INDEX).read_text(encoding="utf-8"))["weight_map"].values()))
    except (ValueError, KeyError, AttributeError):
        raise NotInMirror(f"no readable {base_url}/{INDEX}") from None
    for name in names:
        if Path(name).name != name:  # a shard is a file of this folder, never a way out of it
            raise NotInMirror(f"no plain file names in {base_url}/{INDEX}")
    return names


def _copy_file(base_url: str, name: str, folder: Path) -> bool:
    """Fetches one file unless it is there; False when the mirror does not have it."""
    if (folder / name).exists():
        return True
    url = f"{base_url}/{quote(name)}"
    part = folder / f"{name}.part"
    failures = 0
    while True:
        before_bytes = part.stat().st_size if part.exists() else 0
        try:
            whole = _continue(url, part)
        except HTTPError as error:
            if error.code in (404, 410):
                return False
            if error.code == 416:  # what is there is longer than the file: it is another file's
                part.unlink(missing_ok=True)
            elif error.code < 500:
                raise MirrorUnreachable(f"{url}: HTTP {error.code} {error.reason}") from None
            whole, cause = False, f"HTTP {error.code} {error.reason}"
        except (URLError, http.client.HTTPException, OSError) as error:
            whole, cause = False, str(getattr(error, "reason", error)) or type(error).__name__
        else:
            cause = "the connection was closed too early"
        if whole:
            part.rename(folder / name)
            _version_file(part).unlink(missing_ok=True)
            return True
        after_bytes = part.stat().st_size if part.exists() else 0
        failures = 1 if after_bytes > before_bytes else failures + 1
        if failures >= ATTEMPTS:
            raise MirrorUnreachable(f"{url}: {cause}")
        time.sleep(PAUSE_S * (failures - 1))


def _version_file(part: Path) -> Path:
    return part.with_name(f"{part.name}.version")


def _continue(url: str, part: Path) -> bool:
    """Asks for what `part` lacks and appends it; True when the file is whole."""
    have_bytes = part.stat().st_size if part.exists() else 0
    version = _version_file(part)
    request = Request(url)
    if have_bytes and version.exists():
        request.add_header("Range", f"bytes={have_bytes}-")
        # Without this, the rest of a file that was replaced meanwhile would be appended to the old beginning.
        request.add_header("If-Range", version.read_text(encoding="utf-8"))
    with urlopen(request, timeout=TIMEOUT_S) as response:
        if response.status != 206:
            have_bytes = 0
            named = response.headers.get("ETag") or response.headers.get("Last-Modified")
            if named:
                version.write_text(named, encoding="utf-8")
            else:
                version.unlink(missing_ok=True)
        length = response.headers.get("Content-Length")
        with part.open("ab" if have_bytes else "wb") as sink:
            while chunk := response.read1(CHUNK_BYTES):
                sink.write(chunk)
                have_bytes += len(chunk)
        return length is None or part.stat().st_size == _total_bytes(response.headers, int(length))


def _total_bytes(headers: http.client.HTTPMessage, length_bytes: int) -> int:
    span = headers.get("Content-Range")  # "bytes 100-199/200"
    return int(span.rpartition("/")[2]) if span else length_bytes
