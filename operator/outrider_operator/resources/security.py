"""Who the pods are, and who may speak with them."""

from outrider_operator.api.v1alpha1 import SpeculativeModel
from outrider_operator.resources.names import draft_name, labels, namespace, selector, target_name
from outrider_operator.resources.placement import draft_in_use
from outrider_operator.resources.platform import Platform
from outrider_operator.resources.pod import Object

# Labels of the operator's own pods.
OPERATOR = {"app.kubernetes.io/name": "outrider-operator"}


def service_account(model: SpeculativeModel) -> Object:
    """The pods' own account: it has no rights, and its token is mounted nowhere."""
    return {
        "apiVersion": "v1",
        "kind": "ServiceAccount",
        "metadata": {
            "name": target_name(model),
            "namespace": namespace(model),
            "labels": labels(model, "target"),
        },
        "automountServiceAccountToken": False,
    }


def network_policies(model: SpeculativeModel, platform: Platform) -> list[Object]:
    """What reaches the pods: clients the target's API, the target alone the draft's.

    /metrics of the draft is for all. That of the target is on the API's port, and so for whom that is, and for the
    operator, which reads it.
    """
    wanted = model.spec.endpoint.network_policy
    if not wanted.enabled:
        return []
    network = platform.network
    api: Object = {"ports": [_tcp(network.target_port)]}
    if wanted.from_ is not None:
        clients = [peer.model_dump(by_alias=True, exclude_none=True) for peer in wanted.from_]
        api["from"] = [*clients, *_operator(platform)]
    target = _policy(model, "target", target_name(model), [api])
    if draft_in_use(model) is None:
        return [target]
    from_target = [{"podSelector": {"matchLabels": selector(model, "target")}}]
    ingress = [
        {"ports": [_tcp(network.draft_port)], "from": from_target},
        {"ports": [_tcp(network.draft_http_port)]},
    ]
    return [_policy(model, "draft", draft_name(model), ingress), target]


def _operator(platform: Platform) -> list[Object]:
    """The operator's pods. By their namespace too: a label alone is anybody's to take."""
    if platform.operator_namespace is None:
        return []
    of_namespace = {"matchLabels": {"kubernetes.io/metadata.name": platform.operator_namespace}}
    return [{"namespaceSelector": of_namespace, "podSelector": {"matchLabels": OPERATOR}}]


def _tcp(port: int) -> Object:
    return {"port": port, "protocol": "TCP"}


def _policy(model: SpeculativeModel, role: str, name: str, ingress: list[Object]) -> Object:
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": {"name": name, "namespace": namespace(model), "labels": labels(model, role)},
        "spec": {
            "podSelector": {"matchLabels": selector(model, role)},
            "policyTypes": ["Ingress"],
            "ingress": ingress,
        },
    }
