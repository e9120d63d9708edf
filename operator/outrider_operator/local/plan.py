"""From a model to everything that `outrider up` is going to start. Pure: what the machine has is passed in.

The objects are those of `outrider render`, built for a Platform whose network is this machine's loopback.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from outrider_operator.api.v1alpha1 import Draft, SpeculativeModel, Target
from outrider_operator.local.cores import assign_cores
from outrider_operator.local.errors import LocalError
from outrider_operator.local.pod import ProcessPlan, plan_process
from outrider_operator.local.ports import LOOPBACK
from outrider_operator.resources.build import build
from outrider_operator.resources.placement import Placement, draft_in_use, placement, whole_cpus
from outrider_operator.resources.platform import Network, Platform

LOCAL_SCHEMES = ("hf", "file")


@dataclass(frozen=True)
class Plan:
    """What is going to run."""

    name: str  # what requests call the model
    url: str  # of the OpenAI-compatible API's root
    processes: tuple[ProcessPlan, ...]  # the target first
    notes: tuple[str, ...]  # what differs from the resource here, a line each


@dataclass(frozen=True)
class Machine:
    """What this machine gives to the run."""

    network: Network
    mirror: str | None
    cores: Sequence[int]
    folder: Path  # private to the run, removed after it
    user_env: Mapping[str, str]


def local_network(target_port: int, draft_port: int, draft_http_port: int) -> Network:
    """Everything on the loopback: models served on a laptop are not for its whole network."""
    return Network(
        listen_host=LOOPBACK,
        target_port=target_port,
        draft_port=draft_port,
        draft_http_port=draft_http_port,
        draft_host=LOOPBACK,
    )


def plan_run(model: SpeculativeModel, machine: Machine) -> Plan:
    """The processes of a model.

    Raises LocalError when the model needs what only a cluster has, or more cores than there are.
    """
    roles = roles_in_use(model)
    for role, spec in roles.items():
        _refuse_cluster_storage(role, spec.model.uri)
    cores = _pinning(model, roles, machine.cores)
    platform = Platform(model_mirror=machine.mirror, network=machine.network)
    deployments = {
        built["spec"]["template"]["spec"]["containers"][0]["name"]: built
        for built in build(model, platform)
        if built["kind"] == "Deployment"
    }
    processes = tuple(
        replace(
            plan_process(role, deployments[role], machine.folder, machine.user_env),
            cores=cores.get(role),
        )
        for role in roles
    )
    url = f"http://{LOOPBACK}:{machine.network.target_port}"
    return Plan(model.metadata.name, url, processes, tuple(_notes(model, roles)))


def roles_in_use(model: SpeculativeModel) -> dict[str, Target | Draft]:
    """The roles that run, the target first."""
    draft = draft_in_use(model)
    return {"target": model.spec.target} | ({"draft": draft} if draft is not None else {})


def _refuse_cluster_storage(role: str, uri: str) -> None:
    scheme = uri.split("://", 1)[0]
    if scheme not in LOCAL_SCHEMES:
        raise LocalError(
            f"spec.{role}.model.uri: {scheme}:// models need a cluster; "
            "use hf://org/name or file:///path to run it here"
        )


def _pinning(
    model: SpeculativeModel, roles: Mapping[str, Target | Draft], available: Sequence[int]
) -> dict[str, tuple[int, ...]]:
    """The cores of each role that has its own. Roles that share hardware take turns on all of it."""
    if placement(model) is not Placement.OWN:
        return {}
    wanted = {role: whole_cpus(spec.resources) for role, spec in roles.items()}
    return assign_cores(available, {role: cpus for role, cpus in wanted.items() if cpus is not None})


def _notes(model: SpeculativeModel, roles: Mapping[str, Target | Draft]) -> list[str]:
    notes = [
        f"spec.{role}.replicas: {spec.replicas} asked for; one of each role runs on this machine"
        for role, spec in roles.items()
        if spec.replicas > 1
    ]
    if model.spec.draft is not None and "draft" not in roles:
        notes.append("spec.speculation.mode: Off, so the draft is not started")
    return notes
