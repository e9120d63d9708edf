"""The target: the model that is served, and what it is told of speculation."""

from outrider_operator.api.duration import parse_duration_ms
from outrider_operator.api.v1alpha1 import Speculation, SpeculativeModel
from outrider_operator.resources.names import target_name
from outrider_operator.resources.placement import draft_in_use, placement
from outrider_operator.resources.platform import Platform
from outrider_operator.resources.pod import Object, Port, Role, deployment, model_args

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
        drain_s=DRAIN_S,
    )
    return deployment(model, role)


def target_args(model: SpeculativeModel, platform: Platform) -> list[str]:
    """The flags of outrider-target."""
    address = platform.network.draft_address(model)
    return [
        *model_args(model.spec.target),
        f"--served-model-name={model.metadata.name}",
        f"--host={platform.network.listen_host}",
        f"--port={platform.network.target_port}",
        *([] if draft_in_use(model) is None else [f"--draft={address}"]),
        f"--placement={placement(model)}",
        *_speculation_args(model.spec.speculation),
    ]


def _speculation_args(speculation: Speculation) -> list[str]:
    args = [
        f"--mode={speculation.mode}",
        f"--max-depth={speculation.max_depth}",
        f"--max-branches={speculation.max_branches}",
        f"--max-nodes={speculation.max_nodes}",
        f"--min-probability={speculation.min_probability:.10g}",
        f"--fallback={speculation.fallback}",
    ]
    if speculation.draft_patience is not None:
        args.append(f"--draft-patience-ms={parse_duration_ms(speculation.draft_patience):.10g}")
    return args
