"""`outrider-models fetch`: brings a model from a hub, a mirror or a bucket into a folder that replicas may share."""

from __future__ import annotations

import errno
import hashlib
import json
import re
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from pathlib import Path

from outrider_serving.models.cache import HUB_NAME, MARK, expanded
from outrider_serving.models.digest import CHUNK_BYTES
from outrider_serving.models.download import Remote, RemoteFile, download, is_model_file
from outrider_serving.models.fetch import FetchError
from outrider_serving.models.lock import held
from outrider_serving.models.progress import Progress
from outrider_serving.models.remote import MirrorUnreachable, NotInMirror, copy_model

NO_SPACE = {errno.ENOSPC, errno.EDQUOT}

OpenProgress = Callable[[str, int], AbstractContextManager[Progress]]  # given a title and the bytes of all files


class Folder:
    """A model that lies in a folder of this machine."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def files(self) -> list[RemoteFile]:
        return [self._file(path) for path in self._folder.iterdir() if is_model_file(path.name)]

    def _file(self, path: Path) -> RemoteFile:
        stat = path.stat()
        return RemoteFile(path.name, str(path), stat.st_size, str(stat.st_mtime_ns))

    def read(self, file: RemoteFile, start_bytes: int) -> Iterator[bytes]:
        with Path(file.address).open("rb") as content:
            content.seek(start_bytes)
            while chunk := content.read(CHUNK_BYTES):
                yield chunk


def fetch(
    uri: str,
    directory: Path,
    revision: str | None,
    mirror: str | None,
    open_progress: OpenProgress,
    note: Callable[[str], None],
) -> None:
    """Makes `directory` the model at `uri`; it appears by rename, once every file is there and checked.

    One of several that are called at once fetches, the others wait for it; should it be killed, the next goes on with
    what it has left. `mirror`, a folder or URL laid out as org/name, is looked up before the hub. A `directory` that
    is this model already stays as it is, whatever a branch of the hub or a bucket holds by now.

    Raises FetchError: one line that names the URI and the remedy.
    """
    directory = directory.absolute()
    if not directory.name:
        raise FetchError(f"{uri}: {directory}: that is there already; name a folder to make in it")
    try:
        directory.parent.mkdir(parents=True, exist_ok=True)
        with held(directory.with_name(f".{directory.name}.lock"), lambda: note(f"{uri}: waiting for who fetches it")):
            if not _is_there(directory, uri, revision):
                _fetch(uri, directory, revision, mirror, open_progress)
    except FetchError as error:
        raise FetchError(f"{uri}: {error}") from None
    except OSError as error:
        # Where the volume has no locks, another may have taken the files away, into their place.
        if not _is_there(directory, uri, revision):
            raise FetchError(f"{uri}: {directory}: {_cause(error)}") from None
    note(f"{uri}: ready in {directory}")


def _cause(error: OSError) -> str:
    if error.errno in NO_SPACE:
        return "no space is left; raise spec.storage.size, or free some"
    return f"{error.strerror or error}; name a folder that can be written"


def _is_there(directory: Path, uri: str, revision: str | None) -> bool:
    try:
        mark = json.loads((directory / MARK).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return bool(mark == {"uri": uri, "revision": revision})


def _fetch(uri: str, directory: Path, revision: str | None, mirror: str | None, open_progress: OpenProgress) -> None:
    if directory.exists() and any(directory.iterdir()):
        raise FetchError(f"{directory} holds something else; name a folder that is not there yet")
    staging = _copied_from_url(uri, directory, mirror)
    if staging is None:
        remote = _remote(uri, revision, mirror)
        files = remote.files()
        _refuse_no_model(files)
        staging = _staging(directory, json.dumps(sorted((file.name, file.version) for file in files)), "partial")
        with open_progress(uri, sum(file.size_bytes for file in files)) as progress:
            download(remote, files, staging, progress)
    (staging / MARK).write_text(json.dumps({"uri": uri, "revision": revision}) + "\n", encoding="utf-8")
    try:
        staging.rename(directory)
    except OSError:
        if not _is_there(directory, uri, revision):
            raise
        shutil.rmtree(staging, ignore_errors=True)  # another was faster, where the volume has no locks


def _copied_from_url(uri: str, directory: Path, mirror: str | None) -> Path | None:
    """The folder beside `directory` that a mirror at a URL was copied to; None when it does not have the model."""
    if not (mirror or "").startswith(("http://", "https://")) or not uri.startswith("hf://"):
        return None
    address = f"{(mirror or '').rstrip('/')}/{uri.removeprefix('hf://')}"
    staging = _staging(directory, address, "mirrored")
    try:
        if not staging.exists():
            copy_model(address, staging)
    except NotInMirror:
        return None
    except MirrorUnreachable as error:
        raise FetchError(f"the mirror cannot be read: {error}; check OUTRIDER_MODEL_MIRROR") from None
    return staging


def _remote(uri: str, revision: str | None, mirror: str | None) -> Remote:
    """Where `uri` is read from. The libraries are imported for who needs them: each takes half a second."""
    scheme, _, rest = uri.partition("://")
    if scheme == "s3":
        bucket, _, prefix = rest.partition("/")
        if not bucket or not prefix.strip("/"):
            raise FetchError("not of the form s3://bucket/prefix")
        try:
            from outrider_serving.models.bucket import Bucket
        except ModuleNotFoundError:
            raise FetchError("boto3 is not installed; run `pip install outrider-serving[s3]`") from None
        return Bucket(bucket, prefix)
    if scheme != "hf":
        raise FetchError("nothing that can be fetched; write hf://org/name or s3://bucket/prefix")
    if not HUB_NAME.fullmatch(rest):
        raise FetchError("not of the form hf://org/name; give revisions by --revision")
    if mirror:
        folder = expanded(mirror.removeprefix("file://")) / rest
        if (folder / "config.json").is_file():
            return Folder(folder)
    from outrider_serving.models.hub import Hub

    return Hub(rest, revision)


def _refuse_no_model(files: Sequence[RemoteFile]) -> None:
    names = [file.name for file in files]
    if "config.json" not in names:
        raise FetchError("no config.json there; name the place that holds the model's files")
    if not any(name.endswith(".safetensors") for name in names):
        raise FetchError("no safetensors there; save the model as safetensors (pickle is never loaded)")


def _staging(directory: Path, content: str, kind: str) -> Path:
    """The folder beside `directory` for what `content` tells. One for anything else, as a model that has since been
    replaced, is removed.
    """
    staging = directory.with_name(f".{directory.name}.{hashlib.sha256(content.encode()).hexdigest()[:12]}.{kind}")
    # A mirror is copied to `..NAME` first.
    of_this_kind = re.compile(rf"\.{{1,2}}{re.escape(directory.name)}\.[0-9a-f]{{12}}\.{kind}(\.partial)?")
    for path in directory.parent.iterdir():
        if of_this_kind.fullmatch(path.name) and staging.name not in path.name:
            shutil.rmtree(path)
    return staging
