"""Copies one model from a mirror at a URL, laid out as org/name, into the cache.

Files are asked for by the names that a model folder has, because a plain file server lists nothing. A
download that breaks off goes on with a Range request, and the folder appears by rename once all is whole
and the mirror has been asked again whether it still has these very files: else one that is replaced
meanwhile would be half of the old model and half of the new.
"""

from __future__ import annotations

import http.client
import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar
from urllib.error import HTTPError, URLError
from urllib.parse import quote, urlsplit
from urllib.request import Request, urlopen

from outrider_serving.models.digest import sha256
from outrider_serving.models.download import Interrupted, is_model_file

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
# The first fetches, the second finds that nothing has changed; each further one is for a model that was replaced.
PASSES = 4

Result = TypeVar("Result")


class NotInMirror(LookupError):
    """The mirror answered, and has no such model."""


class MirrorUnreachable(OSError):
    """The mirror did not answer, broke off again and again, or changed again and again."""


class _Absent(LookupError):
    """The mirror answered, and has no such file."""


def shown(url: str) -> str:
    """The URL as messages may say it: without a user, a password and a query, which may hold a key."""
    parts = urlsplit(url)
    return parts._replace(netloc=parts.netloc.rpartition("@")[2], query="", fragment="").geturl()


def copy_model(base_url: str, target: Path) -> None:
    """Makes `target` the model folder at `base_url`; what an earlier run fetched is kept where the mirror has it still.

    Raises NotInMirror when there is no config or no safetensors, MirrorUnreachable when it cannot be read, and
    OSError where the folder cannot be written.
    """
    _refuse_credentials(base_url)
    partial = target.with_name(f".{target.name}.partial")
    partial.mkdir(parents=True, exist_ok=True)
    for _ in range(PASSES):
        copied = _Pass(base_url, partial)
        copied.all_files()
        if not copied.changed:
            break
    else:
        raise MirrorUnreachable(f"{shown(base_url)}: it changes while it is read")
    for file in partial.iterdir():
        if file.name not in copied.names:  # versions, and what only an earlier copy of the model had
            file.unlink()
    partial.rename(target)


def _refuse_credentials(base_url: str) -> None:
    try:
        has_user = "@" in urlsplit(base_url).netloc
    except ValueError:
        raise MirrorUnreachable("that is no URL") from None
    if has_user:
        raise MirrorUnreachable(f"{shown(base_url)}: a user and password in the URL are not sent; leave them out")


class _Pass:
    """One look at all files of a model: what is missing is fetched, and what the mirror has replaced is fetched anew.

    names: those that the model has; changed: whether any file is another than before.
    """

    def __init__(self, base_url: str, folder: Path) -> None:
        self._base_url = base_url
        self._folder = folder
        self.names: set[str] = set()
        self.changed = False

    def all_files(self) -> None:
        """Raises NotInMirror and MirrorUnreachable."""
        self._required(CONFIG)
        for name in self._weight_files():
            self._required(name)
        for name in OPTIONAL:
            self._copied(name)

    def _weight_files(self) -> list[str]:
        if not self._copied(INDEX):
            return [SINGLE]
        index = shown(f"{self._base_url}/{INDEX}")
        try:
            names = set(json.loads((self._folder / INDEX).read_text(encoding="utf-8"))["weight_map"].values())
        except (ValueError, KeyError, TypeError, AttributeError):
            raise NotInMirror(f"no readable {index}") from None
        for name in names:
            # A shard is a file of this folder: never a way out of it, nor a name that no disk takes.
            if not isinstance(name, str) or not is_model_file(name) or not name.isprintable():
                raise NotInMirror(f"no plain file names in {index}")
        return sorted(names)

    def _required(self, name: str) -> None:
        if not self._copied(name):
            raise NotInMirror(f"no {shown(f'{self._base_url}/{name}')}")

    def _copied(self, name: str) -> bool:
        """Whether the mirror has the file; it is in the folder then."""
        url, file = f"{self._base_url}/{quote(name)}", self._folder / name
        before = None
        try:
            if file.exists():
                if _patiently(url, file, lambda: _is_current(url, file)):
                    self.names.add(name)
                    return True
                before = sha256(file)
                file.unlink()
            _patiently(url, file, lambda: _continue(url, file))
        except _Absent:
            self.changed |= file.exists() or before is not None
            file.unlink(missing_ok=True)
            return False
        self.names.add(name)
        # Several servers behind one name may have an ETag each for the same file.
        self.changed |= sha256(file) != before if before else True
        return True


def _patiently(url: str, file: Path, ask: Callable[[], Result]) -> Result:
    """What `ask` returns, asked again while the mirror fails. Raises _Absent and MirrorUnreachable."""
    part = _part(file)
    failures = 0
    while True:
        before_bytes = _size_bytes(part)
        try:
            return ask()
        except HTTPError as error:
            if error.code in (404, 410):
                raise _Absent from None
            cause = f"HTTP {error.code} {error.reason}"
            if error.code == 416:  # what is there is longer than the file: it is another file's
                part.unlink(missing_ok=True)
            elif error.code < 500 and error.code != 429:
                raise MirrorUnreachable(f"{shown(url)}: {cause}") from None
        except Interrupted as error:
            cause = str(error)
        failures = 1 if _size_bytes(part) > before_bytes else failures + 1
        if failures >= ATTEMPTS:
            raise MirrorUnreachable(f"{shown(url)}: {cause}")
        time.sleep(PAUSE_S * (failures - 1))


def _part(file: Path) -> Path:
    return file.with_name(f"{file.name}.part")


def _size_bytes(part: Path) -> int:
    return part.stat().st_size if part.exists() else 0


def _version_file(file: Path) -> Path:
    return file.with_name(f"{file.name}.version")


def _version(file: Path) -> str | None:
    """What the mirror calls the version that `file` or its part is of: "" where it names none; None if unknown."""
    try:
        return _version_file(file).read_text(encoding="utf-8")
    except FileNotFoundError:
        return None


def _named_version(headers: http.client.HTTPMessage) -> str:
    return headers.get("ETag") or headers.get("Last-Modified") or ""


def _is_current(url: str, file: Path) -> bool:
    """Whether the mirror has the version that `file` is of; it is told by the length where the mirror names none."""
    version = _version(file)
    if version is None:
        return False
    request = Request(url)
    # Not If-Modified-Since: many servers answer it by "not later", and a file may be replaced by an older one.
    if version.startswith(('"', "W/")):
        request.add_header("If-None-Match", version)
    try:
        with _opened(request) as response:  # closed with its content unread
            return _named_version(response.headers) == version and response.length in (None, file.stat().st_size)
    except HTTPError as error:
        if error.code != 304:
            raise
        return True


def _continue(url: str, file: Path) -> None:
    """Asks for what is missing of `file` and puts it in place. Raises Interrupted when that is not all."""
    part = _part(file)
    have_bytes, version = _size_bytes(part), _version(file)
    request = Request(url)
    if have_bytes and version:
        request.add_header("Range", f"bytes={have_bytes}-")
        # Without this, the rest of a file that was replaced meanwhile would be appended to the old beginning.
        request.add_header("If-Range", version)
    with _opened(request) as response:
        if response.status != 206:
            have_bytes = 0
            part.unlink(missing_ok=True)  # first: killed in between, it would be taken for a part of the new version
            _version_file(file).write_text(_named_version(response.headers), encoding="utf-8")
        total_bytes = _total_bytes(response, have_bytes)
        with part.open("ab") as sink:
            while chunk := _read(response):
                sink.write(chunk)
    if total_bytes not in (None, _size_bytes(part)):
        raise Interrupted("the connection was closed too early")
    part.rename(file)


def _total_bytes(response: http.client.HTTPResponse, have_bytes: int) -> int | None:
    """The length of the whole file, None where the mirror does not say it."""
    total = (response.headers.get("Content-Range") or "").rpartition("/")[2]  # "bytes 100-199/200", "bytes 100-199/*"
    if total.isdecimal():
        return int(total)
    return None if response.length is None else have_bytes + response.length


def _opened(request: Request) -> http.client.HTTPResponse:
    with _network(request.full_url):
        response: http.client.HTTPResponse = urlopen(request, timeout=TIMEOUT_S)
    return response


def _read(response: http.client.HTTPResponse) -> bytes:
    with _network(response.url):
        return response.read1(CHUNK_BYTES)


@contextmanager
def _network(url: str) -> Iterator[None]:
    """Makes an Interrupted of what the network does, so that an OSError is what the disk does: a full one is no fault
    of the mirror.
    """
    try:
        yield
    except HTTPError:
        raise
    except http.client.InvalidURL:  # it says the URL
        raise MirrorUnreachable(f"{shown(url)}: that is no URL") from None
    except (URLError, http.client.HTTPException, OSError) as error:
        raise Interrupted(str(getattr(error, "reason", error)) or type(error).__name__) from None
