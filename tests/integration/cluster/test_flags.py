"""Which cluster the commands ask: flags as kubectl has them, and one line with the remedy where there is none."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from integration.cluster.conftest import COMMAND, failed, outrider
from support import cluster_objects as objects
from support.fake_api import FakeApi

COMMANDS = (["status"], ["top"], ["logs", "qwen-coder"])
each_command = pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command[0])


@each_command
def test_no_kubeconfig(command: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "missing"))
    assert failed(outrider(*command)) == (
        f"no cluster: {tmp_path}/missing is not there; name a kubeconfig by --kubeconfig or KUBECONFIG"
    )


@each_command
def test_a_server_that_is_not_there(command: list[str], api: FakeApi, tmp_path: Path) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        api.url = f"http://127.0.0.1:{unused.getsockname()[1]}"
    line = failed(outrider(*command, "--kubeconfig", str(api.kubeconfig(tmp_path / "gone"))))
    assert line.startswith(f"no cluster: {api.url} does not answer (")
    assert line.endswith("; choose another by --context or --kubeconfig")


@each_command
def test_a_token_that_is_not_known(command: list[str], api: FakeApi, tmp_path: Path) -> None:
    kubeconfig = api.kubeconfig(tmp_path / "old", token="old")
    assert failed(outrider(*command, "--kubeconfig", str(kubeconfig))) == (
        f"{api.url} does not know who you are; log in again, or choose another --context"
    )


@each_command
def test_no_right_to_look(command: list[str], api: FakeApi) -> None:
    api.forbidden = {"speculativemodels"}
    line = failed(outrider(*command))
    assert line.startswith('speculativemodels is forbidden: User "user" cannot get')
    assert line.endswith("; ask for that right, or choose another --namespace or --context")


@each_command
def test_a_cluster_without_the_operator(command: list[str], api: FakeApi) -> None:
    api.has_crd = False
    assert failed(outrider(*command)) == (
        "this cluster has no SpeculativeModels; install the operator there, or choose another cluster by --context"
    )


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("", "is no kubeconfig"),
        ("just words", "is no kubeconfig"),
        ("a: [", "is no kubeconfig"),
        ("{kind: Config, clusters: [], contexts: [], users: []}", "Expected key current-context"),
    ],
)
def test_a_file_that_is_no_kubeconfig(content: str, says: str, tmp_path: Path) -> None:
    file = tmp_path / "config"
    file.write_text(content)
    line = failed(outrider("status", "--kubeconfig", str(file)))
    assert line.startswith(f"no cluster: {file}")
    assert says in line


def test_a_context_that_is_not_there(api: FakeApi, tmp_path: Path) -> None:
    assert failed(outrider("status", "--context", "prod")) == (
        f"--context: {tmp_path}/kubeconfig has no prod; see `kubectl config get-contexts`"
    )
    assert not api.requests


def test_a_file_that_is_named_and_not_there(api: FakeApi) -> None:
    line = failed(outrider("status", "--kubeconfig", "missing"))
    assert line == "--kubeconfig: missing: no such file; name one that says where the cluster is"
    assert not api.requests


def test_the_namespace_is_that_of_the_flag_else_of_the_context(api: FakeApi, tmp_path: Path) -> None:
    bare = str(api.kubeconfig(tmp_path / "bare", namespace=None))
    for flags, namespace in (
        ([], "chat"),
        (["--context", "search"], "search"),
        (["--context", "search", "-n", "mine"], "mine"),
        (["--kubeconfig", bare], "default"),
    ):
        api.requests.clear()
        assert outrider("status", *flags).exit_code == 0
        assert {path.split("/namespaces/")[1].split("/")[0] for path in api.requests} == {namespace}


def test_several_kubeconfigs_are_merged(api: FakeApi, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KUBECONFIG", f"{tmp_path}/missing:{tmp_path}/kubeconfig")
    assert outrider("status").exit_code == 0
    assert api.requests


@pytest.mark.parametrize(
    ("args", "says"),
    [
        (["status", "../pods"], "NAME: '../pods' is not the name of a model;"),
        (["logs", "A"], "NAME: 'A' is not the name of a model;"),
        (["top", "-n", "a/b"], "--namespace: 'a/b' is not the name of a namespace;"),
        (["status", "qwen-coder", "-A"], "--all-namespaces: a name is one namespace's;"),
        (["logs", "qwen-coder", "--since", "soon"], "--since: 'soon' is no time span; write 30s, 10m, 1h30m or 2d"),
        (["logs", "qwen-coder", "-f", "-p"], "--previous: what has ended cannot be followed;"),
    ],
)
def test_flags_that_cannot_be_meant(args: list[str], says: str, api: FakeApi) -> None:
    assert failed(outrider(*args)).startswith(says)
    assert not api.requests


def run(*command: str | Path, **environment: str) -> subprocess.CompletedProcess[str]:
    env = {**os.environ, "COLUMNS": "160", **environment}
    return subprocess.run([*map(str, command)], capture_output=True, text=True, env=env, check=False, timeout=120)


@pytest.mark.usefixtures("api")
def test_as_kubectls_plugin_it_says_so(tmp_path: Path) -> None:
    plugin = tmp_path / "kubectl-outrider"
    plugin.write_text(f"#!{sys.executable}\nfrom outrider_operator.cli import main\nmain()\n")
    plugin.chmod(0o755)
    helped = run(plugin, "status", "--help").stdout
    assert "Usage: kubectl outrider status [OPTIONS] [NAME]" in helped
    assert "kubectl outrider status qwen-coder -n chat" in helped
    assert "--install-completion" not in run(plugin, "--help").stdout
    assert run(plugin, "status", "x").stderr.startswith("kubectl outrider: error: no SpeculativeModel x in")
    assert run(plugin, "stats").stderr.startswith("kubectl outrider: error: No such command 'stats'.")


@pytest.mark.parametrize("command", ["status", "top", "logs"])
def test_help_has_examples_and_exit_codes(command: str) -> None:
    shown = run(*COMMAND, command, "--help").stdout
    assert f"\n   outrider {command}" in shown
    assert "Exit codes" in shown


def complete(*words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """As kubectl asks: the words so far, the last one unfinished."""
    command = "from outrider_operator.cli import complete_for_kubectl; complete_for_kubectl()"
    return run(sys.executable, "-c", command, *words, **environment)


def test_kubectl_completes_commands_flags_and_names(api: FakeApi) -> None:
    api.add(objects.model(), objects.model("qwen-2"), objects.model("other"), objects.model("qwen-far", "search"))
    assert "status\t" in complete("sta").stdout
    assert "--namespace\t" in complete("status", "--name").stdout
    assert complete("logs", "qwen").stdout.split() == ["qwen-2", "qwen-coder", ":0"]
    assert complete("top", "-n", "search", "").stdout.split() == ["qwen-far", ":0"]


def test_completion_is_silent_where_there_is_no_cluster(tmp_path: Path) -> None:
    done = complete("status", "", KUBECONFIG=str(tmp_path / "missing"))
    assert (done.stdout.split(), done.stderr, done.returncode) == ([":0"], "", 0)


def test_completion_does_not_wait_for_a_cluster_that_does_not_answer(api: FakeApi, tmp_path: Path) -> None:
    with socket.socket() as deaf:
        deaf.bind(("127.0.0.1", 0))
        deaf.listen()
        api.url = f"http://127.0.0.1:{deaf.getsockname()[1]}"
        done = complete("status", "", KUBECONFIG=str(api.kubeconfig(tmp_path / "deaf")))
    assert (done.stdout, done.stderr, done.returncode) == ("", "", 0)
