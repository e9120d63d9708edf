"""The names of a cluster's Services, as every cluster's DNS has them: dnsmasq answers, out of a hosts file that follows
the Services and their Endpoints.
"""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Any

import httpx

from cluster.access import access
from cluster.addresses import DOMAIN, NODE
from cluster.programs import Programs

PROGRAM = "dnsmasq"
Item = dict[str, Any]


def hosts(services: list[Item], endpoints: list[Item]) -> str:
    """A line for each address of each Service: its own, or, of a headless one, those of its pods that are ready."""
    ready = {_key(item): _addresses(item) for item in endpoints}
    lines = []
    for service in services:
        own = service["spec"].get("clusterIP")
        addresses = ready.get(_key(service), []) if own == "None" else [own] if own else []
        namespace, name = _key(service)
        lines += [f"{address} {name}.{namespace}.svc.{DOMAIN}\n" for address in addresses]
    return "".join(sorted(lines))


def _key(item: Item) -> tuple[str, str]:
    return item["metadata"]["namespace"], item["metadata"]["name"]


def _addresses(endpoints: Item) -> list[str]:
    subsets = endpoints.get("subsets") or []
    return [address["ip"] for subset in subsets for address in subset.get("addresses") or []]


class Names:
    """dnsmasq on the node, port 53, and what it knows."""

    def __init__(self, programs: Programs, kubeconfig: Path, folder: Path) -> None:
        """kubeconfig: of who may list Services and Endpoints."""
        self._client = httpx.Client(
            **access(kubeconfig),
            trust_env=False,
        )
        self._programs = programs
        self._hosts = folder / "hosts"
        self._written = ""

    def start(self) -> None:
        """Knows nobody until the first `follow`."""
        self._hosts.write_text("", encoding="utf-8")
        self._programs.start(
            PROGRAM,
            [
                "dnsmasq",
                "--keep-in-foreground",
                "--conf-file=/dev/null",
                "--log-facility=-",
                "--pid-file=",
                "--user=root",  # another user could not read the file in root's cache
                "--no-resolv",
                "--no-hosts",
                f"--addn-hosts={self._hosts}",
                f"--local=/{DOMAIN}/",
                f"--listen-address={NODE}",
                "--bind-interfaces",
            ],
        )

    def follow(self) -> None:
        """Has the file say what there is now. While the API server does not answer it stays as it is."""
        try:
            said = hosts(self._list("services"), self._list("endpoints"))
        except httpx.HTTPError:
            return
        if said != self._written:
            self._hosts.write_text(said, encoding="utf-8")
            self._programs.signal(PROGRAM, signal.SIGHUP)
            self._written = said

    def _list(self, plural: str) -> list[Item]:
        items: list[Item] = self._client.get(f"/api/v1/{plural}").raise_for_status().json()["items"]
        return items
