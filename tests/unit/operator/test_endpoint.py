"""The ways in: what leads to a model from outside, what lets clients through, and what says that nothing does."""

from typing import Any

import kubernetes_validate
import pytest
from outrider_operator.api.v1alpha1 import SpeculativeModel
from outrider_operator.resources.build import build
from outrider_operator.resources.network import target_url
from outrider_operator.resources.platform import Platform
from outrider_operator.resources.route import unserved_route
from unit.operator.yaml_models import model

CERTIFICATE = {"secretRef": {"name": "chat-example-com"}}
ROUTES = "route.openshift.io/v1"
GATEWAYS = "gateway.networking.k8s.io/v1"
CLUSTER = Platform(
    optional_apis=frozenset({("policy/v1", "PodDisruptionBudget"), (ROUTES, "Route"), (GATEWAYS, "HTTPRoute")})
)


def with_endpoint(**endpoint: Any) -> SpeculativeModel:
    return model({"draft": {"model": {"uri": "hf://org/small"}}, "endpoint": endpoint})


def of_kind(model: SpeculativeModel, kind: str, platform: Platform = CLUSTER) -> list[dict[str, Any]]:
    return [thing for thing in build(model, platform) if thing["kind"] == kind]


def the_route(https: bool = False, **route: Any) -> dict[str, Any]:
    exposed = with_endpoint(port=80, route=route, **({"tls": CERTIFICATE} if https else {}))
    [found] = of_kind(exposed, route["kind"])
    assert found["metadata"]["name"] == "pair-target"
    return found


def test_without_a_route_there_is_no_way_in_from_outside() -> None:
    kinds = {thing["kind"] for thing in build(with_endpoint(), CLUSTER)}
    assert not kinds & {"Route", "Ingress", "HTTPRoute"}


def test_a_route_of_openshift_ends_tls_and_waits_for_slow_answers() -> None:
    made = the_route(kind="Route", host="chat.example.com")
    assert made["apiVersion"] == ROUTES
    assert made["spec"] == {
        "host": "chat.example.com",
        "to": {"kind": "Service", "name": "pair-target", "weight": 100},
        "port": {"targetPort": "http"},
        "tls": {"insecureEdgeTerminationPolicy": "Redirect", "termination": "edge"},
        "wildcardPolicy": "None",
    }
    assert made["metadata"]["annotations"] == {"haproxy.router.openshift.io/timeout": "600s"}


def test_a_route_without_a_host_leaves_the_name_to_openshift() -> None:
    assert "host" not in the_route(kind="Route")["spec"]


def test_a_route_has_its_own_certificate_or_hands_tls_through() -> None:
    own = the_route(kind="Route", host="chat.example.com", tls=CERTIFICATE)
    assert own["spec"]["tls"]["termination"] == "edge"
    assert own["spec"]["tls"]["externalCertificate"] == {"name": "chat-example-com"}
    assert the_route(kind="Route", https=True)["spec"]["tls"]["termination"] == "passthrough"


def test_a_route_re_encrypts_where_it_is_told_to() -> None:
    plain = the_route(https=True, kind="Route", termination="Reencrypt")
    assert plain["spec"]["tls"] == {"insecureEdgeTerminationPolicy": "Redirect", "termination": "reencrypt"}
    authority = "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n"
    own = the_route(https=True, kind="Route", termination="Reencrypt", tls=CERTIFICATE, destinationCA=authority)
    assert own["spec"]["tls"]["externalCertificate"] == {"name": "chat-example-com"}
    assert own["spec"]["tls"]["destinationCACertificate"] == authority


def test_an_ingress_leads_to_the_service_by_the_name_of_its_port() -> None:
    route = {"kind": "Ingress", "host": "chat.example.com", "ingressClassName": "nginx", "tls": CERTIFICATE}
    [made] = of_kind(with_endpoint(route=route), "Ingress")
    kubernetes_validate.validate(made, kubernetes_validate.latest_version(), strict=True)
    service = {"name": "pair-target", "port": {"name": "http"}}
    path = {"path": "/", "pathType": "Prefix", "backend": {"service": service}}
    assert made["spec"] == {
        "rules": [{"host": "chat.example.com", "http": {"paths": [path]}}],
        "ingressClassName": "nginx",
        "tls": [{"hosts": ["chat.example.com"], "secretName": "chat-example-com"}],
    }


def test_an_ingress_speaks_https_with_a_target_that_does() -> None:
    name = "nginx.ingress.kubernetes.io/backend-protocol"
    assert name not in the_route(kind="Ingress")["metadata"]["annotations"]
    assert the_route(kind="Ingress", https=True)["metadata"]["annotations"][name] == "HTTPS"


def test_an_http_route_hangs_on_its_gateways() -> None:
    gateway = {"name": "public", "namespace": "gateways", "sectionName": "https"}
    made = the_route(kind="HTTPRoute", host="chat.example.com", parentRefs=[gateway])
    assert made["apiVersion"] == GATEWAYS
    assert made["spec"] == {
        "hostnames": ["chat.example.com"],
        "parentRefs": [gateway],
        "rules": [
            {
                "matches": [{"path": {"type": "PathPrefix", "value": "/"}}],
                "backendRefs": [{"name": "pair-target", "port": 80}],
            }
        ],
    }
    assert "annotations" not in made["metadata"]


def test_a_persons_annotations_win() -> None:
    said = {"haproxy.router.openshift.io/timeout": "1h", "example.com/a": "b"}
    assert the_route(kind="Route", annotations=said)["metadata"]["annotations"] == said


@pytest.mark.parametrize(
    ("kind", "fields", "missing"),
    [("Route", {}, ROUTES), ("HTTPRoute", {"parentRefs": [{"name": "public"}]}, GATEWAYS)],
)
def test_a_route_that_the_cluster_cannot_have_is_left_out_and_told(
    kind: str, fields: dict[str, Any], missing: str
) -> None:
    exposed = with_endpoint(route={"kind": kind, **fields})
    without = Platform(optional_apis=CLUSTER.optional_apis - {(missing, kind)})
    assert of_kind(exposed, kind, without) == []
    told = unserved_route(exposed, without)
    assert told is not None
    assert told.startswith(f"spec.endpoint.route.kind: the cluster does not serve {missing}, so no {kind} is made")
    assert "choose " in told
    assert "Ingress" in told.split("choose ")[1]
    assert unserved_route(exposed, CLUSTER) is None


def test_nothing_is_told_of_a_route_that_nobody_wants_or_that_every_cluster_has() -> None:
    bare = Platform(optional_apis=frozenset())
    assert unserved_route(with_endpoint(), bare) is None
    assert unserved_route(with_endpoint(route={"kind": "Ingress"}), bare) is None


def test_where_there_is_no_cluster_to_ask_a_route_is_shown() -> None:
    assert len(of_kind(with_endpoint(route={"kind": "Route"}), "Route", Platform())) == 1


def test_a_target_with_a_certificate_is_reached_by_https() -> None:
    secure = with_endpoint(tls=CERTIFICATE)
    assert target_url(secure) == "https://pair-target.default.svc:8000"
    [_, service] = of_kind(secure, "Service")
    assert [port["appProtocol"] for port in service["spec"]["ports"]] == ["https"]
    assert target_url(with_endpoint()) == "http://pair-target.default.svc:8000"


def policies(platform: Platform = CLUSTER, **policy: Any) -> dict[str, dict[str, Any]]:
    found = of_kind(with_endpoint(networkPolicy=policy), "NetworkPolicy", platform)
    for each in found:
        kubernetes_validate.validate(each, kubernetes_validate.latest_version(), strict=True)
    return {each["metadata"]["name"]: each["spec"] for each in found}


def test_everybody_reaches_the_target_and_the_target_alone_the_draft() -> None:
    found = policies()
    assert found["pair-target"]["ingress"] == [{"ports": [{"port": 8000, "protocol": "TCP"}]}]
    [grpc, metrics] = found["pair-draft"]["ingress"]
    [peer] = grpc["from"]
    assert peer["podSelector"]["matchLabels"] == found["pair-target"]["podSelector"]["matchLabels"]
    assert "from" not in metrics


def test_named_clients_and_the_operator_reach_the_target() -> None:
    clients = [{"namespaceSelector": {"matchLabels": {"team": "chat"}}}, {"ipBlock": {"cidr": "10.0.0.0/8"}}]
    named: dict[str, Any] = {"from": clients}
    [rule] = policies(Platform(operator_namespace="outrider-system"), **named)["pair-target"]["ingress"]
    *said, operator = rule["from"]
    assert said == clients
    assert operator == {
        "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "outrider-system"}},
        "podSelector": {"matchLabels": {"app.kubernetes.io/name": "outrider-operator"}},
    }
    [without] = policies(**named)["pair-target"]["ingress"]
    assert without["from"] == clients


def test_no_policy_is_made_where_others_take_care_of_it() -> None:
    assert policies(enabled=False) == {}
