"""A model copied from a mirror at a URL: resumed where it broke off, never there by halves."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from huggingface_hub import constants
from outrider_serving import loading
from outrider_serving.models import remote
from support.tiny import tiny_llama_dir


@dataclass
class MirrorServer:
    """Serves a folder with Range and ETag; `breaks` says how many bytes a file's next answers stop after."""

    folder: Path
    breaks: dict[str, list[int]] = field(default_factory=dict)
    etag: str = '"one"'
    requests: list[tuple[str, str | None]] = field(default_factory=list)
    url: str = ""

    def asked(self, name: str) -> list[str | None]:
        return [span for path, span in self.requests if path.endswith(f"/{name}")]


def handler_of(mirror: MirrorServer) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            span = self.headers.get("Range")
            mirror.requests.append((self.path, span))
            file = mirror.folder / self.path.lstrip("/")
            if not file.is_file():
                self.send_error(404)
                return
            content = file.read_bytes()
            resumed = span is not None and self.headers.get("If-Range") == mirror.etag
            start = int(span.removeprefix("bytes=").rstrip("-")) if span and resumed else 0
            self.send_response(206 if resumed else 200)
            if resumed:
                self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
            self.send_header("ETag", mirror.etag)
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
    mirror.etag = '"two"'
    served = mirror.folder / "acme" / "tiny" / "model.safetensors"
    served.write_bytes(served.read_bytes()[::-1])
    folder = loading.resolve("hf://acme/tiny", mirror=mirror.url)
    assert (folder / "model.safetensors").read_bytes() == served.read_bytes()


def test_a_sharded_model_is_fetched_by_its_index(mirror: MirrorServer) -> None:
    served = mirror.folder / "acme" / "tiny"
    (served / "model.safetensors").rename(served / "model-00001-of-00001.safetensors")
    index = '{"metadata": {}, "weight_map": {"model.norm.weight": "model-00001-of-00001.safetensors"}}'
    (served / "model.safetensors.index.json").write_text(index)
    folder = loading.resolve("hf://acme/tiny", mirror=mirror.url)
    assert (folder / "model-00001-of-00001.safetensors").exists()


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
