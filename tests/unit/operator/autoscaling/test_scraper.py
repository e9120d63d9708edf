"""Pods read over real HTTP: each on its own, within bounds, and one that fails takes no other along."""

from __future__ import annotations

import ssl
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import pytest
from outrider_operator.autoscaling import pages as pages_module
from outrider_operator.autoscaling import timing
from outrider_operator.autoscaling.pages import NoPage, Pages, url_of
from outrider_operator.autoscaling.scraper import Scraper
from support.certificates import authority, identity_files
from support.pod_pages import Answers, FakeTarget, answering, page, ready_pod

GOOD = page({"num_requests_running": 3})


class Served:
    """Answers at free ports for as long as the test lasts."""

    def __init__(self, stack: ExitStack) -> None:
        self._stack = stack

    def __call__(self, answers: Answers, tls: ssl.SSLContext | None = None) -> int:
        return self._stack.enter_context(answering("127.0.0.1", 0, answers, tls))


@pytest.fixture
def served() -> Iterator[Served]:
    with ExitStack() as stack:
        yield Served(stack)


@pytest.fixture
async def pages() -> AsyncIterator[Pages]:
    async with Pages() as running:
        yield running


class Clock:
    def __init__(self) -> None:
        self.now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


async def test_each_pod_that_answers_has_its_readings_and_each_that_does_not_its_reason(
    served: Served, pages: Pages
) -> None:
    good = ready_pod("good", served(lambda _: GOOD))
    failing = ready_pod("failing", served(lambda _: 500))
    wrong = ready_pod("wrong", served(lambda _: "<html>sign in</html>"))
    counted: list[bool] = []
    scraper = Scraper(pages, lambda well, _: counted.append(well))
    found = await scraper.read([good, failing, wrong])
    assert [each.values["num_requests_running"] for each in found.readings["good"]] == [3]
    assert found.failures == {"failing": "status 500", "wrong": "what it sends is no metrics"}
    assert sorted(counted) == [False, False, True]


async def test_a_page_that_no_parser_expects_is_its_own_pod_s_failure(served: Served, pages: Pages) -> None:
    endless = ready_pod("endless", served(lambda _: "outrider_requests_arrived_total 1" + "0" * 310 + "\n"))
    nameless = ready_pod("nameless", served(lambda _: 'outrider_requests_arrived_total{a="",  ="0"} 1\n'))
    good = ready_pod("good", served(lambda _: GOOD))
    found = await Scraper(pages, lambda *_: None).read([endless, nameless, good])
    assert set(found.readings) == {"good"}
    assert set(found.failures.values()) == {"what it sends is no metrics"}
    assert set(found.failures) == {"endless", "nameless"}


async def test_an_empty_page_is_no_reading_and_what_came_before_stands(served: Served, pages: Pages) -> None:
    sent = iter((page({"requests_arrived_total": 500_000}), "", page({"requests_arrived_total": 500_030})))
    one, clock = ready_pod("one", served(lambda _: next(sent))), Clock()
    scraper = Scraper(pages, lambda *_: None, clock)
    for _ in range(3):
        found = await scraper.read([one])
        clock.now_s += timing.TICK_S
    assert [each.values["requests_arrived_total"] for each in found.readings["one"]] == [500_000, 500_030]


async def test_a_window_has_a_minute_of_readings_and_one_before(served: Served, pages: Pages) -> None:
    clock, target = Clock(), FakeTarget()
    scraper = Scraper(pages, lambda *_: None, clock)
    one = ready_pod("one", served(target.answer))
    for _ in range(9):
        found = await scraper.read([one])
        clock.now_s += timing.TICK_S
    times = [each.at_s for each in found.readings["one"]]
    assert times[-1] - times[0] == timing.WINDOW_S


async def test_one_reading_that_fails_is_no_outage_and_a_silence_is(served: Served, pages: Pages) -> None:
    clock, target = Clock(), FakeTarget()
    scraper = Scraper(pages, lambda *_: None, clock)
    one = ready_pod("one", served(target.answer))
    await scraper.read([one])
    target.broken = True
    clock.now_s += timing.TICK_S
    found = await scraper.read([one])
    assert "one" in found.readings
    assert found.failures == {"one": "status 500"}
    clock.now_s += 2 * timing.TICK_S
    assert (await scraper.read([one])).readings == {}


async def test_after_a_long_silence_the_window_begins_anew(served: Served, pages: Pages) -> None:
    clock, target = Clock(), FakeTarget()
    scraper = Scraper(pages, lambda *_: None, clock)
    one = ready_pod("one", served(target.answer))
    await scraper.read([one])
    clock.now_s += 10 * timing.WINDOW_S
    assert len((await scraper.read([one])).readings["one"]) == 1


async def test_a_pod_that_is_not_asked_for_any_more_is_forgotten(served: Served, pages: Pages) -> None:
    one = ready_pod("one", served(FakeTarget().answer))
    scraper = Scraper(pages, lambda *_: None)
    await scraper.read([one])
    assert (await scraper.read([])).readings == {}
    assert len((await scraper.read([one])).readings["one"]) == 1


async def test_a_container_that_was_started_again_is_another_run(served: Served, pages: Pages) -> None:
    port = served(FakeTarget().answer)
    scraper = Scraper(pages, lambda *_: None)
    await scraper.read([ready_pod("one", port, restarts=0)])
    found = await scraper.read([ready_pod("one", port, restarts=1)])
    assert [each.run for each in found.readings["one"]] == [0, 1]


async def test_https_is_asked_where_the_pod_speaks_it_whoever_its_certificate_names(
    served: Served, pages: Pages, tmp_path: Path
) -> None:
    for name, content in identity_files(authority()).items():
        (tmp_path / name).write_bytes(content)
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(tmp_path / "tls.crt", tmp_path / "tls.key")
    port = served(lambda _: GOOD, tls)
    assert await pages.get(ready_pod("one", port, https=True), "/metrics") == GOOD


def test_a_pod_is_asked_by_its_address_of_either_family() -> None:
    four = ready_pod("one", 8000)
    assert url_of(four, "/metrics") == "http://127.0.0.1:8000/metrics"
    assert url_of(replace(four, ip="fd00::7", https=True), "/health") == "https://[fd00::7]:8000/health"


async def test_a_redirect_is_not_followed(served: Served, pages: Pages) -> None:
    with pytest.raises(NoPage, match="status 302"):
        await pages.get(ready_pod("one", served(lambda _: 302)), "/metrics")


async def test_a_pod_that_sends_without_end_is_cut_off(
    served: Served, pages: Pages, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pages_module, "LARGEST_BYTES", 1000)
    with pytest.raises(NoPage, match="more than 1000 bytes"):
        await pages.get(ready_pod("one", served(lambda _: "x" * 5000)), "/metrics")


async def test_a_pod_that_hangs_is_given_up_and_the_others_are_read_meanwhile(served: Served, pages: Pages) -> None:
    """The deadline is not made shorter: it is the good one's too, on a machine that may be busy."""
    over = threading.Event()

    def hang(_: str) -> str:
        over.wait()
        return GOOD

    scraper = Scraper(pages, lambda *_: None)
    try:
        found = await scraper.read([ready_pod("hangs", served(hang)), ready_pod("good", served(lambda _: GOOD))])
    finally:
        over.set()
    assert found.failures == {"hangs": f"no answer within {timing.DEADLINE_S:.0f} s"}
    assert set(found.readings) == {"good"}
