"""What a person reads of a run."""

import io
import json
import shlex

import pytest
from outrider_operator.autoscaling.report import Change
from outrider_operator.local import table
from outrider_operator.local.observe import RoleView
from outrider_operator.local.rates import DraftRates, TargetRates
from outrider_operator.local.role import Phase, RoleStatus
from outrider_operator.measure.links import DraftLink, parse_links
from rich.console import Console

READY = RoleStatus(phase=Phase.READY, run=1, pid=11, ready_after_s=3.2)
BUSY_TARGET = TargetRates(2, 1, 17, 31.25, 2.414, 0.0834, 1.42)
IDLE_TARGET = TargetRates(0, 0, 0, 0.0, None, None, None)
BUSY_DRAFT = DraftRates(2, 96.4, 24.1, 0.78)
CONNECTED = DraftLink("Connected")


def shown(*views: RoleView, columns: int = 80) -> list[str]:
    console = Console(width=columns, record=True, file=io.StringIO())
    console.print(table.table(views))
    return [line.rstrip() for line in console.export_text().splitlines()]


def test_the_table_of_a_busy_pair_fits_into_80_columns() -> None:
    heading, target, draft = shown(
        RoleView("target", READY, BUSY_TARGET), RoleView("draft", READY, BUSY_DRAFT, CONNECTED)
    )
    assert heading.endswith("run/wait/all tokens/s per step ITL p95  gain levels/s hits")
    assert target.split() == ["target", "ready", "2/1/17", "31.2", "2.41", "83", "ms", "1.42×"]
    assert draft.split() == ["draft", "Connected", "2", "96.4", "24.1", "78", "%"]


def test_what_was_not_measured_is_a_dash() -> None:
    assert table.plain_line(RoleView("target", READY, IDLE_TARGET)).endswith(
        "accepted/step –  ITL p95 –  speculation earns –"
    )


def test_a_drafts_reason_stands_below_the_table() -> None:
    link = DraftLink("Incompatible", "tokenizers differ: 151936 and 49152 entries")
    lines = shown(RoleView("target", READY, BUSY_TARGET), RoleView("draft", READY, None, link))
    assert lines[2].split() == ["draft", "Incompatible"]
    assert lines[3] == "draft: tokenizers differ: 151936 and 49152 entries"


def test_a_plain_line_has_every_figure_with_its_name() -> None:
    assert table.plain_line(RoleView("target", READY, BUSY_TARGET)) == (
        "target   ready          requests 2 running, 1 waiting, 17 in all  tokens/s 31.2  accepted/step 2.41"
        "  ITL p95 83 ms  speculation earns 1.42×"
    )
    assert table.plain_line(RoleView("draft", READY, BUSY_DRAFT, CONNECTED)) == (
        "draft    Connected      sequences 2  tokens/s 96.4  levels/s 24.1  hit rate 78 %"
    )


def test_each_of_several_drafts_has_its_row_and_its_line() -> None:
    failed = RoleStatus(phase=Phase.FAILED, run=1, reason="out of memory")
    views = [
        RoleView("target", READY, BUSY_TARGET),
        RoleView("draft-1", READY, BUSY_DRAFT),
        RoleView("draft-2", failed),
    ]
    rows = shown(*views)
    assert [row.split()[0] for row in rows[1:]] == ["target", "draft-1", "draft-2", "draft-2:"]
    assert rows[-1] == "draft-2: out of memory; the target serves without it"
    tick = json.loads(table.json_line("http://127.0.0.1:8000", views))
    assert (tick["draft-1"]["hit_rate"], tick["draft-2"]["phase"]) == (0.78, "failed")


def test_several_targets_that_come_and_go_fit_into_80_columns() -> None:
    loading = RoleStatus(phase=Phase.LOADING, run=1, pid=12)
    draining = RoleStatus(phase=Phase.DRAINING, run=1, pid=13)
    rows = shown(
        RoleView("target-1", READY, BUSY_TARGET),
        RoleView("target-2", loading),
        RoleView("target-3", draining, IDLE_TARGET),
        RoleView("draft-1", READY, BUSY_DRAFT, CONNECTED),
    )
    assert [row.split()[:2] for row in rows[1:]] == [
        ["target-1", "ready"],
        ["target-2", "loading"],
        ["target-3", "draining"],
        ["draft-1", "Connected"],
    ]
    assert rows[1].endswith("1.42×")


def test_one_target_of_several_that_failed_is_told_with_its_own_reason() -> None:
    status = RoleStatus(phase=Phase.FAILED, run=1, reason="--port: in use")
    assert table.event(RoleView("target-2", status), 0.0) == "target-2: failed: --port: in use"


@pytest.mark.parametrize(
    ("change", "line"),
    [
        (Change("target", 1, 3, "ScaleUp", "7 requests wait."), "target 1 → 3: 7 requests wait. (ScaleUp)"),
        (Change("speculation", 1, 0, "DoesNotPay", "Off."), "speculation off: Off. (DoesNotPay)"),
        (Change("speculation", 0, 1, "Probe", "On."), "speculation on: On. (Probe)"),
    ],
)
def test_a_decision_is_a_line_that_says_what_and_why(change: Change, line: str) -> None:
    assert table.decision_line(change, advisory=False) == f"autoscaling: {line}"
    assert table.decision_line(change, advisory=True) == f"autoscaling (advice): {line}"


def test_a_draft_that_failed_is_told_with_what_it_means() -> None:
    status = RoleStatus(phase=Phase.FAILED, run=1, reason="--model: no such folder")
    assert table.plain_line(RoleView("draft", status)) == (
        "draft    failed  (--model: no such folder; the target serves without it)"
    )


def test_a_draft_that_is_not_running_is_not_called_connected() -> None:
    waiting = RoleStatus(phase=Phase.WAITING, run=1, reason="killed by SIGKILL", wait_s=4)
    assert table.state(RoleView("draft", waiting, None, CONNECTED)) == "restarting"


@pytest.mark.parametrize(
    ("status", "line"),
    [
        (RoleStatus(), "draft: starts when the target has"),
        (RoleStatus(run=1, pid=7, since_s=100.0), "draft: process started (pid 7)"),
        (RoleStatus(run=1, pid=7, since_s=88.0), "draft: process started (pid 7), loading, 12 s"),
        (RoleStatus(phase=Phase.LOADING, run=1, pid=7, since_s=88.0), "draft: loading model, 12 s"),
        (READY, "draft: ready after 3.2 s"),
        (
            RoleStatus(phase=Phase.WAITING, reason="killed by SIGKILL", wait_s=0.0),
            "draft: killed by SIGKILL; starting it again at once",
        ),
        (
            RoleStatus(phase=Phase.WAITING, reason="exit code 3: out of memory", wait_s=4.0),
            "draft: exit code 3: out of memory; starting it again in 4 s",
        ),
        (
            RoleStatus(phase=Phase.NOT_READY, reason="its readiness probe answers 503"),
            "draft: not ready: its readiness probe answers 503",
        ),
    ],
)
def test_what_becomes_of_a_role_is_a_line(status: RoleStatus, line: str) -> None:
    assert table.event(RoleView("draft", status), now_s=100.4) == line


def test_a_reason_longer_than_a_screen_is_cut() -> None:
    status = RoleStatus(phase=Phase.WAITING, reason="x" * 5000)
    assert len(table.event(RoleView("draft", status), now_s=0.0)) < 400


def test_a_tick_as_json_has_every_figure_and_null_for_none() -> None:
    views = [RoleView("target", READY, IDLE_TARGET), RoleView("draft", READY, BUSY_DRAFT, CONNECTED)]
    tick = json.loads(table.json_line("http://127.0.0.1:8000", views, [{"role": "target", "from": 1, "to": 2}]))
    assert tick["url"] == "http://127.0.0.1:8000"
    assert tick["decisions"] == [{"role": "target", "from": 1, "to": 2}]
    assert tick["target"]["tokens_per_step"] is None
    assert tick["target"]["state"] == "ready"
    assert tick["draft"]["hit_rate"] == 0.78
    assert tick["draft"]["state"] == "Connected"


def test_the_curl_line_is_one_shell_command_with_a_json_body() -> None:
    words = shlex.split(table.curl_line("http://127.0.0.1:8000", "coder"))
    assert words[:2] == ["curl", "http://127.0.0.1:8000/v1/chat/completions"]
    assert json.loads(words[-1])["model"] == "coder"


def test_each_drafts_link_is_read_out_of_the_targets_health() -> None:
    refused = {"address": "127.0.0.1:50051", "state": "Incompatible", "model": "a", "reason": "why", "sequences": 0}
    used = {"address": "127.0.0.1:50052", "state": "Connected", "model": "b", "reason": "", "sequences": 3}
    assert parse_links({"speculation": {"drafts": [refused, used]}}) == {
        "127.0.0.1:50051": DraftLink("Incompatible", "why"),
        "127.0.0.1:50052": DraftLink("Connected"),
    }


@pytest.mark.parametrize(
    "body", [None, [], {}, {"speculation": None}, {"speculation": {"drafts": None}}, {"speculation": {"drafts": [{}]}}]
)
def test_health_that_says_nothing_of_a_draft_is_no_link(body: object) -> None:
    assert parse_links(body) == {}
