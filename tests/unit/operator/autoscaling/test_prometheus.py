"""The same signals from a Prometheus: who may ask, what is asked, and what is made of its answers."""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from outrider_operator.autoscaling.prometheus import LABEL, METRIC, WINDOW_S, Address, Prometheus, query, trusting
from outrider_operator.autoscaling.signals import WANTED, signals, speaking
from outrider_operator.autoscaling.source import Read
from support.certificates import authority, identity_files
from support.pod_pages import ready_pod

ONE, TWO = ready_pod("one", 8000), ready_pod("two", 8000)


def sample(pod_name: str, metric: str, value: float | str, **labels: str) -> dict[str, Any]:
    """label: what the query calls the metric's own label."""
    named = {"namespace": "chat", "pod": pod_name, METRIC: metric}
    named |= {LABEL: labels["label"]} if "label" in labels else labels
    return {"metric": named, "value": [1700000000.0, str(value)]}


class StandIn:
    """As much of Prometheus as is asked: one query, of a bearer of its token."""

    def __init__(self) -> None:
        self.token: str | None = None
        self.result: Any = []
        self.status = 200
        self.body: str | None = None
        self.queries: list[str] = []
        self.url = ""

    async def answer(self, request: web.Request) -> web.Response:
        if self.token is not None and request.headers.get("Authorization") != f"Bearer {self.token}":
            return web.Response(status=401, text=f"Unauthorized: {request.headers.get('Authorization')}")
        self.queries.append(str((await request.post())["query"]))
        if self.body is not None:
            return web.Response(status=self.status, text=self.body)
        content = {"status": "success", "data": {"resultType": "vector", "result": self.result}}
        return web.json_response(content, status=self.status)


@asynccontextmanager
async def stand_in(tls: ssl.SSLContext | None = None) -> AsyncIterator[StandIn]:
    served = StandIn()
    app = web.Application()
    app.router.add_post("/api/v1/query", served.answer)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=tls).start()
    served.url = f"{'http' if tls is None else 'https'}://127.0.0.1:{runner.addresses[0][1]}"
    try:
        yield served
    finally:
        await runner.cleanup()


async def read(address: Address, *pods: Any) -> Read:
    async with Prometheus(address, lambda *_: None, clock=lambda: 500.0) as prometheus:
        return await prometheus.read(pods or (ONE, TWO))


async def test_what_it_has_of_a_pod_becomes_its_signals() -> None:
    async with stand_in() as served:
        served.result = [
            sample("one", "requests_arrived_total", 240),
            sample("one", "generation_tokens_total", 1200),
            sample("one", "spec_decode_num_drafts_total", 100),
            sample("one", "spec_decode_num_accepted_tokens_per_pos_total", 80, label="0"),
            sample("one", "spec_decode_num_accepted_tokens_per_pos_total", 40, label="1"),
            sample("one", "num_requests_running", 3.5),
            sample("one", "max_num_seqs", 8),
            sample("one", "speculation_goodput_gain", 1.25),
            sample("one", "speculation_allowed", 0),
            sample("one", "step_time_seconds", 0.02, label="1"),
            sample("one", "step_time_seconds", 0.05, label="512"),
            sample("one", "inter_token_latency_seconds_bucket", 50, le="0.05"),
            sample("one", "inter_token_latency_seconds_bucket", 100, le="0.1"),
            sample("one", "inter_token_latency_seconds_bucket", 100, le="+Inf"),
            sample("one", "kv_cache_usage_perc", "NaN"),
            sample("another", "generation_tokens_total", 99),
        ]
        found = await read(Address(served.url))
    assert set(found.readings) == {"one"}
    made = signals([found.readings["one"]], [])
    assert made is not None
    assert (made.window_s, made.pods) == (WINDOW_S, 1)
    assert (made.requests_per_s, made.generated_tokens_per_s) == (2, 10)
    assert (made.running, made.max_sequences, made.gain, made.kv_usage) == (3.5, 8, 1.25, 0)
    assert made.path_acceptance == (0.8, 0.4)
    assert made.itl_p95_s == pytest.approx(0.05 + 0.9 * 0.05)
    assert made.step_time is not None
    assert made.step_time.curve == ((1.0, 0.02), (512.0, 0.05))
    assert speaking([found.readings["one"]]).allowed == 0


@pytest.mark.parametrize(
    "stray",
    [
        pytest.param({"namespace": "chat", METRIC: "max_num_seqs"}, id="no pod: a recording rule, or federation"),
        pytest.param({"pod": "one", METRIC: "max_num_seqs"}, id="no namespace"),
        pytest.param({"namespace": "chat", "pod": "one"}, id="no metric"),
        pytest.param({"namespace": "chat", "pod": "one", METRIC: "time_to_first_token_seconds_bucket"}, id="no bound"),
        *(
            pytest.param(
                {"namespace": "chat", "pod": "one", METRIC: "time_to_first_token_seconds_bucket", "le": bound},
                id=f"a bound of {bound}",
            )
            for bound in ("fast", "NaN")
        ),
    ],
)
async def test_a_stray_series_blinds_no_model(stray: dict[str, str]) -> None:
    async with stand_in() as served:
        served.result = [
            {"metric": stray, "value": [1700000000.0, "1"]},
            sample("one", "requests_arrived_total", 240),
            sample("one", "time_to_first_token_seconds_bucket", 10, le="+Inf"),
        ]
        found = await read(Address(served.url), ONE)
    assert found.failures == {}
    _, last = found.readings["one"]
    assert last.values == {"requests_arrived_total": 240}
    assert last.buckets == {"time_to_first_token_seconds": {float("inf"): 10}}


async def test_a_pod_that_it_has_nothing_of_is_told_with_what_to_look_at() -> None:
    async with stand_in() as served:
        served.result = [sample("one", "num_requests_running", 1)]  # read once: nothing can have grown yet
        found = await read(Address(served.url))
    assert found.readings == {}
    assert "PodMonitor" in found.failures["one"]


async def test_the_token_is_read_anew_each_time(tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text("first\n", encoding="utf-8")
    async with stand_in() as served:
        served.token = "first"
        served.result = [sample("one", "requests_arrived_total", 1)]
        async with Prometheus(Address(served.url, token), lambda *_: None) as prometheus:
            assert (await prometheus.read([ONE])).failures == {}
            served.token = "second"
            assert (await prometheus.read([ONE])).failures == {"one": "Prometheus: status 401"}
            token.write_text("second\n", encoding="utf-8")
            assert (await prometheus.read([ONE])).failures == {}


async def test_a_token_is_in_no_message(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    token = tmp_path / "token"
    token.write_text("not-to-be-seen", encoding="utf-8")
    async with stand_in() as served:
        served.token = "another"  # the refusal repeats what it was given
        refused = await read(Address(served.url, token), ONE)
    away = await read(Address(served.url, token), ONE)
    missing = await read(Address(served.url, tmp_path / "no token"), ONE)
    told = [refused.failures["one"], away.failures["one"], missing.failures["one"], *capsys.readouterr()]
    assert not [each for each in told if "not-to-be-seen" in each]
    assert missing.failures["one"] == "Prometheus: FileNotFoundError: No such file or directory"


@pytest.mark.parametrize(
    ("status", "body", "said"),
    [
        (400, '{"status":"error","error":"parse error at char 7"}', "status 400: parse error at char 7"),
        (503, "busy", "status 503"),
        (200, "<html>", "what it sends is no answer to a query"),
        (200, '{"data":{"result":[{"metric":{}}]}}', "what it sends is no vector of pods"),
        (302, "", "status 302"),
    ],
)
async def test_what_is_no_answer_is_an_outage_that_says_why(status: int, body: str, said: str) -> None:
    async with stand_in() as served:
        served.status, served.body = status, body
        found = await read(Address(served.url), ONE)
    assert found.readings == {}
    assert found.failures == {"one": f"Prometheus: {said}"}


async def test_its_certificate_must_be_of_an_authority_that_is_trusted(tmp_path: Path) -> None:
    signing = authority()
    # The certificate names 127.0.0.1 nowhere: names are not what this is about.
    for name, content in identity_files(signing).items():
        (tmp_path / name).write_bytes(content)
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(tmp_path / "tls.crt", tmp_path / "tls.key")
    trusts = trusting(tmp_path / "ca.crt")
    trusts.check_hostname = False
    async with stand_in(tls) as served:
        served.result = [sample("one", "requests_arrived_total", 1)]
        assert (await read(Address(served.url), ONE)).failures["one"].startswith("Prometheus: ClientConnector")
        assert (await read(Address(served.url, tls=trusts), ONE)).failures == {}


async def test_pods_of_all_namespaces_are_asked_for_at_once_and_no_pods_not_at_all() -> None:
    async with stand_in() as served:
        await read(Address(served.url), ONE, replace(TWO, namespace="search"))
        assert len(served.queries) == 1
        assert '{namespace=~"chat|search",pod!=""}' in served.queries[0]
        async with Prometheus(Address(served.url), lambda *_: None) as prometheus:
            assert await prometheus.read([]) == Read()
        assert len(served.queries) == 1


def test_the_query_asks_for_all_that_signals_are_made_of() -> None:
    asked = query(["chat"])
    assert {name for name in WANTED if f"outrider_{name}" not in asked} == set()
    assert asked.count("(") == asked.count(")")
