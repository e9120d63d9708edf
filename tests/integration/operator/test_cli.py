"""The commands on a real API server: the model as the operator has it, and pods by the server's own proxies."""

from __future__ import annotations

import asyncio
import json
import os
import socket
import ssl
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from cluster.control_plane import Cluster, ControlPlane
from cluster.kubectl import Kubectl
from cluster.operator_process import token
from integration.cluster.conftest import COMMAND
from integration.cluster.test_top import draft_page, target_page
from integration.operator.cluster_state import condition, sample, until_ready
from support import cluster_objects as objects
from support.ports import free_port

NODE = "stand-in"


def own_address() -> str:
    """An address of this machine that is not the loopback, which the API server's proxy refuses. Nothing is sent."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.connect(("203.0.113.1", 9))
        address: str = probe.getsockname()[0]
        return address


class Node:
    """Stands in for a kubelet, and for the pods of its node: real HTTPS for logs, real HTTP for metrics."""

    def __init__(self, folder: Path) -> None:
        self.address = own_address()
        self.kubelet_port, self.target_port, self.draft_port = free_port(), free_port(), free_port()
        self._folder = folder
        self._loop = asyncio.new_event_loop()
        self._stop = asyncio.Event()
        self._started = threading.Event()
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._readings = 0

    def __enter__(self) -> Node:
        key, certificate = self._folder / "kubelet.key", self._folder / "kubelet.crt"
        files = ["-keyout", str(key), "-out", str(certificate)]
        made = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=kubelet", "-days", "1"]
        subprocess.run([*made, *files], check=True, capture_output=True)
        self._tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        self._tls.load_cert_chain(certificate, key)
        self._thread.start()
        assert self._started.wait(10)
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(10)

    def _serve(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_until_complete(self._run())
        self._loop.close()

    async def _run(self) -> None:
        runners = []
        for port, path, handler, tls in (
            (self.kubelet_port, "/containerLogs/{namespace}/{pod}/{container}", self._log, self._tls),
            (self.target_port, "/metrics", self._target, None),
            (self.draft_port, "/metrics", self._draft, None),
        ):
            app = web.Application()
            app.router.add_get(path, handler)
            runner = web.AppRunner(app, shutdown_timeout=1)
            await runner.setup()
            await web.TCPSite(runner, "0.0.0.0", port, ssl_context=tls).start()
            runners.append(runner)
        self._started.set()
        await self._stop.wait()
        for runner in runners:
            await runner.cleanup()

    async def _log(self, request: web.Request) -> web.Response:
        assert request.query["timestamps"] == "true"
        if request.query.get("previous") == "true":
            container, pod = request.match_info["container"], request.match_info["pod"]
            why = f'previous terminated container "{container}" in pod "{pod}" not found'
            return web.Response(status=400, text=why)
        said = json.dumps({"event": "listening", "level": "info", "pod": request.match_info["pod"]})
        return web.Response(text=f"2026-11-20T10:00:01.000000001Z {said}\n")

    async def _target(self, _: web.Request) -> web.Response:
        self._readings += 1
        return web.Response(text=target_page(100 * self._readings))

    async def _draft(self, _: web.Request) -> web.Response:
        return web.Response(text=draft_page(10))


@pytest.fixture
def node(control_plane: ControlPlane, kubectl: Kubectl, tmp_path: Path) -> Iterator[Node]:
    """Of a server of our own: another would have to find its way to this machine."""
    del control_plane
    with Node(tmp_path) as running:
        item = {"apiVersion": "v1", "kind": "Node", "metadata": {"name": NODE}}
        kubectl("create", "-f", "-", stdin=json.dumps(item))
        made = kubectl.read(f"node/{NODE}")
        made["status"] = {
            "addresses": [{"type": "InternalIP", "address": "127.0.0.1"}],
            "daemonEndpoints": {"kubeletEndpoint": {"Port": running.kubelet_port}},
            "conditions": [{"type": "Ready", "status": "True"}],
        }
        kubectl("replace", f"--raw=/api/v1/nodes/{NODE}/status", "-f", "-", stdin=json.dumps(made))
        yield running
        kubectl("delete", "node", NODE)


def outrider(cluster: Cluster, *args: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "KUBECONFIG": str(cluster.kubeconfig), "COLUMNS": "160"}
    return subprocess.run([*COMMAND, *args], env=environment, capture_output=True, text=True, check=False)


def run_pod(kubectl: Kubectl, node: Node, namespace: str, role: str, port: int) -> None:
    """A pod as the operator's Deployments have them, and the status that a kubelet would give it."""
    item = objects.pod(role, namespace=namespace)
    full = item["metadata"]["name"]
    metadata = {key: item["metadata"][key] for key in ("name", "namespace", "labels")}
    container = {**item["spec"]["containers"][0], "image": "none", "ports": [{"name": "http", "containerPort": port}]}
    spec = {"nodeName": NODE, "automountServiceAccountToken": False, "containers": [container]}
    made = {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec}
    kubectl("create", "--validate=false", "-f", "-", stdin=json.dumps(made))
    live = kubectl.read(f"pod/{full}", "-n", namespace)
    of_container = {**item["status"]["containerStatuses"][0], "image": "none", "imageID": ""}
    live["status"] = {"phase": "Running", "podIP": node.address, "containerStatuses": [of_container]}
    path = f"/api/v1/namespaces/{namespace}/pods/{full}/status"
    kubectl("replace", f"--raw={path}", "-f", "-", stdin=json.dumps(live))


@pytest.fixture
def pods(kubectl: Kubectl, node: Node, namespace: str) -> Iterator[str]:
    """The namespace of a model whose two pods answer. No operator runs: the pods are the test's own."""
    kubectl.apply(namespace, sample())
    account = ["get", "serviceaccount", "default", "-n", namespace, "--ignore-not-found", "-o", "name"]
    kubectl.until(lambda: bool(kubectl(*account)), "the ServiceAccount that pods take")
    run_pod(kubectl, node, namespace, "target", node.target_port)
    run_pod(kubectl, node, namespace, "draft", node.draft_port)
    yield namespace
    kubectl("delete", "pods", "--all", "-n", namespace, "--grace-period=0", "--force")


@pytest.mark.usefixtures("operator")
def test_status_tells_what_the_operator_says(cluster: Cluster, kubectl: Kubectl, namespace: str) -> None:
    assert outrider(cluster, "status", "-n", namespace).stdout == f"no SpeculativeModels in namespace {namespace}\n"
    kubectl.apply(namespace, sample())
    kubectl.until(lambda: condition(kubectl, namespace, "Ready")["reason"] == "TargetNotReady", "the first status")

    waiting = outrider(cluster, "status", "qwen-coder", "-n", namespace)
    assert (waiting.returncode, waiting.stderr) == (1, "")
    assert waiting.stdout.startswith("qwen-coder  not ready")
    assert "TargetNotReady" in waiting.stdout
    assert "not read:" not in waiting.stdout

    until_ready(kubectl, namespace)
    ready = outrider(cluster, "status", "qwen-coder", "-n", namespace)
    assert ready.returncode == 0
    assert ready.stdout.startswith("qwen-coder  Ready  http://qwen-coder-target.")
    assert ready.stdout.count("1/1 ready") == 2

    listed: dict[str, Any] = json.loads(outrider(cluster, "status", "-A", "--json").stdout)
    assert ("qwen-coder", namespace, True) in [
        (each["name"], each["namespace"], each["ready"]) for each in listed["models"]
    ]
    missing = outrider(cluster, "status", "other", "-n", namespace)
    assert (missing.returncode, missing.stdout) == (2, "")
    assert missing.stderr.endswith(f"no SpeculativeModel other in namespace {namespace}: it has qwen-coder\n")


def test_a_person_without_rights_is_told_which(
    cluster: Cluster, kubectl: Kubectl, namespace: str, tmp_path: Path
) -> None:
    kubectl("create", "serviceaccount", "visitor", "-n", namespace)
    kubeconfig = cluster.kubeconfig_for(token(kubectl, namespace, "visitor"), tmp_path / "visitor")
    for command in ("status", "top"):
        refused = outrider(cluster, command, "-n", namespace, "--kubeconfig", str(kubeconfig))
        assert (refused.returncode, refused.stdout) == (2, "")
        [line] = refused.stderr.splitlines()
        assert "speculativemodels.outrider.dev is forbidden" in line
        assert line.endswith("ask for that right, or choose another --namespace or --context")


def test_top_reads_the_pods_by_the_proxy(cluster: Cluster, pods: str) -> None:
    shown = outrider(cluster, "top", "qwen-coder", "-n", pods, "--json", "--interval", "0.2")
    assert (shown.returncode, shown.stderr) == (0, "")
    [model] = json.loads(shown.stdout)["models"]
    assert [(each["role"], each["answers"], each["reason"]) for each in model["pods"]] == [
        ("target", True, ""),
        ("draft", True, ""),
    ]
    assert model["figures"]["tokens_per_step"] == 2
    assert model["figures"]["tokens_per_s"] > 0


def test_logs_of_both_roles_by_the_kubelet(cluster: Cluster, pods: str) -> None:
    shown = outrider(cluster, "logs", "qwen-coder", "-n", pods)
    assert (shown.returncode, shown.stderr) == (0, "")
    assert shown.stdout.splitlines() == [
        "target/6d4f-x2x9z info    listening pod=qwen-coder-target-6d4f-x2x9z",
        "draft/6d4f-x2x9z  info    listening pod=qwen-coder-draft-6d4f-x2x9z",
    ]
    before = outrider(cluster, "logs", "qwen-coder", "-n", pods, "--previous", "--role", "draft")
    assert (before.returncode, before.stdout) == (0, "")
    assert before.stderr.startswith('draft/6d4f-x2x9z: previous terminated container "draft"')


def test_kubectl_finds_it_as_its_plugin(cluster: Cluster, namespace: str, tmp_path: Path) -> None:
    plugin = tmp_path / "kubectl-outrider"
    plugin.write_text(f"#!{sys.executable}\nfrom outrider_operator.cli import main\nmain()\n")
    plugin.chmod(0o755)
    environment = {
        **os.environ,
        "KUBECONFIG": str(cluster.kubeconfig),
        "PATH": f"{tmp_path}{os.pathsep}{os.environ['PATH']}",
    }
    command = [str(cluster.kubectl), "outrider", "status", "qwen-coder", "-n", namespace]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("kubectl outrider: error: no SpeculativeModel qwen-coder in namespace")
