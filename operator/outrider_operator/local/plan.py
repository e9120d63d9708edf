"""From a model to everything that `outrider up` is going to start. Pure: what the machine has is passed in.

The objects are those of `outrider render`, built for a Platform whose network is this machine's loopback.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from outrider_operator.api.v1alpha1 import Draft, PodTemplate, SpeculativeModel, Target
from outrider_operator.local.cores import assign_cores, share_cores
from outrider_operator.local.errors import LocalError
from outrider_operator.local.pod import ProcessPlan, plan_process
from outrider_operator.local.ports import LOOPBACK
from outrider_operator.resources.build import build
from outrider_operator.resources.placement import Placement, draft_in_use, placement, whole_cpus
from outrider_operator.resources.platform import Network, Platform
from outrider_operator.resources.pod import Object

LOCAL_SCHEMES = ("hf", "file")


@dataclass(frozen=True)
class Plan:
    """What is going to run."""

    name: str  # what requests call the model
    url: str  # of the OpenAI-compatible API's root
    processes: tuple[ProcessPlan, ...]  # the target first, then a process for each replica of the draft
    notes: tuple[str, ...]  # what differs from the resource here, a line each


@dataclass(frozen=True)
class DraftPorts:
    """Where one draft listens."""

    grpc: int
    http: int


@dataclass(frozen=True)
class Machine:
    """What this machine gives to the run."""

    target_port: int
    drafts: Sequence[DraftPorts]  # one for each draft that is to run
    mirror: str | None
    cores: Sequence[int]
    folder: Path  # private to the run, removed after it
    user_env: Mapping[str, str]


def local_network(target_port: int, drafts: Sequence[DraftPorts], draft: int = 0) -> Network:
    """The network of the target and of the draft of that index, of all drafts that run.

    Everything is on the loopback: models served on a laptop are not for its whole network.
    """
    own = drafts[draft] if drafts else DraftPorts(Network.draft_port, Network.draft_http_port)
    return Network(
        listen_host=LOOPBACK,
        target_port=target_port,
        draft_port=own.grpc,
        draft_http_port=own.http,
        local_drafts=tuple(f"{LOOPBACK}:{ports.grpc}" for ports in drafts),
    )


def drafts_in_use(model: SpeculativeModel) -> int:
    """How many drafts run: a process for each replica."""
    draft = draft_in_use(model)
    return 0 if draft is None else draft.replicas


def plan_run(model: SpeculativeModel, machine: Machine) -> Plan:
    """The processes of a model.

    Raises LocalError when the model needs what only a cluster has, or more cores than there are.
    """
    notes = _notes(model)
    drafts = drafts_in_use(model)
    if drafts == 0:  # placement and all else as if the resource had none
        model = model.model_copy(update={"spec": model.spec.model_copy(update={"draft": None})})
    model = _without_cluster(model)
    for role, spec in _roles(model).items():
        _refuse_cluster_storage(role, spec.model.uri)
    names = ["draft"] if drafts == 1 else [f"draft-{number}" for number in range(1, drafts + 1)]
    networks = [local_network(machine.target_port, machine.drafts[:drafts], index) for index in range(max(drafts, 1))]
    built = [_deployments(model, _platform(machine, network)) for network in networks]
    pods = [("target", built[0]["target"]), *((name, built[index]["draft"]) for index, name in enumerate(names))]
    cores = _pinning(model, names, machine.cores)
    processes = tuple(
        replace(plan_process(name, deployment, machine.folder, machine.user_env), cores=cores.get(name))
        for name, deployment in pods
    )
    if drafts > 1 and names[0] in cores and cores[names[0]] == cores[names[1]]:
        notes.append(_shared_cores_note(drafts, len(cores[names[0]])))
    url = f"http://{LOOPBACK}:{machine.target_port}"
    return Plan(model.metadata.name, url, processes, tuple(notes))


def _without_cluster(model: SpeculativeModel) -> SpeculativeModel:
    """The model without what only a cluster has: volumes, Secrets, nodes. Of a podTemplate plain variables are left."""
    endpoint = model.spec.endpoint.model_copy(update={"auth": None, "tls": None, "route": None})
    roles = {name: _role_without_cluster(role) for name, role in _roles(model).items()}
    spec = model.spec.model_copy(update={"storage": None, "endpoint": endpoint, **roles})
    return model.model_copy(update={"spec": spec})


def _role_without_cluster(role: Target | Draft) -> Target | Draft:
    said = role.pod_template
    plain = None if said is None else PodTemplate(env=[each for each in said.env or () if each.value_from is None])
    model = role.model.model_copy(update={"secret_ref": None})
    return role.model_copy(update={"pod_template": plain, "model": model})


def _platform(machine: Machine, network: Network) -> Platform:
    """This machine. What a role fetches itself stays in the user's own cache, for the next run."""
    return Platform(model_mirror=machine.mirror, prefetch=False, network=network)


def _deployments(model: SpeculativeModel, platform: Platform) -> dict[str, Object]:
    """The Deployment of each role."""
    return {
        built["spec"]["template"]["spec"]["containers"][0]["name"]: built
        for built in build(model, platform)
        if built["kind"] == "Deployment"
    }


def _roles(model: SpeculativeModel) -> dict[str, Target | Draft]:
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


def _pinning(model: SpeculativeModel, drafts: Sequence[str], available: Sequence[int]) -> dict[str, tuple[int, ...]]:
    """The cores of each process that has its own. Roles that share hardware take turns on all of it.

    Of several drafts each has its own where there are enough; else they share what the target leaves.
    """
    if placement(model) is not Placement.OWN:
        return {}
    asked = {role: whole_cpus(spec.resources) for role, spec in _roles(model).items()}
    wanted = {role: cpus for role, cpus in asked.items() if cpus is not None}
    cores = assign_cores(available, wanted)
    if "draft" not in wanted:
        return cores
    left = available[len(cores.get("target", ())) :]
    of_drafts = dict(zip(drafts, share_cores(left, wanted["draft"], len(drafts)), strict=True))
    return {role: cpus for role, cpus in cores.items() if role == "target"} | of_drafts


def _notes(model: SpeculativeModel) -> list[str]:
    notes = []
    replicas = model.spec.target.replicas
    if replicas != 1:
        notes.append(f"spec.target.replicas: {replicas} asked for; one target runs on this machine")
    if model.spec.draft is not None and draft_in_use(model) is None:
        notes.append("spec.speculation.mode: Off, so the draft is not started")
    elif model.spec.draft is not None and model.spec.draft.replicas == 0:
        notes.append("spec.draft.replicas: 0, so the target runs without a draft")
    return notes + _notes_on_the_cluster(model)


def _notes_on_the_cluster(model: SpeculativeModel) -> list[str]:
    """Whoever counts on what is in the cluster must see that it does nothing here."""
    notes = []
    for name, role in _roles(model).items():
        if role.model.secret_ref is not None:
            notes.append(f"spec.{name}.model.secretRef: not read here; export what the download needs")
        said = role.pod_template.env if role.pod_template is not None else None
        of_cluster = [each.name for each in said or () if each.value_from is not None]
        if of_cluster:
            variables = ", ".join(of_cluster)
            notes.append(f"spec.{name}.podTemplate.env: {variables} not set here; export what the role needs")
    if model.spec.endpoint.auth is not None:
        notes.append("spec.endpoint.auth: no keys are asked for here, where only this machine can ask")
    if model.spec.endpoint.tls is not None:
        notes.append("spec.endpoint.tls: plain HTTP here, which does not leave this machine")
    return notes


def _shared_cores_note(drafts: int, cores: int) -> str:
    return (
        f"spec.draft.replicas: {drafts} drafts share the CPUs that the target leaves, {cores};"
        " ask for fewer replicas or CPUs to give each its own"
    )
