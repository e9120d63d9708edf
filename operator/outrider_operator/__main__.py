"""`outrider-operator`: brings every SpeculativeModel of a cluster, or of some namespaces, to what its spec says."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import ssl
import sys
import uuid
from pathlib import Path
from typing import Annotated, NamedTuple

import structlog
import typer
from prometheus_client import CollectorRegistry

from outrider_operator import logs
from outrider_operator.autoscaling.prometheus import Address, trusting
from outrider_operator.controller import Controller
from outrider_operator.kube.client import Kube
from outrider_operator.kube.leader import LeaderLost, lead
from outrider_operator.kube.login import Login, NoCluster, client, configuration
from outrider_operator.metrics import OperatorMetrics, ScalingMetrics
from outrider_operator.probes import serve_probes
from outrider_operator.reconcile.queue import WorkQueue
from outrider_operator.reconcile.store import Key
from outrider_operator.resources.platform import Platform, default_image
from outrider_operator.terminal import UNUSABLE, fail, show_error

log = structlog.get_logger()

LEASE = "outrider-operator"
OWN_NAMESPACE = Path("/var/run/secrets/kubernetes.io/serviceaccount/namespace")


class Lease(NamedTuple):
    """Where it is written who leads."""

    namespace: str
    name: str


app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@app.command(epilog="Example: outrider-operator --namespace chat --namespace search")
def operate(
    namespace: Annotated[
        list[str] | None, typer.Option("--namespace", "-n", help="Only this namespace; several times for several.")
    ] = None,
    image_target: Annotated[str | None, typer.Option(help="Image of the targets.")] = None,
    image_draft: Annotated[str | None, typer.Option(help="Image of the drafts.")] = None,
    model_mirror: Annotated[
        str | None, typer.Option(help="Folder in the containers, or URL, laid out as org/name; before the hub.")
    ] = None,
    prometheus: Annotated[
        str | None,
        typer.Option(metavar="URL", help="Read the pods' figures from this Prometheus. Default: from the pods."),
    ] = None,
    prometheus_token_file: Annotated[
        Path | None, typer.Option(help="File with the token for it, such as the ServiceAccount's.")
    ] = None,
    prometheus_ca_file: Annotated[
        Path | None, typer.Option(help="File with the authority of its certificate, where the system does not know it.")
    ] = None,
    lease_namespace: Annotated[
        str | None, typer.Option(help="Where the Lease of the leader is. Default: the pod's own namespace.")
    ] = None,
    lease_name: Annotated[
        str, typer.Option(help="Name of that Lease. Operators of one name lead in turn, of two names both at once.")
    ] = LEASE,
    context: Annotated[str | None, typer.Option(help="Context of the KUBECONFIG.")] = None,
    host: Annotated[str, typer.Option(help="Address of the probes.")] = "0.0.0.0",
    port: Annotated[int, typer.Option(min=1, max=65535, help="Port of /metrics, /healthz and /readyz.")] = 8080,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Log every reconcile.")] = False,
) -> None:
    """Brings every SpeculativeModel to what its spec says. Of several replicas one works, the others wait.

    One that loses the Lease, because the server was away for long, waits for its turn again.
    """
    logs.configure(verbose)
    platform = Platform(
        target_image=image_target or default_image(),
        draft_image=image_draft or default_image(),
        model_mirror=model_mirror,
        operator_namespace=_own_namespace(),
    )
    source = _prometheus(prometheus, prometheus_token_file, prometheus_ca_file)
    try:
        lease = Lease(lease_namespace or _own_namespace(), lease_name)
        asyncio.run(_run(platform, namespace or [], lease, context, host, port, source))
    except NoCluster as error:
        show_error(str(error))
        raise typer.Exit(UNUSABLE) from None
    except KeyboardInterrupt:
        raise typer.Exit(130) from None
    except asyncio.CancelledError:
        pass  # SIGTERM, while it waited for its turn


def _prometheus(url: str | None, token_file: Path | None, ca_file: Path | None) -> Address | None:
    """Where it is. Ends the command where that cannot be."""
    if url is None:
        if token_file is not None or ca_file is not None:
            fail("--prometheus-token-file and --prometheus-ca-file are for --prometheus; give its URL too")
        return None
    if not url.startswith(("http://", "https://")):
        fail(f"--prometheus: {url!r} is no address; write it as https://thanos-querier.openshift-monitoring.svc:9091")
    for flag, path in (("--prometheus-token-file", token_file), ("--prometheus-ca-file", ca_file)):
        if path is not None and not path.is_file():
            fail(f"{flag}: there is no file {path}; mount it, or name another")
    try:
        return Address(url, token_file, trusting(ca_file))
    except ssl.SSLError:
        fail(f"--prometheus-ca-file: {ca_file} has no certificate that can be read; give one in PEM")


def _own_namespace() -> str:
    try:
        return OWN_NAMESPACE.read_text(encoding="utf-8").strip()
    except OSError:
        return "default"


async def _run(
    platform: Platform,
    namespaces: list[str],
    lease: Lease,
    context: str | None,
    host: str,
    port: int,
    prometheus: Address | None,
) -> None:
    found = await configuration(context)
    registry = CollectorRegistry()
    queue: WorkQueue[Key] = WorkQueue()
    metrics = OperatorMetrics(registry, lambda: len(queue))
    scaling = ScalingMetrics(registry)
    # A host's name is a pod's; two processes of one host are told apart as well.
    identity = f"{socket.gethostname()}_{uuid.uuid4().hex[:8]}"
    probes = await serve_probes(registry, host, port, lambda: True)
    try:
        async with client(found) as api:

            async def work() -> None:
                log.info("leading", identity=identity, namespaces=namespaces or "all", pid=os.getpid())
                # What an earlier term knew may be old by now.
                login = Login(found).credentials
                kube = Kube(api, metrics.called)
                await Controller(kube, platform, metrics, scaling, queue, login, prometheus).run(namespaces, identity)

            waiting = asyncio.current_task()
            assert waiting is not None
            while True:
                # Process 1 of a container ignores SIGTERM unless told otherwise. kopf takes the signal while it works,
                # and does not give it back.
                asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, waiting.cancel)
                try:
                    return await lead(api, lease.name, lease.namespace, identity, work, metrics.leading)
                except LeaderLost as error:
                    log.warning("not leading", reason=str(error))
    finally:
        await probes.cleanup()


def main() -> None:
    sys.exit(app())


if __name__ == "__main__":
    main()
