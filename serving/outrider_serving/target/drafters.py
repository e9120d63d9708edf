"""Who proposes trees to the target: a draft in another pod, n-grams, or nobody; all behind one interface.

N-grams need no interface of their own: they cost no wait, so the step merges them into whatever tree a drafter gave.
"""

from __future__ import annotations

from collections.abc import Mapping
from collections.abc import Sequence as Many
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from outrider_serving.engine.sampling import Sampling
from outrider_serving.engine.tree import Tree


class DraftState(StrEnum):
    NONE = "None"
    CONNECTING = "Connecting"
    CONNECTED = "Connected"
    INCOMPATIBLE = "Incompatible"


@dataclass(frozen=True)
class DraftStatus:
    """What /health, the log and the table say of the draft."""

    state: DraftState
    model: str | None = None
    reason: str = ""


@dataclass(frozen=True)
class Ask:
    """A sequence as it stands, whose next tree is wanted. `tokens` is the whole of it: prompt and output so far;
    the first `prompt_tokens` are the prompt. target_step_s: a step without trees; target_node_s: each node verified.
    """

    sequence: int
    tokens: Many[int]
    prompt_tokens: int
    sampling: Sampling
    max_nodes: int
    max_depth: int
    target_step_s: float
    target_node_s: float


class Drafter(Protocol):
    """All methods are called from the engine's thread. None raises for what a draft does or fails to do."""

    @property
    def status(self) -> DraftStatus: ...

    @property
    def available(self) -> bool:
        """Whether asking can be answered at all."""
        ...

    def ask(self, asks: Many[Ask]) -> None:
        """Tells the draft what was committed, and that trees below it are wanted. Does not wait."""
        ...

    def collect(self, asks: Many[Ask], patience_s: float, longest_s: float) -> Mapping[int, Tree]:
        """The asked sequences' trees, rooted at the last token of each ask. Waits, as long as the draft is
        heard of every `patience_s` and never longer than `longest_s`, for those that are to come; a sequence
        without a tree is not in the result.
        """
        ...

    def close(self, sequence: int) -> None:
        """The sequence is over."""
        ...


class NoDraft:
    """No draft model: the target serves with n-grams or plain steps."""

    status = DraftStatus(DraftState.NONE)
    available = False

    def ask(self, asks: Many[Ask]) -> None: ...

    def collect(self, asks: Many[Ask], patience_s: float, longest_s: float) -> Mapping[int, Tree]:
        return {}

    def close(self, sequence: int) -> None: ...
