"""The Services: one that clients of the target use, one by which the target finds every draft pod."""

from outrider_operator.api.v1alpha1 import SpeculativeModel
from outrider_operator.resources.names import draft_name, labels, namespace, selector, target_name
from outrider_operator.resources.platform import Platform
from outrider_operator.resources.pod import Object


def target_service(model: SpeculativeModel) -> Object:
    """The Service of the target, at spec.endpoint.port.

    The container keeps its own port: below 1024 it could not listen without privileges.
    """
    port = {
        "name": "http",
        "port": model.spec.endpoint.port,
        "targetPort": "http",
        "appProtocol": target_scheme(model),
    }
    return _service(model, "target", target_name(model), {"type": "ClusterIP"}, [port])


def draft_service(model: SpeculativeModel, platform: Platform) -> Object:
    """The headless Service of the draft: its name resolves to every ready pod."""
    ports = [
        {"name": "grpc", "port": platform.network.draft_port, "targetPort": "grpc", "appProtocol": "grpc"},
        {
            "name": "http",
            "port": platform.network.draft_http_port,
            "targetPort": "http",
            "appProtocol": "http",
        },
    ]
    return _service(model, "draft", draft_name(model), {"type": "ClusterIP", "clusterIP": "None"}, ports)


def target_url(model: SpeculativeModel) -> str:
    """Where clients inside the cluster reach the model."""
    return f"{target_scheme(model)}://{target_name(model)}.{namespace(model)}.svc:{model.spec.endpoint.port}"


def target_scheme(model: SpeculativeModel) -> str:
    """What the target's port speaks: http, or https where it has a certificate for clients."""
    return "http" if model.spec.endpoint.tls is None else "https"


def _service(model: SpeculativeModel, role: str, name: str, kind: Object, ports: list[Object]) -> Object:
    ports = [{**port, "protocol": "TCP"} for port in ports]
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": name, "namespace": namespace(model), "labels": labels(model, role)},
        "spec": {**kind, "selector": selector(model, role), "ports": ports},
    }
