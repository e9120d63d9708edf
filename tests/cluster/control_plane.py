"""etcd, kube-apiserver and kube-controller-manager of one test session: on free ports, stopped by pid."""

from __future__ import annotations

import json
import secrets
import shutil
import ssl
import subprocess
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Protocol

import yaml
from support.ports import free_port

from cluster.assets import Assets
from cluster.errors import NoCluster

START_S = 60


class Cluster(Protocol):
    """What the tests need of one. `kubeconfig` is the administrator's."""

    kubeconfig: Path
    kubectl: Path

    def kubeconfig_for(self, token: str, path: Path) -> Path:
        """Writes a kubeconfig for the bearer of a token."""
        ...


class GivenCluster:
    """The one that KUBECONFIG names. A `Cluster`."""

    def __init__(self, kubeconfig: Path) -> None:
        """Raises NoCluster."""
        on_path = shutil.which("kubectl")
        if on_path is None:
            raise NoCluster("KUBECONFIG is given, and there is no kubectl; install it")
        self.kubeconfig = kubeconfig
        self.kubectl = Path(on_path)

    def kubeconfig_for(self, token: str, path: Path) -> Path:
        command = [
            str(self.kubectl),
            f"--kubeconfig={self.kubeconfig}",
            "config",
            "view",
            "--minify",
            "--flatten",
            "-o=json",
        ]
        shown = subprocess.run(command, check=True, capture_output=True, text=True)
        content = json.loads(shown.stdout)
        (context,) = content["contexts"]
        content["users"] = [{"name": context["context"]["user"], "user": {"token": token}}]
        return _private(path, yaml.safe_dump(content))


class ControlPlane:
    """One of our own, with RBAC on. A `Cluster`."""

    def __init__(self, assets: Assets) -> None:
        self._assets = assets
        self._processes: list[tuple[str, subprocess.Popen[bytes]]] = []
        self._folder = Path(tempfile.mkdtemp(prefix="outrider-cluster-"))
        self._port = free_port()
        self._etcd_port, self._etcd_peer_port = free_port(), free_port()
        self._admin_token = secrets.token_hex(16)
        self.server = f"https://127.0.0.1:{self._port}"
        self.kubeconfig = self._folder / "admin.kubeconfig"
        self.kubectl = assets.kubectl

    def __enter__(self) -> ControlPlane:
        """Raises NoCluster, with the end of what the program that failed had to say."""
        try:
            self._keys()
            self._start_etcd()
            self.start_apiserver()
            self.kubeconfig_for(self._admin_token, self.kubeconfig)
            self._start_controller_manager()
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        for name, _process in list(reversed(self._processes)):
            self.stop(name)
        shutil.rmtree(self._folder, ignore_errors=True)

    def stop(self, name: str) -> None:
        """Ends one program, as a crash would: a test of what survives it starts it again."""
        for index, (known, process) in enumerate(self._processes):
            if known == name:
                process.terminate()
                try:
                    process.wait(10)
                except subprocess.TimeoutExpired:
                    process.kill()
                    process.wait()
                del self._processes[index]
                return

    def kubeconfig_for(self, token: str, path: Path) -> Path:
        content = {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "test", "cluster": {"server": self.server, "certificate-authority": str(self._ca)}}],
            "users": [{"name": "user", "user": {"token": token}}],
            "contexts": [{"name": "test", "context": {"cluster": "test", "user": "user"}}],
            "current-context": "test",
        }
        return _private(path, yaml.safe_dump(content))

    @property
    def _ca(self) -> Path:
        return self._folder / "certificates" / "apiserver.crt"

    @property
    def _service_account_key(self) -> Path:
        return self._folder / "service-account.key"

    def _keys(self) -> None:
        key = ["openssl", "genrsa", "-out", str(self._service_account_key), "2048"]
        subprocess.run(key, check=True, capture_output=True)
        _private(self._folder / "tokens.csv", f"{self._admin_token},admin,admin,system:masters\n")

    def _start(self, name: str, command: Sequence[str | Path]) -> None:
        log = (self._folder / f"{name}.log").open("ab")
        with log:
            process = subprocess.Popen([str(part) for part in command], stdout=log, stderr=log, cwd=self._folder)
        self._processes.append((name, process))

    def _start_etcd(self) -> None:
        client, peer = (f"http://127.0.0.1:{port}" for port in (self._etcd_port, self._etcd_peer_port))
        self._start(
            "etcd",
            [
                self._assets.etcd,
                f"--data-dir={self._folder / 'etcd'}",
                f"--listen-client-urls={client}",
                f"--advertise-client-urls={client}",
                f"--listen-peer-urls={peer}",
                f"--initial-advertise-peer-urls={peer}",
                f"--initial-cluster=default={peer}",
                # Nothing here outlives the session: a crash of the machine may lose it.
                "--unsafe-no-fsync",
            ],
        )
        self._wait("etcd", f"{client}/health", None)

    def start_apiserver(self) -> None:
        """Also after `stop("apiserver")`: on the same port, over the same etcd."""
        self._start(
            "apiserver",
            [
                self._assets.apiserver,
                f"--etcd-servers=http://127.0.0.1:{self._etcd_port}",
                f"--cert-dir={self._ca.parent}",
                f"--secure-port={self._port}",
                "--bind-address=127.0.0.1",
                f"--service-account-key-file={self._service_account_key}",
                f"--service-account-signing-key-file={self._service_account_key}",
                "--service-account-issuer=https://kubernetes.default.svc",
                "--service-cluster-ip-range=10.96.0.0/16",
                f"--token-auth-file={self._folder / 'tokens.csv'}",
                "--authorization-mode=RBAC,Node",
                "--allow-privileged",
            ],
        )
        self._wait("apiserver", f"{self.server}/readyz", self._admin_token)

    def _start_controller_manager(self) -> None:
        self._start(
            "controller-manager",
            [
                self._assets.controller_manager,
                f"--kubeconfig={self.kubeconfig}",
                f"--service-account-private-key-file={self._service_account_key}",
                "--use-service-account-credentials",
                f"--root-ca-file={self._ca}",
                f"--secure-port={free_port()}",
                "--port=0",
                "--leader-elect=false",
            ],
        )

    def _wait(self, name: str, url: str, token: str | None) -> None:
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        trusting = ssl._create_unverified_context()  # its certificate is made at its first start
        process = self._processes[-1][1]
        until = time.monotonic() + START_S
        while time.monotonic() < until and process.poll() is None:
            try:
                with urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=2, context=trusting):
                    return
            except (urllib.error.URLError, OSError):
                time.sleep(0.1)
        said = (self._folder / f"{name}.log").read_text(errors="replace").strip().splitlines()[-3:]
        raise NoCluster(f"{name} did not start: {' / '.join(said) or 'it said nothing'}")


def _private(path: Path, content: str) -> Path:
    path.touch(mode=0o600)
    path.write_text(content, encoding="utf-8")
    return path
