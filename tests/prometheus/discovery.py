"""Pods and endpoints as Prometheus' own discovery in Kubernetes names them: Debian builds its Prometheus without that
one, and with the one that asks over HTTP.
"""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Iterator, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Literal, Self

from cluster.kubectl import Kubectl

Object = Mapping[str, Any]
Labels = dict[str, str]
Role = Literal["pod", "endpoints"]
META = "__meta_kubernetes_"


class Discovery:
    """Answers for as long as the context lasts. Each question is one to the API server."""

    def __init__(self, kubectl: Kubectl) -> None:
        groups = {"pod": pod_groups, "endpoints": endpoint_groups}

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                namespace, role = self.path.strip("/").split("/")
                body = json.dumps(list(groups[role](kubectl, namespace))).encode()
                self.send_response(200)
                self.send_header("Content-Type", "application/json")
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                """Prometheus asks every second."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def url(self, namespace: str, role: Role) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}/{namespace}/{role}"


def pod_groups(kubectl: Kubectl, namespace: str) -> Iterator[Object]:
    """A group for each declared port of each container of each pod that has an address."""
    for pod in kubectl.read("pods", "-n", namespace)["items"]:
        address = pod["status"].get("podIP")
        for container in pod["spec"]["containers"] if address else []:
            for port in container.get("ports", []):
                labels = {**_pod_labels(pod), **_container_labels(container["name"], port)}
                yield {"targets": [f"{address}:{port['containerPort']}"], "labels": labels}


def endpoint_groups(kubectl: Kubectl, namespace: str) -> Iterator[Object]:
    """A group for each address and port of each Service, with the labels of the pod behind it."""
    pods = {pod["metadata"]["name"]: pod for pod in kubectl.read("pods", "-n", namespace)["items"]}
    services = {each["metadata"]["name"]: each for each in kubectl.read("services", "-n", namespace)["items"]}
    for endpoints in kubectl.read("endpoints", "-n", namespace)["items"]:
        name = endpoints["metadata"]["name"]
        if name not in services:
            continue  # what leaders are elected by, in clusters of before 1.20
        service = {
            f"{META}namespace": namespace,
            f"{META}service_name": name,
            **_sanitized("service", services[name]["metadata"]),
        }
        for subset in endpoints.get("subsets", []):
            for address, port in ((a, p) for a in subset.get("addresses", []) for p in subset["ports"]):
                labels = {**service, f"{META}endpoint_port_name": port.get("name", "")}
                pod = pods.get(address.get("targetRef", {}).get("name", ""))
                if pod is not None:
                    labels |= {**_pod_labels(pod), **_serving_container(pod, port["port"])}
                yield {"targets": [f"{address['ip']}:{port['port']}"], "labels": labels}


def _pod_labels(pod: Object) -> Labels:
    return {
        f"{META}namespace": pod["metadata"]["namespace"],
        f"{META}pod_name": pod["metadata"]["name"],
        f"{META}pod_phase": pod["status"]["phase"],
        **_sanitized("pod", pod["metadata"]),
    }


def _container_labels(name: str, port: Object) -> Labels:
    return {f"{META}pod_container_name": name, f"{META}pod_container_port_name": port.get("name", "")}


def _serving_container(pod: Object, number: int) -> Labels:
    for container in pod["spec"]["containers"]:
        for port in container.get("ports", []):
            if port["containerPort"] == number:
                return _container_labels(container["name"], port)
    return {}


def _sanitized(what: str, metadata: Object) -> Labels:
    found: Labels = {}
    for name, value in metadata.get("labels", {}).items():
        found[f"{META}{what}_label_{sanitized(name)}"] = value
        found[f"{META}{what}_labelpresent_{sanitized(name)}"] = "true"
    return found


def sanitized(label: str) -> str:
    return re.sub(r"[^a-zA-Z0-9_]", "_", label)
