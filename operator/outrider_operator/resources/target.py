"""The target: the model that is served, and what it is told of speculation."""

from outrider_operator.api.duration import parse_duration_ms
from outrider_operator.api.v1alpha1 import Speculation, SpeculativeModel, Target
from outrider_operator.resources.control import control
from outrider_operator.resources.names import model_selector, target_name
from outrider_operator.resources.placement import draft_in_use, placement, shares_node_volume
from outrider_operator.resources.platform import Platform
from outrider_operator.resources.pod import Object, Port, Role, deployment, model_args
from outrider_operator.resources.scaling import initial_replicas
from outrider_operator.resources.secrets import endpoint, identity

DRAIN_S = 120  # a long answer's worth of streaming


def target_deployment(model: SpeculativeModel, platform: Platform) -> Object:
    """The Deployment of the target."""
    port = Port("http", platform.network.target_port)
    role = Role(
        component="target",
        object_name=target_name(model),
        spec=model.spec.target,
        image=platform.target_image,
        args=target_args(model, platform),
        ports=[port],
        http_port=port.name,
        model_mirror=platform.model_mirror,
        prefetch=platform.prefetch,
        linger_s=platform.network.linger_s,
        drain_s=DRAIN_S,
        affinity=_affinity(model),
        replicas=initial_replicas(model, "target"),
        folders=[*control(model), *identity(model, "target", platform), *endpoint(model)],
        https=model.spec.endpoint.tls is not None,
    )
    return deployment(model, role)


def _affinity(model: SpeculativeModel) -> Object:
    """Keeps a new pod on the node of the draft that holds the models' volume: on another it would wait for the volume
    for as long as the draft runs. The first pod of a model, which there is none to be near to, is one of its own.
    """
    if not shares_node_volume(model):
        return {}
    term = {"topologyKey": "kubernetes.io/hostname", "labelSelector": {"matchLabels": model_selector(model)}}
    return {"podAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [term]}}


def target_args(model: SpeculativeModel, platform: Platform) -> list[str]:
    """The flags of outrider-target, but for the model's address."""
    drafts = [] if draft_in_use(model) is None else platform.network.draft_addresses(model)
    return [
        *model_args(model.spec.target),
        *_serving_args(model.spec.target),
        f"--served-model-name={model.metadata.name}",
        f"--host={platform.network.listen_host}",
        f"--port={platform.network.target_port}",
        *(f"--draft={address}" for address in drafts),
        f"--placement={placement(model)}",
        *_speculation_args(model.spec.speculation),
    ]


def _serving_args(target: Target) -> list[str]:
    """The fields that differ from their default, which is the command's as well."""
    flags = {
        "--max-queue": "max_queue",
        "--max-batched-tokens": "max_batched_tokens",
        "--tensor-parallel-size": "tensor_parallel_size",
    }
    given = {flag: getattr(target, field) for flag, field in flags.items()}
    return [f"{flag}={value}" for flag, value in given.items() if value != Target.model_fields[flags[flag]].default]


def _speculation_args(speculation: Speculation) -> list[str]:
    args = [
        f"--mode={speculation.mode}",
        f"--max-depth={speculation.max_depth}",
        f"--max-branches={speculation.max_branches}",
        f"--max-nodes={speculation.max_nodes}",
        f"--min-probability={speculation.min_probability:.10g}",
        f"--fallback={speculation.fallback}",
    ]
    if speculation.tolerance > 0:
        args.append(f"--tolerance={speculation.tolerance:.10g}")
    if speculation.draft_patience is not None:
        args.append(f"--draft-patience-ms={parse_duration_ms(speculation.draft_patience):.10g}")
    return args
