"""etcd, kube-apiserver and kube-controller-manager of one test session: on free ports, stopped by pid."""

from __future__ import annotations

import json
import secrets
import shutil
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Protocol

import yaml
from support.ports import free_port

from cluster.assets import Assets
from cluster.errors import NoCluster
from cluster.programs import Programs

LOOPBACK = "127.0.0.1"


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

    def __init__(
        self,
        assets: Assets,
        address: str = LOOPBACK,
        folder: Path | None = None,
        users: Mapping[str, str] | None = None,
        apiserver_flags: Sequence[str] = (),
    ) -> None:
        """address: where the API server listens. folder: of all its files, which stay; None: one that goes at the end.
        users: who else the server is to know, each with its groups, separated by commas. apiserver_flags: beside ours.
        """
        self._assets = assets
        self._address = address
        self._temporary = folder is None
        self._folder = folder or Path(tempfile.mkdtemp(prefix="outrider-cluster-"))
        self._port = free_port()
        self._etcd_port, self._etcd_peer_port = free_port(), free_port()
        self._admin_token = secrets.token_hex(16)
        self._users = {name: (secrets.token_hex(16), groups) for name, groups in (users or {}).items()}
        self._apiserver_flags = tuple(apiserver_flags)
        self.programs = Programs(self._folder)
        self.server = f"https://{address}:{self._port}"
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
        self.programs.stop_all()
        if self._temporary:
            shutil.rmtree(self._folder, ignore_errors=True)

    def stop(self, name: str) -> None:
        """Ends one program, as a crash would: a test of what survives it starts it again."""
        self.programs.stop(name)

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

    def kubeconfig_of(self, user: str) -> Path:
        """Of one of the users that the server was told of."""
        token, _groups = self._users[user]
        return self.kubeconfig_for(token, self._folder / f"{user.replace(':', '-')}.kubeconfig")

    @property
    def _ca(self) -> Path:
        return self._folder / "certificates" / "apiserver.crt"

    @property
    def _service_account_key(self) -> Path:
        return self._folder / "service-account.key"

    def _keys(self) -> None:
        key = ["openssl", "genrsa", "-out", str(self._service_account_key), "2048"]
        subprocess.run(key, check=True, capture_output=True)
        known = [f"{token},{name},{name},{json.dumps(groups)}\n" for name, (token, groups) in self._users.items()]
        _private(self._folder / "tokens.csv", "".join([f"{self._admin_token},admin,admin,system:masters\n", *known]))

    def _start_etcd(self) -> None:
        client, peer = (f"http://{LOOPBACK}:{port}" for port in (self._etcd_port, self._etcd_peer_port))
        self.programs.start(
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
        self.programs.wait_for_url("etcd", f"{client}/health")

    def start_apiserver(self) -> None:
        """Also after `stop("apiserver")`: on the same port, over the same etcd."""
        self.programs.start(
            "apiserver",
            [
                self._assets.apiserver,
                f"--etcd-servers=http://{LOOPBACK}:{self._etcd_port}",
                f"--cert-dir={self._ca.parent}",
                f"--secure-port={self._port}",
                f"--bind-address={self._address}",
                f"--service-account-key-file={self._service_account_key}",
                f"--service-account-signing-key-file={self._service_account_key}",
                "--service-account-issuer=https://kubernetes.default.svc",
                "--service-cluster-ip-range=10.96.0.0/16",
                f"--token-auth-file={self._folder / 'tokens.csv'}",
                "--authorization-mode=RBAC,Node",
                "--allow-privileged",
                *self._apiserver_flags,
            ],
        )
        self.programs.wait_for_url("apiserver", f"{self.server}/readyz", self._admin_token)

    def _start_controller_manager(self) -> None:
        self.programs.start(
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


def _private(path: Path, content: str) -> Path:
    path.touch(mode=0o600)
    path.write_text(content, encoding="utf-8")
    return path
