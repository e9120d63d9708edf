"""From a model to everything that `outrider up` may start. Pure: what the machine has is passed in.

The objects are those of `outrider render`, built for a Platform whose network is this machine's loopback. How many
processes run may change, so a plan has a template for each role: a process of any number is planned from it as soon
as it has ports.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from outrider_operator.api.v1alpha1 import Draft, PodTemplate, SpeculativeModel, Target
from outrider_operator.autoscaling.asked import Asked, asked
from outrider_operator.local.cores import assign_cores, share_cores
from outrider_operator.local.errors import LocalError
from outrider_operator.local.pod import ProcessPlan, plan_process
from outrider_operator.local.ports import LOOPBACK
from outrider_operator.resources.build import build
from outrider_operator.resources.control import SPECULATION
from outrider_operator.resources.names import control_name
from outrider_operator.resources.placement import Placement, draft_in_use, placement, whole_cpus
from outrider_operator.resources.platform import Network, Platform
from outrider_operator.resources.pod import Object
from outrider_operator.resources.scaling import initial_replicas, scaled_roles

LOCAL_SCHEMES = ("hf", "file")


@dataclass(frozen=True)
class Ports:
    """Where one process listens. grpc: a draft's alone."""

    http: int
    grpc: int = Network.draft_port


@dataclass(frozen=True)
class Machine:
    """What this machine gives to the run."""

    mirror: str | None
    cores: Sequence[int]
    folder: Path  # private to the run, removed after it
    user_env: Mapping[str, str]

    @property
    def drafts_file(self) -> Path:
        """Where the targets read the addresses of the drafts that run, one a line."""
        return self.folder / "drafts"


@dataclass(frozen=True)
class Counts:
    """How many processes of a role run: at first, and at most."""

    first: int
    most: int


@dataclass(frozen=True)
class Template:
    """One role. Its processes differ in number, ports and cores."""

    role: str  # target or draft
    counts: Counts
    model: SpeculativeModel  # without what only a cluster has
    machine: Machine
    cores: tuple[tuple[int, ...], ...] = ()  # of each process in turn; empty: all of the machine's

    def name(self, number: int) -> str:
        """What the process of that number is called, from 1 on; where there is never a second it needs none."""
        return self.role if self.counts.most <= 1 else f"{self.role}-{number}"

    def process(self, number: int, ports: Ports) -> ProcessPlan:
        """The process of that number. One beyond the most there are to be (another one still ends) shares its cores."""
        platform = _platform(self.machine, local_network(ports, self.machine.drafts_file))
        deployment = _deployments(self.model, platform)[self.role]
        made = plan_process(self.name(number), deployment, self.machine.folder, self.machine.user_env)
        cores = self.cores[(number - 1) % len(self.cores)] if self.cores else None
        return replace(made, number=number, cores=cores)


@dataclass(frozen=True)
class Plan:
    """What is going to run."""

    name: str  # what requests call the model
    port: int  # of the OpenAI-compatible API
    templates: tuple[Template, ...]  # the target first
    drafts_file: Path
    speculation_file: Path  # where the targets read whether they may speculate
    asked: Asked  # what is scaled, if anything is
    notes: tuple[str, ...]  # what differs from the resource here, a line each

    @property
    def url(self) -> str:
        """The API's root."""
        return f"http://{LOOPBACK}:{self.port}"

    @property
    def has_service(self) -> bool:
        """Whether clients reach the targets through a Service. One that stays alone listens on the port itself."""
        return self.template("target").counts.most > 1

    def template(self, role: str) -> Template:
        """Raises KeyError for a role that the run does not have."""
        return {template.role: template for template in self.templates}[role]


def local_network(ports: Ports, drafts_file: Path) -> Network:
    """The network of one process. Everything is on the loopback: models served on a laptop are not for its whole
    network.
    """
    return Network(
        listen_host=LOOPBACK,
        target_port=ports.http,
        draft_port=ports.grpc,
        draft_http_port=ports.http,
        local_drafts=(f"file://{drafts_file}",),
        linger_s=0,
    )


def plan_run(model: SpeculativeModel, machine: Machine) -> Plan:
    """The processes of a model.

    Raises LocalError when the model needs what only a cluster has, or more cores than there are.
    """
    notes = _notes(model)
    model = _with_a_target(model)
    counts = {role: _counts(model, role) for role in _roles(model)}
    if "draft" in counts and counts["draft"].most == 0:  # placement and all else as if the resource had none
        model = model.model_copy(update={"spec": model.spec.model_copy(update={"draft": None})})
        del counts["draft"]
    model = _without_cluster(model)
    for role, spec in _roles(model).items():
        _refuse_cluster_storage(role, spec.model.uri)
    cores = _pinning(model, counts, machine.cores)
    notes += [_shared_cores_note(role, counts[role], each) for role, each in cores.items() if _are_shared(each)]
    templates = tuple(
        Template(role, counts[role], model, machine, tuple(cores.get(role, ()))) for role in _roles(model)
    )
    return Plan(
        name=model.metadata.name,
        port=model.spec.endpoint.port,
        templates=templates,
        drafts_file=machine.drafts_file,
        speculation_file=machine.folder / control_name(model) / SPECULATION,
        asked=asked(model),
        notes=tuple(notes),
    )


def _counts(model: SpeculativeModel, role: str) -> Counts:
    first = initial_replicas(model, role)
    scaling = getattr(model.spec.autoscaling, role) if role in scaled_roles(model) else None
    return Counts(first, first if scaling is None else scaling.max_replicas)


def _with_a_target(model: SpeculativeModel) -> SpeculativeModel:
    """The model with one target at least: the run stands on it."""
    target = model.spec.target.model_copy(update={"replicas": max(1, model.spec.target.replicas)})
    return model.model_copy(update={"spec": model.spec.model_copy(update={"target": target})})


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


def _pinning(
    model: SpeculativeModel, counts: Mapping[str, Counts], available: Sequence[int]
) -> dict[str, list[tuple[int, ...]]]:
    """The cores of each process of a role that has its own. Roles that share hardware take turns on all of it.

    One of each role must fit. Of several each has its own where there are enough, the targets before the drafts; else
    they share what there is for their role.
    """
    if placement(model) is not Placement.OWN:
        return {}
    requested = {role: whole_cpus(spec.resources) for role, spec in _roles(model).items()}
    wanted = {role: cpus for role, cpus in requested.items() if cpus is not None}
    assign_cores(available, wanted)
    cores: dict[str, list[tuple[int, ...]]] = {}
    left = list(available)
    for role, each in wanted.items():
        for_others = sum(cpus for other, cpus in wanted.items() if other not in cores and other != role)
        cores[role] = share_cores(left[: len(left) - for_others], each, counts[role].most)
        left = [core for core in left if all(core not in taken for taken in cores[role])]
    return cores


def _are_shared(cores: Sequence[tuple[int, ...]]) -> bool:
    return len(set(cores)) < len(cores)


def _notes(model: SpeculativeModel) -> list[str]:
    notes = []
    if model.spec.target.replicas == 0:
        notes.append("spec.target.replicas: 0 asked for; one target runs on this machine")
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


def _shared_cores_note(role: str, counts: Counts, cores: Sequence[tuple[int, ...]]) -> str:
    field = f"spec.{role}.replicas" if counts.first == counts.most else f"spec.autoscaling.{role}.maxReplicas"
    cpus = "1 CPU" if len(cores[0]) == 1 else f"{len(cores[0])} CPUs"
    return f"{field}: {counts.most} {role}s share {cpus}; ask for fewer replicas or CPUs to give each its own"
