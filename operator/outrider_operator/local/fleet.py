"""The processes of a run: as many of each role as are wanted, started and ended while the others serve.

Who is to be reached is told to those that reach them: the ready targets to the Service, the drafts to the targets, by a
file that these follow.
"""

import asyncio
import itertools
from collections.abc import Callable, Mapping
from pathlib import Path

from outrider_operator.local.errors import LocalError
from outrider_operator.local.files import replace_file, try_replace_file
from outrider_operator.local.plan import Plan, Ports, Template
from outrider_operator.local.pod import ProcessPlan
from outrider_operator.local.ports import HeldPorts
from outrider_operator.local.role import Phase, Role
from outrider_operator.local.service import Service
from outrider_operator.resources.platform import Network

# From the last new connection that a target gets until it is asked to end: one that was passed on last has sent its
# request by then, and is waited for.
LEAVING_S = 1.0
LAST_PORT = 65535


class Fleet:
    """The processes of all roles."""

    def __init__(
        self, plan: Plan, log_folder: Path, user_env: Mapping[str, str], on_change: Callable[[Role], None]
    ) -> None:
        """Nothing is started yet. Raises LocalError when a command is not installed or the endpoint's port is taken."""
        self._plan = plan
        self._log_folder = log_folder
        self._user_env = user_env
        self._on_change = on_change
        self._roles: list[Role] = []
        self._supervised: dict[Role, asyncio.Task[None]] = {}  # in the order in which they began
        self._leaving: dict[Role, asyncio.Task[None]] = {}
        self._drafts = ""
        self._held = HeldPorts()
        if not self._held.hold(plan.port):
            raise _refusal(plan.port, "is that of another run of outrider up, which may be loading still")
        for template in plan.templates:
            for _ in range(template.counts.first):
                self._add(template)
        self._service = self._make_service() if plan.has_service else None
        self._serving: asyncio.Task[None] | None = None

    @property
    def roles(self) -> list[Role]:
        """All, those that end included, in the order in which they are shown."""
        order = [template.role for template in self._plan.templates]
        return sorted(self._roles, key=lambda role: (order.index(role.plan.role), role.plan.number))

    def staying(self, role: str) -> list[Role]:
        """The processes of a role that are wanted."""
        return [each for each in self.roles if each.plan.role == role and each not in self._leaving]

    def start(self) -> None:
        """Begins to run what is wanted at first."""
        replace_file(self._plan.drafts_file, self._drafts)
        self._tell()
        if self._service is not None:
            self._serving = asyncio.create_task(self._serve(self._service))
        for role in list(self._roles):
            self._begin(role)

    def scale(self, role: str, replicas: int) -> None:
        """Starts so many more of a role, or ends some: those that are not ready first, then the newest."""
        staying = self.staying(role)
        for _ in range(replicas - len(staying)):
            self._begin(self._add(self._plan.template(role)))
        staying.sort(key=lambda each: (each.status.phase is Phase.READY, -each.plan.number))
        for each in staying[: max(0, len(staying) - replicas)]:
            self._leaving[each] = asyncio.create_task(self._leave(each))
        self._tell()

    def check(self) -> None:
        """Tells again what could not be told, as on a disk that was full. Raises what a supervisor has failed with: a
        fault of its own must not pass unseen.
        """
        self._tell()
        tasks = [*self._supervised.values(), *self._leaving.values(), *([self._serving] if self._serving else [])]
        for task in tasks:
            if task.done():
                task.result()

    async def end(self) -> list[str]:
        """Ends every process: each is asked first, and killed after its grace. Says which, as a person reads it."""
        ended = await asyncio.gather(*(role.stop() for role in self.roles))
        await asyncio.gather(*self._supervised.values(), *self._leaving.values(), return_exceptions=True)
        if self._serving is not None:
            self._serving.cancel()
            await asyncio.gather(self._serving, return_exceptions=True)
        self._held.close()
        return [each for each in ended if each is not None]

    def kill(self) -> None:
        """Ends every process at once."""
        for role in self._roles:
            role.kill()

    def _make_service(self) -> Service:
        try:
            return Service(self._plan.port)
        except OSError as problem:
            raise _refusal(self._plan.port, f"cannot be opened ({problem.strerror})") from None

    async def _serve(self, service: Service) -> None:
        try:
            await service.run()
        except OSError as problem:  # whoever began to listen while the first target was loading
            raise _refusal(self._plan.port, f"cannot be opened ({problem.strerror})") from None

    def _add(self, template: Template) -> Role:
        numbers = {role.plan.number for role in self._roles if role.plan.role == template.role}
        number = next(number for number in itertools.count(1) if number not in numbers)
        process = template.process(number, self._ports(template.role, number))
        log = self._log_folder / f"{process.name}.log"
        role = Role(process, dict(self._user_env) | process.env, log, self._changed)
        self._roles.append(role)
        return role

    def _ports(self, role: str, number: int) -> Ports:
        """The usual ones where they are free, else others; the endpoint's own for a target without a Service."""
        if role == "draft":
            grpc = self._held.hold_free(Network.draft_port + number - 1)
            return Ports(self._held.hold_free(Network.draft_http_port + number - 1), grpc)
        if self._plan.has_service:
            return Ports(self._held.hold_free(min(self._plan.port + number, LAST_PORT)))
        return Ports(self._plan.port)

    def _begin(self, role: Role) -> None:
        """Two models that load and warm up on the same cores at once take several times as long, and measure each
        other instead of themselves: there each waits until those before it are ready, or have failed once.
        """
        earlier = [each for each in self._supervised if _shares_cores(role.plan, each.plan)]
        self._supervised[role] = asyncio.create_task(role.supervise(earlier))

    async def _leave(self, role: Role) -> None:
        await role.drain(LEAVING_S if role.status.phase is Phase.READY else 0.0)
        await self._supervised.pop(role)
        self._roles.remove(role)
        self._held.give_back(role.plan.ports.values())
        del self._leaving[role]

    def _changed(self, role: Role) -> None:
        self._tell()
        self._on_change(role)

    def _tell(self) -> None:
        """Tells the Service of the ready targets, and the targets of the drafts."""
        if self._service is not None:
            ready = [role for role in self.staying("target") if role.status.phase is Phase.READY]
            self._service.lead_to([role.plan.ports["http"] for role in ready])
        drafts = "".join(f"{role.plan.grpc_address}\n" for role in self.staying("draft"))
        if drafts != self._drafts and try_replace_file(self._plan.drafts_file, drafts):
            self._drafts = drafts


def _refusal(port: int, why: str) -> LocalError:
    return LocalError(f"spec.endpoint.port: port {port} {why}; choose another")


def _shares_cores(plan: ProcessPlan, earlier: ProcessPlan) -> bool:
    """Whether a process computes where one before it does."""
    return plan.cores is None or not set(plan.cores).isdisjoint(earlier.cores or ())
