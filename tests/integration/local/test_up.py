"""`outrider up` with real processes: what is started, what is shown, and that nothing is left running."""

import json
import os
import pty
import select
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest
from integration.local.runner import Up
from outrider_operator.api.validation import load
from outrider_operator.local.cores import machine_cores
from outrider_operator.resources.build import build
from outrider_operator.resources.platform import Network, Platform
from support.waiting import PATIENCE_S, eventually


def flag(argv: list[str], name: str) -> str:
    return next(arg.split("=", 1)[1] for arg in argv if arg.startswith(f"--{name}="))


def drafts_listed(argv: list[str]) -> list[str]:
    return Path(flag(argv, "draft").removeprefix("file://")).read_text().split()


def rendered_container(up: Up, role: str, platform: Platform) -> dict[str, object]:
    [model] = load(up.resource)
    containers = [
        built["spec"]["template"]["spec"]["containers"][0]
        for built in build(model, platform)
        if built["kind"] == "Deployment"
    ]
    [container] = [container for container in containers if container["name"] == role]
    return dict(container)


def test_both_become_ready_and_a_newcomer_is_told_what_to_do_next(up: Up) -> None:
    up.start()
    up.sees("target: process started")
    up.sees("target: loading model")
    up.sees("target: ready after")
    up.sees(f"coder is served at http://127.0.0.1:{up.port}/v1")
    assert '"model": "coder"' in up.sees(f"curl http://127.0.0.1:{up.port}/v1/chat/completions")
    up.sees("draft: ready after")
    up.sees("draft: Connected")


def test_piped_output_is_plain_lines_with_the_figures(up: Up) -> None:
    up.start()
    line = up.sees("target", "ready", "accepted/step 2.50")
    assert "requests 2 running, 1 waiting, 6 in all" in line
    assert "speculation earns 1.42×" in line
    assert "ITL p95 19 ms" in line
    up.sees("draft", "Connected", "hit rate 75 %")
    assert "\x1b" not in up.out.read_text()


def test_a_terminal_gets_spinners_and_then_a_table(up: Up) -> None:
    ours, theirs = pty.openpty()
    environment = up.environment() | {"TERM": "xterm-256color", "COLUMNS": "100", "LINES": "40"}
    process = subprocess.Popen(up.command(), env=environment, stdout=theirs, stderr=theirs, start_new_session=True)
    up.process = process
    os.close(theirs)
    seen = ""

    def has_shown(*words: str) -> bool:
        nonlocal seen
        while select.select([ours], [], [], 0)[0]:
            seen += os.read(ours, 65536).decode(errors="replace")
        return all(word in seen for word in words)

    eventually("a spinner", lambda: has_shown("target: loading model", "draft: starts when the target has"))
    eventually("the table", lambda: has_shown("per step", "ITL p95", "levels/s", "1.42×"))
    process.send_signal(signal.SIGINT)
    eventually("its farewell", lambda: has_shown("ended target"))
    assert process.wait(PATIENCE_S) == 0
    os.close(ours)


def test_what_runs_is_what_render_shows_for_this_network(up: Up, tmp_path: Path) -> None:
    mirror = tmp_path / "models"
    mirror.mkdir()
    up.start("--model-mirror", str(mirror))
    up.sees("draft: ready")
    up.sees("target: ready")
    target, draft = up.what_was_told("target"), up.what_was_told("draft")
    network = Network(
        listen_host="127.0.0.1",
        target_port=up.port,
        draft_port=int(flag(draft["argv"], "port")),
        draft_http_port=int(flag(draft["argv"], "http-port")),
        local_drafts=(flag(target["argv"], "draft"),),
        linger_s=0,
    )
    platform = Platform(model_mirror=str(mirror), network=network)
    for role, told in (("target", target), ("draft", draft)):
        container = rendered_container(up, role, platform)
        differing = set(told["argv"]) ^ set(container["args"])  # type: ignore[call-overload]
        assert {arg.split("=")[0] for arg in differing} == ({"--control"} if role == "target" else set())
        env = {entry["name"]: entry["value"] for entry in container["env"]}  # type: ignore[attr-defined]
        moved = {name for name, value in env.items() if told["env"].get(name) != value}
        assert moved == {"HOME", "HF_HOME", "TRITON_CACHE_DIR", "TMPDIR"}
        assert told["writable"]
    assert drafts_listed(target["argv"]) == [f"127.0.0.1:{flag(draft['argv'], 'port')}"]
    assert Path(flag(target["argv"], "control")).is_dir()


def test_against_a_cluster_only_addresses_certificates_and_the_end_differ(up: Up) -> None:
    up.start()
    up.sees("draft: ready")
    up.sees("target: ready")
    for role in ("target", "draft"):
        in_cluster = rendered_container(up, role, Platform())["args"]
        here = up.what_was_told(role)["argv"]
        assert isinstance(in_cluster, list)
        differing = {arg.split("=")[0] for arg in set(here) ^ set(in_cluster)}
        addresses = {"--model", "--host", "--port", "--http-port", "--draft"}
        assert differing <= {*addresses, "--control", "--identity", "--linger-s"}


def test_folders_that_a_pod_would_lose_are_gone_after_the_run(up: Up) -> None:
    up.start()
    up.sees("target: ready")
    home = Path(up.what_was_told("target")["env"]["HOME"])
    assert home.is_dir()
    up.signal(signal.SIGINT)
    assert up.exit_code() == 0
    assert not home.exists()


def test_a_killed_draft_is_started_again_and_the_target_never_notices(up: Up) -> None:
    up.start()
    up.sees("draft: ready after")
    up.sees("target: ready after")
    target, draft = up.what_was_told("target")["pid"], up.what_was_told("draft")["pid"]
    os.kill(draft, signal.SIGKILL)
    assert "starting it again at once" in up.sees("draft: killed by SIGKILL")
    up.sees("draft: ready after", times=2)
    assert up.what_was_told("draft")["pid"] != draft
    assert psutil.pid_exists(target)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_ends_everything_and_says_so(up: Up, number: signal.Signals) -> None:
    up.start()
    up.sees("draft: ready after")
    up.sees("target: ready after")
    pids = [up.what_was_told(role)["pid"] for role in ("target", "draft")]
    up.signal(number)
    assert up.exit_code() == 0
    assert up.lines()[-1] == f"ended target (pid {pids[0]}) and draft (pid {pids[1]})"
    assert up.running() == []
    assert up.errors() == []


def test_a_signal_during_the_start_leaves_nothing(up: Up) -> None:
    up.start()
    up.sees("process started")
    up.signal(signal.SIGINT)
    assert up.exit_code() == 0
    assert up.nothing_is_left()


def test_a_second_signal_kills_what_does_not_listen(up: Up) -> None:
    up.start(target={"deaf": True})
    up.sees("target: ready after")
    up.signal(signal.SIGINT)
    eventually("the draft's end", lambda: len(up.running()) == 1)
    up.signal(signal.SIGINT)
    assert up.exit_code() == 130
    assert up.nothing_is_left()


def test_kill_9_of_the_runner_leaves_nothing(up: Up) -> None:
    up.start()
    up.sees("draft: ready after")
    up.sees("target: ready after")
    assert len(up.running()) == 2
    up.signal(signal.SIGKILL)
    assert up.nothing_is_left()


def test_a_reader_that_goes_away_ends_the_run(up: Up) -> None:
    with up.err.open("wb") as err:
        up.process = subprocess.Popen(
            up.command(), env=up.environment(), stdout=subprocess.PIPE, stderr=err, start_new_session=True
        )
    assert up.process.stdout is not None
    up.process.stdout.readline()
    up.process.stdout.close()
    assert up.exit_code() == 0
    assert up.nothing_is_left()
    assert up.errors() == []


def test_what_a_process_started_itself_ends_with_it(up: Up) -> None:
    up.start(draft={"child": True})
    up.sees("draft: ready after")
    assert len(up.running()) == 3
    os.kill(up.what_was_told("draft")["pid"], signal.SIGKILL)
    up.sees("draft: ready after", times=2)
    assert len(up.running()) == 3
    up.signal(signal.SIGINT)
    assert up.exit_code() == 0
    assert up.nothing_is_left()


def test_a_target_that_refuses_its_input_ends_the_run_with_its_reason(up: Up) -> None:
    up.start(target={"refuse": "--model: no such model; name one that is there"})
    assert up.exit_code() == 1
    [line] = up.errors()
    assert line.startswith(
        "outrider: error: target: spec.target.model.uri (--model): no such model; name one that is there"
    )
    assert up.nothing_is_left()


def test_a_draft_that_refuses_its_input_leaves_the_target_serving(up: Up) -> None:
    up.start("--json", draft={"refuse": "--model: no such model"})
    eventually("the target served", lambda: any("coder is served at" in line for line in up.errors()))

    def failed_beside_one_that_serves() -> dict[str, Any] | None:
        ticks = [json.loads(line) for line in up.lines()]
        found = (each for each in ticks if (each["draft"]["phase"], each["target"]["phase"]) == ("failed", "ready"))
        return next(found, None)

    tick = eventually("the draft failed and the target is ready", failed_beside_one_that_serves)
    assert tick["draft"]["reason"] == "spec.draft.model.uri (--model): no such model; the target serves without it"
    assert tick["draft"]["starts"] == 1


def test_a_target_that_falls_over_is_started_again_and_its_last_lines_are_shown(up: Up) -> None:
    up.start(target={"crash": 3})
    assert up.sees("target: exit code 3").endswith("starting it again in 1 s")
    up.sees("  target fell over")
    up.sees("target: exit code 3", "starting it again in 2 s")
    up.signal(signal.SIGTERM)
    assert up.exit_code() == 0


def test_an_incompatible_draft_is_told_with_the_targets_reason(up: Up) -> None:
    up.start(target={"link": {"state": "Incompatible", "model": "x", "reason": "another tokenizer"}})
    up.sees("draft: Incompatible: another tokenizer")


def test_what_the_target_says_of_each_draft_stands_in_its_own_line(up: Up) -> None:
    up.edit("spec", "draft", "replicas", value=2)
    connected = {"state": "Connected", "reason": ""}
    up.start(target={"links": [{"state": "Resting", "reason": "silent for 3 s"}, connected]})
    up.sees("draft-1: Resting: silent for 3 s")
    up.sees("draft-2: Connected")
    assert not any("draft-1: Connected" in line for line in up.lines())


def test_json_is_an_object_a_line_and_people_are_told_elsewhere(up: Up) -> None:
    up.start("--json")

    def rates() -> list[dict[str, object]] | None:
        ticks = [json.loads(line) for line in up.lines()]
        return [tick for tick in ticks if tick["target"].get("tokens_per_step")] or None

    [tick, *_] = eventually("figures", rates)
    assert tick["url"] == f"http://127.0.0.1:{up.port}"
    assert tick["target"]["gain"] == 1.42  # type: ignore[index]
    assert any("curl" in line for line in up.errors())


def test_a_port_in_use_is_one_line_and_nothing_is_started(up: Up) -> None:
    with subprocess.Popen(
        [sys.executable, "-m", "http.server", "--bind", "127.0.0.1", str(up.port)],
        stderr=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
    ) as other:
        eventually("the other server", lambda: psutil.Process(other.pid).net_connections())
        up.start()
        code = up.exit_code()
        other.kill()
    assert code == 1
    [line] = up.errors()
    assert line.startswith(f"outrider: error: spec.endpoint.port: port {up.port} is in use by python")
    assert f"(pid {other.pid})" in line
    assert list(up.told.iterdir()) == []


@pytest.mark.parametrize(
    ("path", "value", "names"),
    [
        ("maxModelLength", 4096, "spec.target.maxModelLength"),
        ("model", {"uri": "pvc://claim/models/large"}, "spec.target.model.uri: pvc:// models need a cluster"),
        ("model", {"uri": "s3://bucket/large"}, "spec.target.model.uri: s3:// models need a cluster"),
    ],
)
def test_a_resource_that_cannot_run_here_is_one_line_and_nothing_is_started(
    up: Up, path: str, value: object, names: str
) -> None:
    up.edit("spec", "target", path, value=value)
    up.start()
    assert up.exit_code() == 1
    [line] = up.errors()
    assert names in line
    assert list(up.told.iterdir()) == []


def test_more_cores_than_there_are_is_one_line_and_nothing_is_started(up: Up) -> None:
    up.edit("spec", "target", "resources", value={"requests": {"cpu": 1}})
    up.edit("spec", "draft", "resources", value={"requests": {"cpu": 4096}})
    up.start()
    assert up.exit_code() == 1
    [line] = up.errors()
    assert line.startswith("outrider: error: spec.draft.resources.requests.cpu: 4096 asked for")
    assert list(up.told.iterdir()) == []


def test_what_a_laptop_leaves_out_is_said(up: Up) -> None:
    up.edit("spec", "target", "replicas", value=0)
    up.start()
    up.sees("spec.target.replicas: 0 asked for; one target runs on this machine")
    up.sees("draft: ready after")


def test_each_replica_of_the_draft_runs_and_has_its_line(up: Up) -> None:
    up.edit("spec", "draft", "replicas", value=3)
    up.start()
    names = ["draft-1", "draft-2", "draft-3"]
    for name in names:
        up.sees(f"{name}: ready after")
        up.sees(name, "Connected", "hit rate 75 %")
    told = [line.split(" (")[0] for line in up.lines() if ": process started (" in line or ": ready after" in line]
    starts = dict.fromkeys(line.split(" after")[0] for line in told)  # every ten seconds all say it again
    loaded = [f"{name}: {what}" for name in ("target", *names) for what in ("process started", "ready")]
    assert list(starts) == loaded  # on shared cores one after the other
    assert drafts_listed(up.what_was_told("target")["argv"]) == [
        f"127.0.0.1:{flag(up.what_was_told(name)['argv'], 'port')}" for name in names
    ]
    up.signal(signal.SIGINT)
    assert up.exit_code() == 0
    assert up.lines()[-1].count("pid") == 4
    assert up.nothing_is_left()


def test_one_draft_of_several_is_started_again_and_the_others_are_left_alone(up: Up) -> None:
    up.edit("spec", "draft", "replicas", value=2)
    up.start()
    up.sees("draft-2: ready after")
    before = {name: up.what_was_told(name)["pid"] for name in ("target", "draft-1", "draft-2")}
    os.kill(before["draft-1"], signal.SIGKILL)
    assert "starting it again at once" in up.sees("draft-1: killed by SIGKILL")
    up.sees("draft-1: ready after", times=2)
    after = {name: up.what_was_told(name)["pid"] for name in before}
    assert [name for name in before if before[name] != after[name]] == ["draft-1"]
    assert not any("draft-2: killed" in line for line in up.lines())


def asked(up: Up) -> str:
    """The name of the target that answers a connection of its own."""
    return httpx.get(f"http://127.0.0.1:{up.port}/name", trust_env=False).text


def test_each_replica_of_the_target_runs_and_clients_reach_all_by_one_port(up: Up) -> None:
    up.edit("spec", "target", "replicas", value=2)
    up.start()
    for name in ("target-1", "target-2"):
        up.sees(f"{name}: ready after")
        up.sees(name, "ready", "accepted/step 2.50")
    assert len([line for line in up.lines() if "coder is served at" in line]) == 1
    assert [asked(up) for _ in range(4)] == ["target-1", "target-2"] * 2
    up.sees("draft: Connected")
    up.signal(signal.SIGINT)
    assert up.exit_code() == 0
    assert up.lines()[-1].count("pid") == 3
    assert up.nothing_is_left()


def test_while_one_target_of_several_starts_again_the_others_answer(up: Up) -> None:
    up.edit("spec", "target", "replicas", value=2)
    up.start()
    for name in ("target-1", "target-2"):
        up.sees(f"{name}: ready after")
    doomed = psutil.Process(up.what_was_told("target-1")["pid"])
    doomed.kill()
    doomed.wait(PATIENCE_S)  # until it has ended it may take a connection
    assert asked(up) == "target-2"
    up.sees("target-1: ready after", times=2)
    assert {asked(up) for _ in range(2)} == {"target-1", "target-2"}


def test_no_replica_of_the_draft_is_a_target_alone_and_it_is_said(up: Up) -> None:
    up.edit("spec", "draft", "replicas", value=0)
    up.start(target={"link": {"state": "None", "model": None, "reason": ""}})
    up.sees("spec.draft.replicas: 0, so the target runs without a draft")
    up.sees("target: ready after")
    told = up.what_was_told("target")
    assert not any(arg.startswith("--draft") for arg in told["argv"])
    assert [process.pid for process in up.running()] == [told["pid"]]


def test_drafts_share_what_the_target_leaves_where_cores_do_not_suffice_and_it_is_said(up: Up) -> None:
    *cores, last = machine_cores()
    up.edit("spec", "target", "resources", value={"requests": {"cpu": len(cores)}})
    up.edit("spec", "draft", "resources", value={"requests": {"cpu": 1}})
    up.edit("spec", "draft", "replicas", value=2)
    up.start()
    up.sees("spec.draft.replicas: 2 drafts share 1 CPU;")
    up.sees("target: ready after")
    up.sees("draft-2: ready after")
    kept = {name: up.what_was_told(name)["affinity"] for name in ("target", "draft-1", "draft-2")}
    assert kept == {"target": sorted(cores), "draft-1": [last], "draft-2": [last]}


def test_without_a_draft_only_the_target_runs(up: Up) -> None:
    up.edit("spec", "draft", value=None)
    up.start(target={"link": {"state": "None", "model": None, "reason": ""}})
    up.sees("target", "accepted/step 2.50")
    assert [process.pid for process in up.running()] == [up.what_was_told("target")["pid"]]
    assert not any(line.startswith("draft") for line in up.lines())


def test_logs_go_where_they_are_wanted(up: Up, tmp_path: Path) -> None:
    logs = tmp_path / "wanted" / "logs"
    up.start("--log-dir", str(logs))
    up.sees(f"logs: {logs}")
    up.sees("draft: ready after")
    up.sees("target: ready after")
    for role in ("target", "draft"):
        said = eventually("its first line", (logs / f"{role}.log").read_text)
        assert json.loads(said) == {"event": "listening", "role": role}


def test_a_log_folder_that_cannot_be_is_one_line(up: Up) -> None:
    up.start("--log-dir", str(up.resource))
    assert up.exit_code() == 1
    [line] = up.errors()
    assert line.startswith("outrider: error: --log-dir:")
    assert list(up.told.iterdir()) == []
