"""What the roles say of themselves over HTTP, kept long enough to compute rates over a window."""

import asyncio
import time
from collections.abc import Iterable
from dataclasses import dataclass

import httpx

from outrider_operator.local.rates import DraftRates, TargetRates, draft_rates, target_rates
from outrider_operator.local.role import Phase, Role, RoleStatus
from outrider_operator.measure.links import DraftLink, parse_links
from outrider_operator.measure.scrape import parse_scrape
from outrider_operator.measure.window import Window

TIMEOUT_S = 2.0


@dataclass(frozen=True)
class RoleView:
    """One row of the table."""

    name: str  # target, draft, or of several drafts draft-1, draft-2 …
    status: RoleStatus
    rates: TargetRates | DraftRates | None = None  # None: nothing measured yet
    link: DraftLink | None = None  # of a draft, once the target speaks of it

    @property
    def is_target(self) -> bool:
        return self.name == "target"


class Observer:
    """Reads /metrics of every role and /health of the target."""

    def __init__(self, roles: Iterable[Role]) -> None:
        self._roles = {role.plan.name: role for role in roles}
        self._windows = {name: Window() for name in self._roles}
        self._links: dict[str, DraftLink] = {}
        self._client = httpx.AsyncClient(timeout=TIMEOUT_S, trust_env=False)

    async def close(self) -> None:
        """Closes the connections."""
        await self._client.aclose()

    async def read(self) -> None:
        """Takes one reading of everything that answers."""
        await asyncio.gather(*(self._scrape(role) for role in self._roles.values()), self._read_links())

    def views(self) -> list[RoleView]:
        """The rows as last read, the target first."""
        return [self._view(name, role) for name, role in self._roles.items()]

    def _view(self, name: str, role: Role) -> RoleView:
        ends = self._windows[name].ends()
        if name == "target":
            return RoleView(name, role.status, target_rates(*ends) if ends else None)
        link = self._links.get(role.plan.grpc_address or "")
        return RoleView(name, role.status, draft_rates(*ends) if ends else None, link)

    async def _scrape(self, role: Role) -> None:
        window = self._windows[role.plan.name]
        if role.status.phase is not Phase.READY:
            window.clear()
            return
        run = role.status.run
        text = await self._get(f"{role.plan.http_url}/metrics")
        if text is not None:
            try:
                window.add(parse_scrape(text.text, time.monotonic(), run))
            except ValueError:
                window.clear()

    async def _read_links(self) -> None:
        target = self._roles["target"]
        answer = None
        if target.status.phase is Phase.READY:
            answer = await self._get(f"{target.plan.http_url}/health")
        try:
            self._links = parse_links(answer.json()) if answer is not None else {}
        except ValueError:
            self._links = {}

    async def _get(self, url: str) -> httpx.Response | None:
        try:
            return await self._client.get(url)
        except httpx.HTTPError:
            return None
