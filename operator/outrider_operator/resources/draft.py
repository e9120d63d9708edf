"""The draft: the model that proposes. What it proposes, and how much of it, the target says as they talk."""

from outrider_operator.api.v1alpha1 import Draft, SpeculativeModel
from outrider_operator.resources.names import draft_name, selector
from outrider_operator.resources.platform import Platform
from outrider_operator.resources.pod import Object, Port, Role, deployment, model_args
from outrider_operator.resources.scaling import initial_replicas
from outrider_operator.resources.secrets import identity

DRAIN_S = 30  # its state is a cache: nothing is lost when it ends


def draft_deployment(model: SpeculativeModel, draft: Draft, platform: Platform) -> Object:
    """The Deployment of the draft, which is model.spec.draft."""
    network = platform.network
    http = Port("http", network.draft_http_port)
    role = Role(
        component="draft",
        object_name=draft_name(model),
        spec=draft,
        image=platform.draft_image,
        args=draft_args(draft, platform),
        ports=[Port("grpc", network.draft_port), http],
        http_port=http.name,
        model_mirror=platform.model_mirror,
        prefetch=platform.prefetch,
        linger_s=network.linger_s,
        drain_s=DRAIN_S,
        affinity=_affinity(model, draft),
        replicas=initial_replicas(model, "draft"),
        folders=identity(model, "draft", platform),
    )
    return deployment(model, role)


def draft_args(draft: Draft, platform: Platform) -> list[str]:
    """The flags of outrider-draft, but for the model's address."""
    return [
        *model_args(draft),
        f"--host={platform.network.listen_host}",
        f"--port={platform.network.draft_port}",
        f"--http-port={platform.network.draft_http_port}",
    ]


def _affinity(model: SpeculativeModel, draft: Draft) -> Object:
    """Puts the draft on a node of the target, as far as that is wanted: a step waits for a round trip between them."""
    term = {"topologyKey": "kubernetes.io/hostname", "labelSelector": {"matchLabels": selector(model, "target")}}
    match draft.placement.same_node:
        case "Required":
            return {"podAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [term]}}
        case "Preferred":
            preferred = [{"weight": 100, "podAffinityTerm": term}]
            return {"podAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": preferred}}
        case "None":
            return {}
