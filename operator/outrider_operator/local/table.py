"""What is shown of a run: as a table, as plain lines, as JSON. Pure: text from what was observed."""

import json
import shlex
from collections.abc import Sequence
from dataclasses import asdict

from rich.table import Table

from outrider_operator.autoscaling.report import Change
from outrider_operator.local.observe import RoleView
from outrider_operator.local.rates import DraftRates, TargetRates
from outrider_operator.local.role import Phase
from outrider_operator.resources.pod import Object

NOTHING = "–"
LINE_CHARACTERS = 300  # of a reason; a log line can be longer than a screen


def state(view: RoleView) -> str:
    """The state of a role in a word or two: a draft that is ready is what the target makes of it."""
    if view.status.phase is Phase.READY and view.link is not None and view.link.state != "None":
        return view.link.state
    return view.status.phase.value


def note(view: RoleView) -> str | None:
    """Why a role is not as it should be, in one line; None when it is."""
    status = view.status
    if status.phase is Phase.FAILED and not view.is_target:
        return _short(f"{status.reason}; the target serves without it")
    if status.phase in (Phase.FAILED, Phase.NOT_READY, Phase.WAITING):
        return _short(status.reason or status.phase.value)
    if status.phase is Phase.READY and view.link is not None and view.link.state != "Connected":
        return _short(view.link.reason) if view.link.reason else None
    return None


def event(view: RoleView, now_s: float) -> str:
    """What has become of a role, in one line: how far its start is, or how it stands with its partner."""
    status = view.status
    match status.phase:
        case Phase.STARTING if status.pid is None:
            return f"{view.name}: starting" if view.is_target else f"{view.name}: starts when the target has"
        case Phase.STARTING:
            seconds = _seconds(status.since_s, now_s)
            return f"{view.name}: process started (pid {status.pid})" + (f", loading{seconds}" if seconds else "")
        case Phase.LOADING:
            return f"{view.name}: loading model{_seconds(status.since_s, now_s)}"
        case Phase.READY if view.link is not None:
            text = note(view)
            return f"{view.name}: {state(view)}" + (f": {text}" if text else "")
        case Phase.READY:
            return f"{view.name}: ready after {status.ready_after_s or 0.0:.1f} s"
        case Phase.WAITING:
            again = f"in {status.wait_s:g} s" if status.wait_s else "at once"
            return f"{view.name}: {note(view)}; starting it again {again}"
        case _:
            return f"{view.name}: " + (f"{status.phase.value}: {text}" if (text := note(view)) else status.phase.value)


def decision_line(change: Change, advisory: bool) -> str:
    """What the autoscaler has decided, in one line. advisory: it is not done."""
    if change.role == "speculation":
        what = "speculation on" if change.after else "speculation off"
    else:
        what = f"{change.role} {change.before} → {change.after}"
    who = "autoscaling (advice)" if advisory else "autoscaling"
    return _short(f"{who}: {what}: {change.text} ({change.reason})")


def table(views: Sequence[RoleView]) -> Table:
    """The live table, narrow enough for 80 columns, with a line below it for every role that needs one."""
    grid = Table(box=None, pad_edge=False, padding=(0, 1, 0, 0), caption_justify="left", caption_style="yellow")
    grid.add_column("role", no_wrap=True)
    grid.add_column("state", no_wrap=True)
    for heading in ("run/wait/all", "tokens/s", "per step", "ITL p95", "gain", "levels/s", "hits"):
        grid.add_column(heading, justify="right", no_wrap=True)
    for view in views:
        grid.add_row(view.name, state(view).removesuffix(" model"), *_cells(view.rates))
    notes = [f"{view.name}: {text}" for view in views if (text := note(view))]
    grid.caption = "\n".join(notes) or None
    return grid


def plain_line(view: RoleView) -> str:
    """The row of a role as one line, for output that is not a terminal."""
    parts = [f"{view.name:<7}", f"{state(view):<13}"]
    match view.rates:
        case TargetRates() as rates:
            parts += [
                f"requests {rates.running} running, {rates.waiting} waiting, {rates.total} in all",
                f"tokens/s {rates.tokens_per_s:.1f}",
                f"accepted/step {_number(rates.tokens_per_step, '{:.2f}')}",
                f"ITL p95 {_milliseconds(rates.itl_p95_s)}",
                f"speculation earns {_number(rates.gain, '{:.2f}×')}",
            ]
        case DraftRates() as rates:
            parts += [
                f"sequences {rates.sequences}",
                f"tokens/s {rates.tokens_per_s:.1f}",
                f"levels/s {rates.levels_per_s:.1f}",
                f"hit rate {_percent(rates.hit_rate)}",
            ]
    line = "  ".join(parts).rstrip()
    text = note(view)
    return f"{line}  ({text})" if text else line


def json_line(url: str, views: Sequence[RoleView], decisions: Sequence[Object] = ()) -> str:
    """One tick as a JSON object: the URL, the last decisions, and for each role its state and rates (null where not
    measured).
    """
    roles = {
        view.name: {
            "state": state(view),
            "phase": view.status.phase.value,
            "pid": view.status.pid,
            "starts": view.status.run,
            "ready_after_s": view.status.ready_after_s,
            "reason": note(view),
            **(asdict(view.rates) if view.rates else {}),
        }
        for view in views
    }
    return json.dumps({"url": url, "decisions": list(decisions), **roles}, ensure_ascii=False)


def curl_line(url: str, name: str) -> str:
    """A chat request to paste into a shell."""
    body = {
        "model": name,
        "messages": [{"role": "user", "content": "Write a Python function that reverses a list."}],
        "max_tokens": 200,
    }
    data = shlex.quote(json.dumps(body))
    return f"curl {url}/v1/chat/completions -H 'Content-Type: application/json' -d {data}"


def _cells(rates: TargetRates | DraftRates | None) -> list[str]:
    match rates:
        case TargetRates():
            return [
                f"{rates.running}/{rates.waiting}/{rates.total}",
                f"{rates.tokens_per_s:.1f}",
                _number(rates.tokens_per_step, "{:.2f}"),
                _milliseconds(rates.itl_p95_s),
                _number(rates.gain, "{:.2f}×"),
                "",
                "",
            ]
        case DraftRates():
            return [
                str(rates.sequences),
                f"{rates.tokens_per_s:.1f}",
                "",
                "",
                "",
                f"{rates.levels_per_s:.1f}",
                _percent(rates.hit_rate),
            ]
        case None:
            return [""] * 7


def _seconds(since_s: float, now_s: float) -> str:
    """How long it has been so, left out as long as it is news."""
    return f", {now_s - since_s:.0f} s" if now_s - since_s >= 1 else ""


def _number(value: float | None, form: str) -> str:
    return NOTHING if value is None else form.format(value)


def _milliseconds(value_s: float | None) -> str:
    return _number(None if value_s is None else value_s * 1000, "{:.0f} ms")


def _percent(share: float | None) -> str:
    return _number(None if share is None else share * 100, "{:.0f} %")


def _short(text: str) -> str:
    return text if len(text) <= LINE_CHARACTERS else text[: LINE_CHARACTERS - 1] + "…"
