"""What the roles say of themselves over HTTP, kept long enough to compute rates over a window."""

import asyncio
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import httpx

from outrider_operator.autoscaling import timing
from outrider_operator.local.rates import DraftRates, TargetRates, draft_rates, target_rates
from outrider_operator.local.role import Phase, Role, RoleStatus
from outrider_operator.measure.links import DraftLink, parse_links
from outrider_operator.measure.scrape import Scrape, parse_scrape
from outrider_operator.measure.window import Window

TIMEOUT_S = 2.0


@dataclass(frozen=True)
class RoleView:
    """One row of the table."""

    name: str  # target, draft, or of several draft-1, draft-2 …
    status: RoleStatus
    rates: TargetRates | DraftRates | None = None  # None: nothing measured yet
    link: DraftLink | None = None  # of a draft, once a target speaks of it

    @property
    def is_target(self) -> bool:
        return self.name.startswith("target")


@dataclass(frozen=True)
class Kept:
    """The readings of one role."""

    shown: Window = field(default_factory=Window)
    decided: Window = field(default_factory=lambda: Window(timing.WINDOW_S))

    def add(self, scrape: Scrape) -> None:
        self.shown.add(scrape)
        before = self.decided.ends()
        # After a longer silence the window would be of a time that nobody asks about.
        if before is not None and scrape.at_s - before[1].at_s > timing.WINDOW_S:
            self.decided.clear()
        self.decided.add(scrape)

    def clear(self) -> None:
        self.shown.clear()
        self.decided.clear()


class Observer:
    """Reads /metrics of every role and /health of the targets."""

    def __init__(self, roles: Callable[[], Sequence[Role]], clock: Callable[[], float] = time.monotonic) -> None:
        """roles: those that run now."""
        self._roles = roles
        self._clock = clock
        self._kept: dict[Role, Kept] = {}
        self._links: dict[str, DraftLink] = {}
        self._client = httpx.AsyncClient(timeout=TIMEOUT_S, trust_env=False)

    async def close(self) -> None:
        """Closes the connections."""
        await self._client.aclose()

    async def read(self) -> None:
        """Takes one reading of everything that answers."""
        roles = self._roles()
        self._kept = {role: self._kept.get(role, Kept()) for role in roles}
        targets = [role for role in roles if role.plan.role == "target" and role.status.phase is Phase.READY]
        links = asyncio.gather(*map(self._read_links, targets))
        await asyncio.gather(links, *map(self._scrape, roles))
        self._links = _worst(links.result())

    def views(self) -> list[RoleView]:
        """The rows as last read, the targets first."""
        return [self._view(role) for role in self._roles()]

    def readings(self, role: str) -> list[tuple[Scrape, ...]]:
        """Of each ready process of a role those of the last minute, the oldest first; of one that has not answered for
        a while none, and the last alone before a tick has passed: a rate of two seconds is one of the moment.
        """
        ready = [each for each in self._roles() if each.plan.role == role and each.status.phase is Phase.READY]
        kept = (self._kept[each].decided.readings() for each in ready if each in self._kept)
        oldest_s = self._clock() - timing.FRESH_S
        fresh = (each for each in kept if each and each[-1].at_s >= oldest_s)
        return [each if each[-1].at_s - each[0].at_s >= timing.TICK_S else each[-1:] for each in fresh]

    def _view(self, role: Role) -> RoleView:
        kept = self._kept.get(role)
        ends = kept.shown.ends() if kept is not None else None
        if role.plan.role == "target":
            return RoleView(role.plan.name, role.status, target_rates(*ends) if ends else None)
        link = self._links.get(role.plan.grpc_address or "")
        return RoleView(role.plan.name, role.status, draft_rates(*ends) if ends else None, link)

    async def _scrape(self, role: Role) -> None:
        kept = self._kept[role]
        if role.status.phase not in (Phase.READY, Phase.DRAINING):
            kept.clear()
            return
        run = role.status.run
        text = await self._get(f"{role.plan.http_url}/metrics")
        if text is not None:
            try:
                kept.add(parse_scrape(text.text, self._clock(), run))
            except ValueError:
                kept.shown.clear()  # for decisions one reading that fails is no outage

    async def _read_links(self, target: Role) -> dict[str, DraftLink]:
        answer = await self._get(f"{target.plan.http_url}/health")
        try:
            return parse_links(answer.json()) if answer is not None else {}
        except ValueError:
            return {}

    async def _get(self, url: str) -> httpx.Response | None:
        try:
            return await self._client.get(url)
        except httpx.HTTPError:
            return None


def _worst(links: Iterable[Mapping[str, DraftLink]]) -> dict[str, DraftLink]:
    """What the targets say of each draft; where they differ, what is not as it should be."""
    said: dict[str, DraftLink] = {}
    for of_target in links:
        for address, link in of_target.items():
            if address not in said or said[address].state == "Connected":
                said[address] = link
    return said
