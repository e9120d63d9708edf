"""What the builders are told of the place that the model will run in: images, mirror, addresses."""

from dataclasses import dataclass, field

from outrider_operator.api.v1alpha1 import SpeculativeModel
from outrider_operator.resources.names import VERSION, draft_name, namespace


@dataclass(frozen=True)
class Network:
    """Where the containers listen. The defaults are a cluster's, where each pod has an address of its own.

    A local runner gives the loopback, and for each draft ports that are free; its processes are let go before they are
    told to end.
    """

    listen_host: str = "0.0.0.0"
    target_port: int = 8000
    draft_port: int = 50051
    draft_http_port: int = 9400
    local_drafts: tuple[str, ...] | None = None  # HOST:PORT of each; None: the draft's headless Service
    # How long a pod that ends is still sent what is new, until every Service and router has heard of its end.
    linger_s: int = 10

    def draft_addresses(self, model: SpeculativeModel) -> tuple[str, ...]:
        """What the target is given as --draft, once for each."""
        if self.local_drafts is not None:
            return self.local_drafts
        # One name for every pod. dns:/// makes gRPC look it up again as draft pods come and go.
        return (f"dns:///{draft_name(model)}.{namespace(model)}.svc:{self.draft_port}",)


def default_image() -> str:
    """The image of both roles: draft and target are two commands of one distribution, released as one."""
    return f"outrider-serving:{VERSION}"


Api = tuple[str, str]  # group with version, and kind: CRDs come one by one, and of a group some may be there

# Those that a cluster may lack. All others are part of every Kubernetes that is in use.
OPTIONAL_APIS: frozenset[Api] = frozenset(
    {
        ("policy/v1", "PodDisruptionBudget"),
        ("route.openshift.io/v1", "Route"),
        ("gateway.networking.k8s.io/v1", "HTTPRoute"),
        ("monitoring.coreos.com/v1", "PodMonitor"),
        ("monitoring.coreos.com/v1", "PrometheusRule"),
    }
)


@dataclass(frozen=True)
class Platform:
    """Everything outside the resource that a rendered object depends on.

    optional_apis: those of OPTIONAL_APIS that the cluster serves. Where there is no cluster to ask: policy/v1, which
    every Kubernetes from 1.21 on has, and those of which an object is made only where the model asks for it.
    """

    target_image: str = field(default_factory=default_image)
    draft_image: str = field(default_factory=default_image)
    model_mirror: str | None = None  # folder or URL laid out as org/name, looked up before the hub
    prefetch: bool = True  # into the cache, before a role starts; else the role itself fetches, and hf:// alone
    operator_namespace: str | None = None  # where the operator runs, whom targets let in; None: there is none
    network: Network = Network()
    optional_apis: frozenset[Api] = frozenset(api for api in OPTIONAL_APIS if api[0] != "monitoring.coreos.com/v1")

    def serves(self, api_version: str, kind: str) -> bool:
        return (api_version, kind) not in OPTIONAL_APIS or (api_version, kind) in self.optional_apis
