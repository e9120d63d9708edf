"""What a target says of its drafts, on /health. Pure."""

from dataclasses import dataclass


@dataclass(frozen=True)
class DraftLink:
    """A draft as the target sees it."""

    state: str  # None, Connecting, Connected, Incompatible, Resting, Draining
    reason: str = ""


def parse_links(health: object) -> dict[str, DraftLink]:
    """The state of each draft by its address, out of the body of /health; those of which it says none are left out."""
    speculation = health.get("speculation") if isinstance(health, dict) else None
    drafts = speculation.get("drafts") if isinstance(speculation, dict) else None
    return {
        str(draft["address"]): DraftLink(str(draft["state"]), str(draft.get("reason") or ""))
        for draft in (drafts if isinstance(drafts, list) else ())
        if isinstance(draft, dict) and {"address", "state"} <= draft.keys()
    }
