"""A model copied from a mirror at a URL: resumed where it broke off, never there by halves."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import IO, Any

import pytest
from huggingface_hub import constants
from outrider_serving import loading
from outrider_serving.models import remote, source
from outrider_serving.models.fetch import FetchError
from support.tiny import tiny_llama_dir

Headers = dict[str, str]


def etag(content: bytes) -> Headers:
    return {"ETag": f'"{hashlib.sha256(content).hexdigest()}"'}


def date(content: bytes) -> Headers:
    return {"Last-Modified": f"Mon, 01 Jan {1970 + hashlib.sha256(content).digest()[0]} 00:00:00 GMT"}


def nothing(_content: bytes) -> Headers:
    return {}


@dataclass
class MirrorServer:
    """Serves a folder with Range; `breaks` says how many bytes a file's next answers stop after.

    version: the headers that tell one content from another; heeds_conditions: it answers 304 to who has that version;
    total: how it words a file's length in Content-Range; requests: those that it sent content for or had no file for.
    """

    folder: Path
    breaks: dict[str, list[int]] = field(default_factory=dict)
    version: Callable[[bytes], Headers] = etag
    heeds_conditions: bool = True
    total: Callable[[bytes], str] = lambda content: str(len(content))
    before: Callable[[str], None] = lambda _path: None
    requests: list[tuple[str, str | None]] = field(default_factory=list)
    url: str = ""

    def asked(self, name: str) -> list[str | None]:
        return [span for path, span in self.requests if path.endswith(f"/{name}")]


def handler_of(mirror: MirrorServer) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            mirror.before(self.path)
            span = self.headers.get("Range")
            file = mirror.folder / self.path.lstrip("/")
            content = file.read_bytes() if file.is_file() else None
            version = {} if content is None else mirror.version(content)
            named = next(iter(version.values()), None)
            if mirror.heeds_conditions and named and self.headers.get("If-None-Match") == named:
                self.send_response(304)
                self.end_headers()
                return
            mirror.requests.append((self.path, span))
            if content is None:
                self.send_error(404)
                return
            resumed = span is not None and self.headers.get("If-Range") == named
            start = int(span.removeprefix("bytes=").rstrip("-")) if span and resumed else 0
            self.send_response(206 if resumed else 200)
            if resumed:
                self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{mirror.total(content)}")
            for header, value in version.items():
                self.send_header(header, value)
            self.send_header("Content-Length", str(len(content) - start))
            self.end_headers()
            stops = mirror.breaks.get(file.name)
            self.wfile.write(content[start : start + stops.pop(0)] if stops else content[start:])

        def log_message(self, format: str, *args: object) -> None:
            """Tests read the requests, not a log."""

    return Handler


@pytest.fixture
def mirror(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[MirrorServer]:
    monkeypatch.setenv("OUTRIDER_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(remote, "PAUSE_S", 0.0)
    mirror = MirrorServer(tmp_path / "served")
    tiny_llama_dir(mirror.folder / "acme" / "tiny")
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler_of(mirror))
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    mirror.url = f"http://127.0.0.1:{server.server_port}"
    yield mirror
    server.shutdown()
    thread.join()
    server.server_close()


def test_a_model_from_a_url_is_whole_and_asked_for_once(mirror: MirrorServer) -> None:
    folder = loading.resolve("hf://acme/tiny", mirror=mirror.url)
    served = mirror.folder / "acme" / "tiny"
    assert {file.name: file.read_bytes() for file in folder.iterdir()} == {
        file.name: file.read_bytes() for file in served.iterdir()
    }
    asked_before = len(mirror.requests)
    assert loading.resolve("hf://acme/tiny", mirror=f"{mirror.url}/") == folder
    assert len(mirror.requests) == asked_before


def test_a_broken_download_goes_on_where_it_stopped(mirror: MirrorServer) -> None:
    mirror.breaks["model.safetensors"] = [1000, 5000]
    folder = loading.resolve("hf://acme/tiny", mirror=mirror.url)
    assert mirror.asked("model.safetensors") == [None, "bytes=1000-", "bytes=6000-"]
    served = mirror.folder / "acme" / "tiny" / "model.safetensors"
    assert (folder / "model.safetensors").read_bytes() == served.read_bytes()


def test_a_run_that_was_given_up_is_taken_up_by_the_next(mirror: MirrorServer) -> None:
    mirror.breaks["model.safetensors"] = [1000, *[0] * remote.ATTEMPTS]
    with pytest.raises(loading.ModelNotFound, match="closed too early; check OUTRIDER_MODEL_MIRROR") as error:
        loading.resolve("hf://acme/tiny", mirror=mirror.url)
    assert "\n" not in str(error.value)
    mirror.requests.clear()
    mirror.breaks.clear()
    folder = loading.resolve("hf://acme/tiny", mirror=mirror.url)
    assert mirror.asked("model.safetensors") == ["bytes=1000-"]
    assert mirror.asked("config.json") == []
    loading.load_model(folder, "float32")


def test_a_file_that_was_replaced_meanwhile_is_fetched_anew(mirror: MirrorServer) -> None:
    mirror.breaks["model.safetensors"] = [1000, *[0] * remote.ATTEMPTS]
    with pytest.raises(loading.ModelNotFound):
        loading.resolve("hf://acme/tiny", mirror=mirror.url)
    mirror.breaks.clear()
    served = mirror.folder / "acme" / "tiny" / "model.safetensors"
    served.write_bytes(served.read_bytes()[::-1])
    folder = loading.resolve("hf://acme/tiny", mirror=mirror.url)
    assert (folder / "model.safetensors").read_bytes() == served.read_bytes()


def contents(folder: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in folder.iterdir()}


def publish(folder: Path, revision: str) -> None:
    """Another revision of the model, of other lengths and without one of the files."""
    for file in folder.iterdir():
        file.write_bytes(f"{file.name} of {revision}".encode())
    (folder / "generation_config.json").unlink(missing_ok=True)


@pytest.mark.parametrize("heeds_conditions", [True, False])
@pytest.mark.parametrize("version", [etag, date, nothing])
def test_a_model_replaced_after_a_run_was_given_up_is_all_of_the_new_one(
    mirror: MirrorServer, version: Callable[[bytes], Headers], heeds_conditions: bool
) -> None:
    mirror.version, mirror.heeds_conditions = version, heeds_conditions
    mirror.breaks["model.safetensors"] = [1000, *[0] * remote.ATTEMPTS, *[0] * remote.ATTEMPTS]
    with pytest.raises(loading.ModelNotFound):
        loading.resolve("hf://acme/tiny", mirror=mirror.url)
    mirror.breaks.clear()
    publish(mirror.folder / "acme" / "tiny", "another revision")
    folder = loading.resolve("hf://acme/tiny", mirror=mirror.url)
    assert contents(folder) == contents(mirror.folder / "acme" / "tiny")


def test_a_model_replaced_while_it_is_read_is_all_of_the_new_one(mirror: MirrorServer) -> None:
    served = mirror.folder / "acme" / "tiny"
    (served / "model.safetensors").rename(served / "old.safetensors")
    (served / "model.safetensors.index.json").write_text('{"weight_map": {"a": "old.safetensors"}}')

    def replace(path: str) -> None:
        if path.endswith("/tokenizer.json") and (served / "old.safetensors").exists():
            publish(served, "another revision")
            (served / "old.safetensors").rename(served / "new.safetensors")
            (served / "model.safetensors.index.json").write_text('{"weight_map": {"a": "new.safetensors"}}')

    mirror.before = replace
    folder = loading.resolve("hf://acme/tiny", mirror=mirror.url)
    assert contents(folder) == contents(served)


def test_a_model_that_never_stays_the_same_is_refused_in_one_line(mirror: MirrorServer) -> None:
    served = mirror.folder / "acme" / "tiny"
    mirror.before = lambda _path: publish(served, f"revision {len(mirror.requests)}")
    with pytest.raises(loading.ModelNotFound, match=r"^hf://acme/tiny: .*it changes while it is read; check[^\n]*$"):
        loading.resolve("hf://acme/tiny", mirror=mirror.url)


def test_servers_behind_one_name_with_etags_of_their_own_are_one_mirror(mirror: MirrorServer) -> None:
    mirror.version = lambda _content: {"ETag": f'"{len(mirror.requests)}"'}
    folder = loading.resolve("hf://acme/tiny", mirror=mirror.url)
    assert contents(folder) == contents(mirror.folder / "acme" / "tiny")


class Silent:
    """Shows nothing of how far a download is."""

    def part(self, _name: str, _done_bytes: int, _total_bytes: int) -> None: ...

    def note(self, _line: str) -> None: ...


def fetch(uri: str, directory: Path, mirror_url: str) -> None:
    """As the init container does."""
    source.fetch(uri, directory, None, mirror_url, lambda _title, _bytes: nullcontext(Silent()), lambda _line: None)


def test_a_folder_that_another_model_was_begun_for_holds_nothing_of_it(mirror: MirrorServer, tmp_path: Path) -> None:
    publish(tiny_llama_dir(mirror.folder / "acme" / "other"), "the other model")
    mirror.breaks["model.safetensors"] = [1000, *[0] * remote.ATTEMPTS]
    directory = tmp_path / "volume" / "model"
    with pytest.raises(FetchError, match="closed too early"):
        fetch("hf://acme/tiny", directory, mirror.url)
    mirror.breaks.clear()
    fetch("hf://acme/other", directory, mirror.url)
    fetched = contents(directory)
    del fetched["outrider.json"]
    assert fetched == contents(mirror.folder / "acme" / "other")
    assert sorted(path.name for path in directory.parent.iterdir()) == [".model.lock", "model"]


def test_a_server_that_does_not_say_how_long_a_file_is_in_all_is_gone_on_with(mirror: MirrorServer) -> None:
    mirror.total = lambda _content: "*"
    mirror.breaks["model.safetensors"] = [1000]
    folder = loading.resolve("hf://acme/tiny", mirror=mirror.url)
    assert mirror.asked("model.safetensors") == [None, "bytes=1000-"]
    assert contents(folder) == contents(mirror.folder / "acme" / "tiny")


def without_credentials(error: BaseException) -> bool:
    return "user:" not in str(error) and "pa55" not in str(error) and "\n" not in str(error)


def test_a_user_and_password_in_the_mirrors_url_are_refused_and_not_repeated(
    mirror: MirrorServer, tmp_path: Path
) -> None:
    url = mirror.url.replace("http://", "http://user:pa55@")
    says = "a user and password in the URL are not sent; leave them out; check OUTRIDER_MODEL_MIRROR"
    with pytest.raises(loading.ModelNotFound, match=says) as served:
        loading.resolve("hf://acme/tiny", mirror=url)
    with pytest.raises(FetchError, match=says) as fetched:
        fetch("hf://acme/tiny", tmp_path / "model", url)
    assert without_credentials(served.value)
    assert without_credentials(fetched.value)
    assert mirror.requests == []


@pytest.mark.parametrize("status", [404, 403])
def test_a_key_in_the_mirrors_url_is_not_in_a_message(
    mirror: MirrorServer, monkeypatch: pytest.MonkeyPatch, status: int
) -> None:
    monkeypatch.setattr(BaseHTTPRequestHandler, "send_error", lambda self, _code: answer(self, status))
    with pytest.raises(loading.ModelNotFound, match=rf"{mirror.url}/models\b") as error:
        loading.resolve("hf://acme/tiny", mirror=f"{mirror.url}/models?key=pa55&path=")
    assert without_credentials(error.value)


def answer(handler: BaseHTTPRequestHandler, status: int) -> None:
    handler.send_response(status)
    handler.end_headers()


@pytest.mark.parametrize("url", ["http://[::1", "http://127.0.0.1:port", "http://127.0.0.1/a b?key=pa55"])
@pytest.mark.usefixtures("mirror")
def test_a_mirror_that_is_no_url_is_one_line(url: str) -> None:
    with pytest.raises(loading.ModelNotFound, match="that is no URL; check OUTRIDER_MODEL_MIRROR") as error:
        loading.resolve("hf://acme/tiny", mirror=url)
    assert without_credentials(error.value)


def fill_the_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    open_file: Any = Path.open

    def full(path: Path, *args: Any, **options: Any) -> IO[Any]:
        opened: IO[Any] = open_file(Path("/dev/full") if path.suffix == ".part" else path, *args, **options)
        return opened

    monkeypatch.setattr(Path, "open", full)


def test_a_full_disk_is_no_fault_of_the_mirror(
    mirror: MirrorServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill_the_disk(monkeypatch)
    with pytest.raises(loading.ModelNotFound, match="No space left on device; free space, or name another") as error:
        loading.resolve("hf://acme/tiny", mirror=mirror.url)
    assert "mirror cannot be read" not in str(error.value)
    with pytest.raises(FetchError, match="no space is left") as fetched:
        fetch("hf://acme/tiny", tmp_path / "model", mirror.url)
    assert "mirror" not in str(fetched.value)
    assert mirror.asked("config.json") == [None, None]


def test_a_cache_that_cannot_be_written_is_one_line_with_the_remedy(
    mirror: MirrorServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("OUTRIDER_CACHE", str(tmp_path / "file"))
    with pytest.raises(loading.ModelNotFound, match=r"name another cache folder by OUTRIDER_CACHE$") as error:
        loading.resolve("hf://acme/tiny", mirror=mirror.url)
    assert str(tmp_path / "file") in str(error.value)
    assert "\n" not in str(error.value)


def test_an_index_that_names_no_files_is_no_model(mirror: MirrorServer) -> None:
    (mirror.folder / "acme" / "tiny" / "model.safetensors.index.json").write_text('{"weight_map": {"a": 1, "b": "x"}}')
    with pytest.raises(loading.ModelNotFound, match="not in the mirror"):
        loading.resolve("hf://acme/tiny", mirror=mirror.url)


def test_a_sharded_model_is_fetched_by_its_index(mirror: MirrorServer) -> None:
    served = mirror.folder / "acme" / "tiny"
    (served / "model.safetensors").rename(served / "model-00001-of-00001.safetensors")
    index = '{"metadata": {}, "weight_map": {"model.norm.weight": "model-00001-of-00001.safetensors"}}'
    (served / "model.safetensors.index.json").write_text(index)
    folder = loading.resolve("hf://acme/tiny", mirror=mirror.url)
    assert (folder / "model-00001-of-00001.safetensors").exists()


@pytest.mark.parametrize("name", ["..", ".", "", "a\\u0000b.safetensors", "\\ud800.safetensors", "a.part", "a/b.json"])
def test_an_index_cannot_name_what_is_no_file_of_a_model(mirror: MirrorServer, name: str) -> None:
    index = f'{{"weight_map": {{"a": "{name}"}}}}'
    (mirror.folder / "acme" / "tiny" / "model.safetensors.index.json").write_text(index)
    with pytest.raises(loading.ModelNotFound, match="not in the mirror"):
        loading.resolve("hf://acme/tiny", mirror=mirror.url)


def test_a_mirror_that_is_asked_too_often_is_asked_again(mirror: MirrorServer, monkeypatch: pytest.MonkeyPatch) -> None:
    weights = mirror.folder / "acme" / "tiny" / "model.safetensors"
    hidden = weights.rename(weights.with_name("hidden"))
    statuses: list[int] = []

    def refuse(handler: BaseHTTPRequestHandler, code: int) -> None:
        busy = handler.path.endswith("/model.safetensors")
        statuses.append(429 if busy else code)
        answer(handler, statuses[-1])
        if busy:
            hidden.rename(weights)

    monkeypatch.setattr(BaseHTTPRequestHandler, "send_error", refuse)
    folder = loading.resolve("hf://acme/tiny", mirror=mirror.url)
    assert 429 in statuses
    assert contents(folder) == contents(mirror.folder / "acme" / "tiny")


def test_a_model_that_is_there_is_taken_from_a_cache_that_cannot_be_written(
    mirror: MirrorServer, tmp_path: Path
) -> None:
    folder = loading.resolve("hf://acme/tiny", mirror=mirror.url)
    [lock] = (tmp_path / "cache").rglob(".lock")
    lock.unlink()
    lock.mkdir()  # nobody can open that to write, whoever runs this
    assert loading.resolve("hf://acme/tiny", mirror=mirror.url) == folder


def test_an_index_cannot_name_a_file_outside_the_folder(mirror: MirrorServer, tmp_path: Path) -> None:
    index = '{"weight_map": {"a": "../../../../escaped.safetensors"}}'
    (mirror.folder / "acme" / "tiny" / "model.safetensors.index.json").write_text(index)
    with pytest.raises(loading.ModelNotFound):
        loading.resolve("hf://acme/tiny", mirror=mirror.url)
    assert not list(tmp_path.rglob("escaped*"))


def test_a_model_that_the_mirror_lacks_is_one_line_with_where_and_what_to_do(mirror: MirrorServer) -> None:
    with pytest.raises(loading.ModelNotFound) as error:
        loading.resolve("hf://acme/absent", mirror=mirror.url)
    message = str(error.value)
    assert message.startswith("hf://acme/absent: ")
    assert f"{mirror.url}/acme/absent" in message
    assert "HF_HUB_OFFLINE" in message
    assert "OUTRIDER_MODEL_MIRROR" in message
    assert "\n" not in message


@pytest.mark.usefixtures("mirror")
def test_a_mirror_that_is_down_is_one_line() -> None:
    with pytest.raises(loading.ModelNotFound, match=r"^hf://acme/tiny: the mirror cannot be read: [^\n]*$"):
        loading.resolve("hf://acme/tiny", mirror="http://127.0.0.1:9")
