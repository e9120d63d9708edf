"""How clients outside the cluster get in: a Route, an Ingress or an HTTPRoute to the target's Service."""

from outrider_operator.api.v1alpha1 import Route, SpeculativeModel
from outrider_operator.resources.names import labels, namespace, target_name
from outrider_operator.resources.platform import Platform
from outrider_operator.resources.pod import Object

API_VERSIONS = {
    "Route": "route.openshift.io/v1",
    "Ingress": "networking.k8s.io/v1",
    "HTTPRoute": "gateway.networking.k8s.io/v1",
}
PORT = "http"  # its name in the target's Service

# Routers end a connection on which nothing has come for 30 s or 60 s. A request may wait longer for its place,
# and a long prompt is read in silence.
SILENCE_S = 600


def route(model: SpeculativeModel) -> Object | None:
    """What leads to the model from outside. None where nothing is to."""
    wanted = model.spec.endpoint.route
    if wanted is None:
        return None
    build = {"Route": _openshift, "Ingress": _ingress, "HTTPRoute": _http_route}[wanted.kind]
    made: Object = {
        "apiVersion": API_VERSIONS[wanted.kind],
        "kind": wanted.kind,
        "metadata": {
            "name": target_name(model),
            "namespace": namespace(model),
            "labels": labels(model, "target"),
        },
        "spec": build(model, wanted),
    }
    annotations = {**_annotations(model, wanted), **(wanted.annotations or {})}
    if annotations:
        made["metadata"]["annotations"] = annotations
    return made


def unserved_route(model: SpeculativeModel, platform: Platform) -> str | None:
    """Why there is no way in from outside though one is asked for, and the remedy. None where there is one."""
    wanted = model.spec.endpoint.route
    if wanted is None or platform.serves(API_VERSIONS[wanted.kind], wanted.kind):
        return None
    others = [kind for kind, version in API_VERSIONS.items() if platform.serves(version, kind)]
    return (
        f"spec.endpoint.route.kind: the cluster does not serve {API_VERSIONS[wanted.kind]}, so no {wanted.kind} is"
        f" made; choose {' or '.join(others)}, or install that API"
    )


def _annotations(model: SpeculativeModel, wanted: Route) -> dict[str, str]:
    """What routers are told that have no field for it. A router leaves the annotations of others alone."""
    match wanted.kind:
        case "Route":
            return {"haproxy.router.openshift.io/timeout": f"{SILENCE_S}s"}
        case "Ingress":
            nginx = {"proxy-read-timeout": str(SILENCE_S), "proxy-buffering": "off"}
            if model.spec.endpoint.tls is not None:
                nginx["backend-protocol"] = "HTTPS"
            return {f"nginx.ingress.kubernetes.io/{name}": value for name, value in nginx.items()}
        case "HTTPRoute":
            return {}


def _openshift(model: SpeculativeModel, wanted: Route) -> Object:
    spec: Object = {
        "to": {"kind": "Service", "name": target_name(model), "weight": 100},
        "port": {"targetPort": PORT},
        "tls": _openshift_tls(model, wanted),
        "wildcardPolicy": "None",
    }
    return spec if wanted.host is None else {"host": wanted.host, **spec}


def _openshift_tls(model: SpeculativeModel, wanted: Route) -> Object:
    """Always there: API keys and prompts would cross the network in the open otherwise."""
    ends = wanted.termination or ("Edge" if model.spec.endpoint.tls is None else "Passthrough")
    tls: Object = {"insecureEdgeTerminationPolicy": "Redirect", "termination": ends.lower()}
    if wanted.tls is not None:
        tls["externalCertificate"] = {"name": wanted.tls.secret_ref.name}
    if wanted.destination_ca is not None:
        tls["destinationCACertificate"] = wanted.destination_ca
    return tls


def _ingress(model: SpeculativeModel, wanted: Route) -> Object:
    service = {"name": target_name(model), "port": {"name": PORT}}
    rule: Object = {"http": {"paths": [{"path": "/", "pathType": "Prefix", "backend": {"service": service}}]}}
    if wanted.host is not None:
        rule["host"] = wanted.host
    spec: Object = {"rules": [rule]}
    if wanted.ingress_class_name is not None:
        spec["ingressClassName"] = wanted.ingress_class_name
    if wanted.tls is not None:
        spec["tls"] = [{"hosts": [wanted.host], "secretName": wanted.tls.secret_ref.name}]
    return spec


def _http_route(model: SpeculativeModel, wanted: Route) -> Object:
    spec: Object = {
        "parentRefs": [gateway.model_dump(by_alias=True, exclude_none=True) for gateway in wanted.parent_refs or ()],
        "rules": [
            {
                "matches": [{"path": {"type": "PathPrefix", "value": "/"}}],
                "backendRefs": [{"name": target_name(model), "port": model.spec.endpoint.port}],
            }
        ],
    }
    return spec if wanted.host is None else {"hostnames": [wanted.host], **spec}
