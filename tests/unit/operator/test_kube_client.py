"""Calls to the API server: whatever answers, a caller gets an object or a KubeError."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest
from aiohttp import web
from kubernetes.aio.client import ApiClient, Configuration
from outrider_operator.kube.client import Kube
from outrider_operator.kube.errors import KubeError
from outrider_operator.kube.kinds import DEPLOYMENT


def with_answer(answer: Callable[[], web.Response], scenario: Callable[[Kube], Awaitable[None]]) -> None:
    """Runs the scenario against a server that answers everything with this."""

    async def answering(_: web.Request) -> web.Response:
        return answer()

    async def run() -> None:
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", answering)
        runner = web.AppRunner(app)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        configuration = Configuration()
        configuration.host = f"http://127.0.0.1:{runner.addresses[0][1]}"
        async with ApiClient(configuration) as api:
            await scenario(Kube(api))
        await runner.cleanup()

    asyncio.run(run())


def test_a_page_instead_of_an_object_is_a_failure_that_passes() -> None:
    async def scenario(kube: Kube) -> None:
        with pytest.raises(
            KubeError, match="GET /apis/apps/v1/namespaces/chat/deployments/a: the answer is no JSON"
        ) as got:
            await kube.get(DEPLOYMENT, "chat", "a")
        assert got.value.passing

    with_answer(lambda: web.Response(text="<html>maintenance</html>", content_type="text/html"), scenario)


def test_of_an_api_that_is_there_in_part_the_kinds_are_told_apart() -> None:
    resources = [
        {"name": "podmonitors", "kind": "PodMonitor"},
        {"name": "podmonitors/status", "kind": "PodMonitor"},
        {"name": "prometheuses/scale", "kind": "Scale"},
    ]

    async def scenario(kube: Kube) -> None:
        assert await kube.kinds("monitoring.coreos.com/v1") == {"PodMonitor"}

    with_answer(lambda: web.json_response({"resources": resources}), scenario)


@pytest.mark.parametrize("said", [{"resources": None}, {}])
def test_of_an_api_that_names_no_resources_there_are_no_kinds(said: dict[str, None]) -> None:
    async def scenario(kube: Kube) -> None:
        assert await kube.kinds("monitoring.coreos.com/v1") == frozenset()

    with_answer(lambda: web.json_response(said), scenario)


def test_of_an_api_that_is_not_there_there_are_no_kinds() -> None:
    async def scenario(kube: Kube) -> None:
        assert await kube.kinds("monitoring.coreos.com/v1") == frozenset()

    with_answer(lambda: web.Response(status=404, text="404 page not found"), scenario)
