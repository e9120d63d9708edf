"""The two distributions meet in the commands: what the builders write, the programs read."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import typer
from hypothesis import given
from outrider_operator.api.dump import to_yaml
from outrider_operator.api.v1alpha1 import SpeculativeModel, Target
from outrider_operator.api.validation import check
from outrider_operator.resources.build import build
from outrider_operator.resources.platform import Platform
from outrider_serving.draft import main as draft
from outrider_serving.models import main as models
from outrider_serving.target import main as target
from outrider_serving.target import service
from typer.core import TyperGroup
from unit.operator.test_round_trip import specs
from unit.operator.yaml_models import model, resource

COMMANDS = {
    "outrider-target": typer.main.get_command(target.app),
    "outrider-draft": typer.main.get_command(draft.app),
    "outrider-models": typer.main.get_command(models.app),
}


def taken(program: str, args: list[str]) -> dict[str, Any]:
    """What the command makes of the arguments. Raises where it does not know one, or refuses its value."""
    command = COMMANDS[program]
    if isinstance(command, TyperGroup):
        command, args = command.commands[args[0]], args[1:]
    return command.make_context(program, list(args)).params


def rendered(built_from: SpeculativeModel, platform: Platform | None = None) -> list[tuple[str, list[str]]]:
    """Each program that is run, and its arguments."""
    pods = [
        thing["spec"]["template"]["spec"]
        for thing in build(built_from, platform or Platform())
        if thing["kind"] == "Deployment"
    ]
    containers = [container for pod in pods for container in [*pod.get("initContainers", []), *pod["containers"]]]
    return [(each["command"][0], each["args"]) for each in containers]


@given(specs())
def test_the_commands_take_whatever_the_resource_allows(spec: dict[str, object]) -> None:
    [allowed] = check(to_yaml([resource(spec)]), "model.yaml").models
    for program, args in rendered(allowed):
        taken(program, args)


@pytest.mark.parametrize("kv_cache", [{"memory": "4Gi"}, {"fraction": 0.5}])
def test_every_field_arrives(kv_cache: dict[str, object]) -> None:
    role = {"model": {"uri": "hf://a/b", "revision": "main"}, "kvCache": kv_cache, "quantization": "int8"}
    wide = {**role, "maxQueue": 7, "maxBatchedTokens": 64, "tensorParallelSize": 2}
    speculation = {"tolerance": 0.5, "draftPatience": "50ms"}
    args = dict(rendered(model({"target": wide, "draft": role, "speculation": speculation}), Platform(prefetch=False)))
    of_target, of_draft = (taken(program, args[program]) for program in ("outrider-target", "outrider-draft"))
    assert (of_target["max_queue"], of_target["max_batched_tokens"]) == (7, 64)
    assert (of_target["tensor_parallel_size"], of_target["tolerance"]) == (2, 0.5)
    assert (of_target["revision"], of_target["draft_patience_ms"]) == ("main", 50)
    for params in (of_target, of_draft):
        assert params["quantization"] == "int8"
        assert (params["kv_cache_memory"], params["kv_cache_fraction"]) == (
            kv_cache.get("memory"),
            kv_cache.get("fraction"),
        )


@pytest.mark.parametrize(("role", "drain_s"), [("target", service.DRAIN_S), ("draft", draft.DRAIN_S)])
def test_a_command_that_is_told_to_end_has_done_so_before_its_pod_is_killed(role: str, drain_s: float) -> None:
    spec = {"model": {"uri": "hf://a/b"}}
    built = build(model({"target": spec, "draft": spec}), Platform())
    [pod] = [
        thing["spec"]["template"]["spec"]
        for thing in built
        if thing["kind"] == "Deployment" and thing["metadata"]["name"].endswith(f"-{role}")
    ]
    linger_s = taken(f"outrider-{role}", pod["containers"][0]["args"])["linger_s"]
    assert linger_s > 0
    assert linger_s + drain_s < pod["terminationGracePeriodSeconds"]


def told(role: str, *args: str) -> str:
    """What a command line says on standard error when it ends at once; no model is looked for."""
    command = [sys.executable, "-m", f"outrider_serving.{role}.main", "--model=file:///nowhere", *args]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 2, done.stderr
    (line,) = done.stderr.splitlines()
    return line


@pytest.mark.parametrize(
    ("role", "flag", "remedy"),
    [
        ("draft", "--identity", "mount the Secret"),
        ("target", "--identity", "mount the Secret"),
        ("target", "--api-keys", "mount the Secret"),
        ("target", "--tls", "mount a Secret"),
    ],
)
def test_a_folder_that_will_not_do_is_one_line_that_names_the_flag(
    role: str, flag: str, remedy: str, tmp_path: Path
) -> None:
    line = told(role, f"{flag}={tmp_path / 'nowhere'}")
    assert line.startswith(f"outrider-{role}: error: {flag}: {tmp_path}")
    assert remedy in line


def test_a_field_that_is_left_out_is_what_the_command_has_by_itself() -> None:
    bare = taken("outrider-target", ["--model=hf://a/b"])
    for name in ("max_queue", "max_batched_tokens", "tensor_parallel_size", "max_num_seqs"):
        assert bare[name] == Target.model_fields[name].default
