"""The command line as a person meets it: what is printed where, and the exit code."""

import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from outrider_operator import cli
from outrider_operator.local.screen import JsonScreen, PlainScreen, Screen
from outrider_operator.resources.build import build
from outrider_operator.resources.platform import Platform
from unit.operator.yaml_models import ROOT, SAMPLES, sample

QWEN = "manifests/samples/qwen-coder.yaml"
SMOL = "manifests/samples/smollm2.yaml"


def outrider(*args: str, stdin: str = "", **environment: str) -> subprocess.CompletedProcess[str]:
    """Runs the command in the repository's root."""
    command = [sys.executable, "-c", "from outrider_operator.cli import main; main()", *args]
    env = {**os.environ, "TERM": "xterm-256color", **environment}
    return subprocess.run(command, input=stdin, env=env, capture_output=True, text=True, cwd=ROOT, check=False)


@pytest.fixture
def wrong(tmp_path: Path) -> Path:
    """A file with two mistakes."""
    file = tmp_path / "wrong.yaml"
    text = (ROOT / QWEN).read_text()
    file.write_text(text.replace("    maxModelLen", "    dtype: bf16\n    maxModelLn", 1))
    return file


def test_validate_says_ok_for_each_model() -> None:
    done = outrider("validate", QWEN, SMOL)
    assert done.stdout.splitlines() == [
        f"{QWEN}: SpeculativeModel qwen-coder: ok",
        f"{SMOL}: SpeculativeModel smollm2: ok",
    ]
    assert (done.returncode, done.stderr) == (0, "")


def test_validate_tells_every_problem_and_exits_1(wrong: Path) -> None:
    done = outrider("validate", str(wrong), SMOL)
    assert done.returncode == 1
    assert done.stdout == f"{SMOL}: SpeculativeModel smollm2: ok\n"
    lines = done.stderr.splitlines()
    assert [line.split(": ")[1] for line in lines] == ["spec.target.dtype", "spec.target.maxModelLn"]
    assert all(re.match(rf"{re.escape(str(wrong))}:\d+:\d+: ", line) for line in lines)


def test_validate_as_json(wrong: Path) -> None:
    done = outrider("validate", "--json", str(wrong), SMOL, "missing.yaml")
    report = json.loads(done.stdout)
    assert done.returncode == 2
    assert report["valid"] is False
    assert report["models"] == [{"source": SMOL, "namespace": None, "name": "smollm2"}]
    assert [problem["field"] for problem in report["problems"]] == [
        "spec.target.dtype",
        "spec.target.maxModelLn",
    ]
    assert report["unreadable"] == ["missing.yaml: no such file; name a file with a SpeculativeModel"]
    assert json.loads(outrider("validate", "--json", SMOL).stdout)["valid"] is True


def test_validate_reads_standard_input() -> None:
    text = (ROOT / SMOL).read_text()
    assert outrider("validate", "-", stdin=text).stdout == "-: SpeculativeModel smollm2: ok\n"
    assert outrider("validate", "-", stdin=text.replace("uri:", "url:")).stderr.startswith("<stdin>:")


@pytest.mark.parametrize("command", ["validate", "render"])
@pytest.mark.parametrize(
    ("file", "says"),
    [
        ("missing.yaml", "missing.yaml: no such file"),
        ("manifests", "manifests: is a folder"),
        ("Makefile.yaml", "Makefile.yaml:1:5: not YAML"),
    ],
)
def test_what_is_no_yaml_file_is_one_line_and_exit_2(command: str, file: str, says: str, tmp_path: Path) -> None:
    if file == "Makefile.yaml":
        (tmp_path / file).write_text("a: b: c\n")
        says, file = f"{tmp_path}/{says}", f"{tmp_path}/{file}"
    done = outrider(command, file)
    assert (done.returncode, done.stdout) == (2, "")
    [line] = done.stderr.splitlines()
    assert line.startswith(f"outrider: error: {says}")


@pytest.mark.parametrize("file", SAMPLES, ids=lambda file: file.stem)
def test_render_prints_what_is_built(file: Path) -> None:
    built = build(sample(file.stem), Platform())
    assert list(yaml.safe_load_all(outrider("render", str(file)).stdout)) == built
    as_json = json.loads(outrider("render", "--json", str(file)).stdout)
    assert as_json == {"apiVersion": "v1", "kind": "List", "items": built}


def test_render_takes_namespace_mirror_and_images() -> None:
    flags = ["-n", "chat", "--model-mirror", "/models", "--image-target", "r/t:1", "--image-draft", "r/d:2"]
    objects = list(yaml.safe_load_all(outrider("render", QWEN, *flags).stdout))
    assert {thing["metadata"]["namespace"] for thing in objects} == {"chat"}
    pods = [thing["spec"]["template"]["spec"] for thing in objects if thing["kind"] == "Deployment"]
    [draft, target] = [pod["containers"][0] for pod in pods]
    assert (draft["image"], target["image"]) == ("r/d:2", "r/t:1")
    assert {"name": "OUTRIDER_MODEL_MIRROR", "value": "/models"} in draft["env"]
    assert "--draft=dns:///qwen-coder-draft.chat.svc:50051" in target["args"]


def test_render_of_a_wrong_model_prints_no_object(wrong: Path) -> None:
    done = outrider("render", str(wrong))
    assert (done.returncode, done.stdout, len(done.stderr.splitlines())) == (1, "", 2)


@pytest.mark.parametrize(
    ("args", "says"),
    [
        (["rendr", QWEN], "No such command 'rendr'. Did you mean 'render'?"),
        (["render"], "Missing argument 'FILE';"),
        (["render", QWEN, "--image", "x"], "No such option: --image"),
        (["render", QWEN, "-n", "A b"], "--namespace: 'A b' is not the name of a namespace; use at most 63"),
        (["render", QWEN, "--image-draft", ""], "--image-draft: '' is not the name of an image;"),
    ],
)
def test_a_wrong_flag_is_one_line_and_exit_2(args: list[str], says: str) -> None:
    done = outrider(*args)
    assert (done.returncode, done.stdout) == (2, "")
    [line] = done.stderr.splitlines()
    assert line.startswith(f"outrider: error: {says}")


@pytest.mark.parametrize(
    ("command", "says"),
    [
        (f"render {QWEN} > /dev/full", "cannot write: No space left on device; send the output elsewhere"),
        ("validate - <&-", "<stdin>: is closed; pipe a resource in, or name a file"),
    ],
)
def test_a_stream_that_cannot_be_used_is_one_line_and_exit_2(command: str, says: str) -> None:
    program = f"{shlex.quote(sys.executable)} -c 'from outrider_operator.cli import main; main()'"
    done = subprocess.run(["sh", "-c", f"{program} {command}"], capture_output=True, text=True, cwd=ROOT, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (2, "", f"outrider: error: {says}\n")


def test_a_sign_that_the_outputs_encoding_lacks_is_a_question_mark(tmp_path: Path) -> None:
    file = tmp_path / "模型.yaml"
    file.write_text((ROOT / SMOL).read_text())
    done = outrider("validate", str(file), PYTHONIOENCODING="latin-1")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == f"{tmp_path}/??.yaml: SpeculativeModel smollm2: ok\n"


@pytest.mark.parametrize(("stream", "screen"), [("stdout", PlainScreen()), ("stderr", JsonScreen(""))])
def test_a_run_whose_output_is_closed_goes_on_and_says_nothing_elsewhere(
    stream: str, screen: Screen, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def run(**_: object) -> None:
        screen.say("logs: /tmp")
        screen.close()

    monkeypatch.setattr(sys, stream, None)  # as Python says that it is closed
    monkeypatch.setattr(cli, "app", run)
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert ended.value.code is None
    assert capsys.readouterr() == ("", "")


def test_help_has_examples_and_version_the_version() -> None:
    assert "outrider validate manifests/samples/*.yaml" in outrider("validate", "--help").stdout
    assert "outrider render manifests/samples/qwen-coder.yaml" in outrider("render", "--help").stdout
    assert re.fullmatch(r"outrider \d+\.\d+\.\d+\S*\n", outrider("--version").stdout)
    bare = outrider()
    assert bare.returncode == 0
    assert "validate" in bare.stdout


def test_colour_is_only_for_terminals(wrong: Path) -> None:
    assert "\x1b[" not in outrider("validate", str(wrong), SMOL).stderr
    forced = outrider("validate", str(wrong), FORCE_COLOR="1", NO_COLOR="")
    assert "\x1b[" in forced.stderr
    assert "\x1b[3" not in outrider("validate", str(wrong), FORCE_COLOR="1", NO_COLOR="1").stderr
