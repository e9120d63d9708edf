"""moto's S3 server as a process of its own, with its libraries beside the environment: they do not get on with it."""

from __future__ import annotations

import hashlib
import os
import re
import subprocess
import sys
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from tempfile import mkdtemp

from outrider_serving.models.cache import cache_root, exclusive

from support.ports import free_port
from support.waiting import eventually

PROJECT = Path(__file__).resolve().parents[2] / "pyproject.toml"
# moto looks whether somebody signed, and at the signature only once it is told to.
SOMEBODY = "AWS4-HMAC-SHA256 Credential=AKIATEST/20260101/us-east-1/s3/aws4_request, SignedHeaders=host, Signature=0"


def libraries() -> Path:
    """The folder with boto3 and moto; installed on first use, which takes half a minute."""
    [pins] = re.findall(r"^s3 = \[.*?^\]", PROJECT.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)
    version = f"{sys.version_info.major}.{sys.version_info.minor}\n{pins}"
    folder = cache_root() / "s3" / hashlib.sha256(version.encode()).hexdigest()[:12]
    with exclusive(folder.parent):
        if not folder.exists():
            fresh = mkdtemp(dir=folder.parent)
            command = [sys.executable, "-m", "pip", "install", "--quiet", "--target", fresh, "--group"]
            subprocess.run([*command, f"{PROJECT}:s3"], check=True)
            Path(fresh).rename(folder)
    return folder


def python_path(*first: Path) -> dict[str, str]:
    """The variable by which a process finds these folders before what the tests run with."""
    inherited = filter(None, [os.environ.get("PYTHONPATH")])
    return {"PYTHONPATH": os.pathsep.join([*map(str, first), *inherited])}


class Server:
    """What of S3 the tests do themselves, by plain HTTP."""

    def __init__(self, address: str) -> None:
        self.address = address  # HOST:PORT

    def ask(self, method: str, path: str, content: bytes = b"", **headers: str) -> tuple[Mapping[str, str], bytes]:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        request = urllib.request.Request(f"http://{self.address}{path}", content, named, method=method)
        request.add_header("Authorization", SOMEBODY)
        request.add_header("Content-Type", "application/octet-stream")
        with urllib.request.urlopen(request) as answer:
            return answer.headers, answer.read()

    def put(self, path: str, content: bytes = b"", **headers: str) -> None:
        self.ask("PUT", path, content, **headers)

    def put_in_parts(self, path: str, parts: list[bytes]) -> None:
        upload = re.findall(rb"<UploadId>(.*?)</UploadId>", self.ask("POST", f"{path}?uploads")[1])[0].decode()
        tags = [
            self.ask("PUT", f"{path}?partNumber={number}&uploadId={upload}", part)[0]["ETag"]
            for number, part in enumerate(parts, 1)
        ]
        listed = "".join(
            f"<Part><PartNumber>{number}</PartNumber><ETag>{tag}</ETag></Part>" for number, tag in enumerate(tags, 1)
        )
        document = f"<CompleteMultipartUpload>{listed}</CompleteMultipartUpload>"
        self.ask("POST", f"{path}?uploadId={upload}", document.encode())

    def check_keys(self, *, after_requests: str) -> None:
        """From so many requests on, who asks has to be a user that the server knows; "inf": never."""
        self.ask("POST", "/moto-api/reset-auth", after_requests.encode())

    def forget_everything(self) -> None:
        self.ask("POST", "/moto-api/reset")


@contextmanager
def s3_server() -> Iterator[Server]:
    """A server of its own, ended with the block."""
    port = free_port()
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    process = subprocess.Popen(
        command, env={**os.environ, **python_path(libraries())}, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    server = Server(f"127.0.0.1:{port}")

    def answers() -> bool:
        assert process.poll() is None, "moto's server has ended"
        try:
            server.forget_everything()
        except OSError:
            return False
        return True

    try:
        eventually("moto's server", answers)
        yield server
    finally:
        process.kill()
        process.wait()
