"""/metrics, /healthz and /readyz of the operator."""

from __future__ import annotations

from collections.abc import Callable

from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest


async def serve_probes(registry: CollectorRegistry, host: str, port: int, healthy: Callable[[], bool]) -> web.AppRunner:
    """Answers until the runner that is given back is cleaned up. Raises OSError where the port is taken.

    A replica that waits for its turn is ready: it does what it is there for.
    """

    async def metrics(_: web.Request) -> web.Response:
        return web.Response(body=generate_latest(registry), headers={"Content-Type": CONTENT_TYPE_LATEST})

    async def health(_: web.Request) -> web.Response:
        good = healthy()
        return web.Response(text="ok\n" if good else "failing\n", status=200 if good else 503)

    app = web.Application()
    app.add_routes([web.get("/metrics", metrics), web.get("/healthz", health), web.get("/readyz", health)])
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, host, port).start()
    return runner
