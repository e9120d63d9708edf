"""The operator's Deployment: its image, what it is told, where it runs, and what keeps it running."""

from __future__ import annotations

from typing import Any

import pytest
import typer
from outrider_operator.__main__ import app
from support.chart import MONITORING, NAMESPACE, ROUTES, Object, of_kind, rendered, the

DIGEST = f"sha256:{'a' * 64}"
PROMETHEUS = {"url": "https://prometheus.example.com"}
ACCOUNT = "/var/run/secrets/kubernetes.io/serviceaccount"


def pod(values: dict[str, Any] | None = None, **how: Any) -> Object:
    found: Object = the(rendered(values, **how), "Deployment")["spec"]["template"]["spec"]
    return found


def container(values: dict[str, Any] | None = None, **how: Any) -> Object:
    [found] = pod(values, **how)["containers"]
    assert isinstance(found, dict)
    return found


def arguments(values: dict[str, Any] | None = None, **how: Any) -> list[str]:
    found: list[str] = container(values, **how)["args"]
    return found


@pytest.mark.parametrize(
    ("image", "reference"),
    [
        ({}, "outrider-operator:0.1.0"),
        ({"tag": "1.2.3"}, "outrider-operator:1.2.3"),
        ({"registry": "registry.example.com/team"}, "registry.example.com/team/outrider-operator:0.1.0"),
        ({"registry": "registry.example.com/", "repository": "mine"}, "registry.example.com/mine:0.1.0"),
        ({"tag": "1.2.3", "digest": DIGEST}, f"outrider-operator@{DIGEST}"),
    ],
)
def test_an_image_is_named_by_registry_name_and_tag_or_by_digest(image: dict[str, str], reference: str) -> None:
    assert container({"image": image})["image"] == reference


def test_the_operator_is_told_the_image_of_the_models_pods() -> None:
    assert arguments() == ["--image-target=outrider-serving:0.1.0", "--image-draft=outrider-serving:0.1.0"]
    mirrored = arguments({"servingImage": {"registry": "registry.example.com", "digest": DIGEST}})
    assert mirrored[0] == f"--image-target=registry.example.com/outrider-serving@{DIGEST}"


def test_it_is_told_all_that_is_asked_for_and_knows_every_flag() -> None:
    asked = {"namespaces": ["chat", "search"], "modelMirror": "/models", "verbose": True}
    told = arguments({**asked, "prometheus": {**PROMETHEUS, "tokenSecret": "token", "caConfigMap": "authority"}})
    assert told[2:] == [
        "--namespace=chat",
        "--namespace=search",
        "--model-mirror=/models",
        "--prometheus=https://prometheus.example.com",
        "--prometheus-token-file=/etc/outrider/prometheus/token",
        "--prometheus-ca-file=/etc/outrider/prometheus/ca.crt",
        "--verbose",
    ]
    understood = typer.main.get_command(app).make_context("outrider-operator", list(told)).params
    assert list(understood["namespace"]) == ["chat", "search"]
    assert understood["model_mirror"] == "/models"
    assert str(understood["prometheus_token_file"]) == "/etc/outrider/prometheus/token"
    assert str(understood["prometheus_ca_file"]) == "/etc/outrider/prometheus/ca.crt"
    assert understood["verbose"] is True


def test_token_and_authority_of_prometheus_are_mounted_where_they_are_named() -> None:
    made = pod({"prometheus": {**PROMETHEUS, "tokenSecret": "token", "caConfigMap": "authority"}})
    [volume] = [each for each in made["volumes"] if each["name"] == "prometheus"]
    token, authority = volume["projected"]["sources"]
    assert token["secret"] == {"name": "token", "items": [{"key": "token", "path": "token"}]}
    assert authority["configMap"] == {"name": "authority", "items": [{"key": "ca.crt", "path": "ca.crt"}]}
    [mount] = [each for each in made["containers"][0]["volumeMounts"] if each["name"] == "prometheus"]
    assert mount == {"name": "prometheus", "mountPath": "/etc/outrider/prometheus", "readOnly": True}


def test_a_prometheus_that_asks_for_nothing_is_given_nothing() -> None:
    assert arguments({"prometheus": PROMETHEUS})[2:] == ["--prometheus=https://prometheus.example.com"]
    assert [volume["name"] for volume in pod({"prometheus": PROMETHEUS})["volumes"]] == ["tmp"]


def test_on_openshift_its_prometheus_gets_the_operators_own_token() -> None:
    told = arguments({"prometheus": PROMETHEUS}, serves=[ROUTES])
    assert f"--prometheus-token-file={ACCOUNT}/token" in told
    assert f"--prometheus-ca-file={ACCOUNT}/service-ca.crt" in told
    volumes = pod({"prometheus": PROMETHEUS}, serves=[ROUTES])["volumes"]
    assert [volume["name"] for volume in volumes] == ["tmp"]


def test_a_token_of_ones_own_is_taken_on_openshift_too() -> None:
    told = arguments({"prometheus": {**PROMETHEUS, "tokenSecret": "token"}}, serves=[ROUTES])
    assert "--prometheus-token-file=/etc/outrider/prometheus/token" in told
    assert f"--prometheus-ca-file={ACCOUNT}/service-ca.crt" in told


def test_probes_ask_the_port_that_the_service_leads_to() -> None:
    items = rendered()
    made = the(items, "Deployment")
    [operator] = made["spec"]["template"]["spec"]["containers"]
    assert operator["ports"] == [{"name": "http", "containerPort": 8080, "protocol": "TCP"}]
    paths = {probe: operator[probe]["httpGet"] for probe in ("startupProbe", "livenessProbe", "readinessProbe")}
    assert {probe: ask["path"] for probe, ask in paths.items()} == {
        "startupProbe": "/healthz",
        "livenessProbe": "/healthz",
        "readinessProbe": "/readyz",
    }
    assert {ask["port"] for ask in paths.values()} == {"http"}
    service = the(items, "Service")["spec"]
    assert [port["targetPort"] for port in service["ports"]] == ["http"]
    labels = made["spec"]["template"]["metadata"]["labels"]
    assert service["selector"].items() <= labels.items()
    assert made["spec"]["selector"]["matchLabels"].items() <= labels.items()


def test_models_let_its_pods_in_by_their_name() -> None:
    """As resources/security.py has it in the models' NetworkPolicies."""
    labels = the(rendered(), "Deployment")["spec"]["template"]["metadata"]["labels"]
    assert labels["app.kubernetes.io/name"] == "outrider-operator"


def test_its_pods_are_spread_over_nodes_and_zones() -> None:
    spread = pod()["topologySpreadConstraints"]
    assert [each["topologyKey"] for each in spread] == ["kubernetes.io/hostname", "topology.kubernetes.io/zone"]
    labels = the(rendered(), "Deployment")["spec"]["selector"]["matchLabels"]
    assert all(each["labelSelector"] == {"matchLabels": labels} for each in spread)


def test_a_selector_of_ones_own_is_left_as_it_is() -> None:
    own = {"maxSkew": 1, "topologyKey": "rack", "whenUnsatisfiable": "DoNotSchedule"}
    selector = {"matchLabels": {"team": "chat"}}
    [made] = pod({"topologySpreadConstraints": [{**own, "labelSelector": selector}]})["topologySpreadConstraints"]
    assert made == {**own, "labelSelector": selector}


def test_placement_is_a_pods_own() -> None:
    asked: dict[str, Any] = {
        "nodeSelector": {"node-role.kubernetes.io/infra": ""},
        "tolerations": [{"key": "infra", "operator": "Exists"}],
        "affinity": {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": []}}},
        "priorityClassName": "high",
        "imagePullSecrets": [{"name": "registry"}],
    }
    made = pod(asked)
    assert {name: made[name] for name in asked} == asked
    assert not asked.keys() & pod().keys()


def test_a_budget_keeps_one_of_several_replicas() -> None:
    budget = the(rendered(), "PodDisruptionBudget")["spec"]
    assert budget["minAvailable"] == 1
    assert budget["selector"] == the(rendered(), "Deployment")["spec"]["selector"]
    half = the(rendered({"podDisruptionBudget": {"minAvailable": "50%"}}), "PodDisruptionBudget")
    assert half["spec"]["minAvailable"] == "50%"


@pytest.mark.parametrize("values", [{"replicas": 1}, {"podDisruptionBudget": {"enabled": False}}])
def test_a_single_replica_can_always_be_drained(values: dict[str, Any]) -> None:
    assert of_kind(rendered(values), "PodDisruptionBudget") == []


def test_nothing_but_metrics_and_probes_reaches_it() -> None:
    policy = the(rendered(), "NetworkPolicy")["spec"]
    assert policy["podSelector"] == the(rendered(), "Deployment")["spec"]["selector"]
    assert policy["policyTypes"] == ["Ingress"]
    assert policy["ingress"] == [{"ports": [{"port": 8080, "protocol": "TCP"}]}]
    assert of_kind(rendered({"networkPolicy": {"enabled": False}}), "NetworkPolicy") == []


def test_named_peers_read_its_metrics_and_the_test_asks_it() -> None:
    prometheus = {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "monitoring"}}}
    items = rendered({"networkPolicy": {"from": [prometheus]}})
    [rule] = the(items, "NetworkPolicy")["spec"]["ingress"]
    named, test = rule["from"]
    assert named == prometheus
    assert test["podSelector"]["matchLabels"].items() <= the(items, "Pod")["metadata"]["labels"].items()


def test_the_names_follow_the_release() -> None:
    def name(release: str, **values: str) -> str:
        metadata = the(rendered(values, release=release), "Deployment")["metadata"]
        assert metadata["namespace"] == NAMESPACE
        return str(metadata["name"])

    assert name("outrider") == name("outrider-operator") == "outrider-operator"
    assert name("my-outrider") == "my-outrider-operator"
    assert name("chat") == "chat-outrider-operator"
    assert name("chat", fullnameOverride="operator") == "operator"
    assert len(name("a" * 53)) <= 53


def names(release: str) -> set[str]:
    """Of the operator's own objects that have the release's name."""
    kinds = ("Deployment", "Service", "ServiceAccount")
    return {the(rendered(release=release), kind)["metadata"]["name"] for kind in kinds}


@pytest.mark.parametrize(
    ("release", "name"),
    [
        ("outrider.prod", "outrider-prod-operator"),
        ("team.chat", "team-chat-outrider-operator"),
        ("team.outrider-operator", "team-outrider-operator"),
        ("2nd", "outrider-2nd-operator"),
        ("7", "outrider-7-operator"),
    ],
)
def test_a_release_whose_name_no_service_can_have_is_installed_under_one_that_it_can(release: str, name: str) -> None:
    assert names(release) == {name}


@pytest.mark.parametrize(
    ("longest", "suffix"),
    [
        ("language-models-of-the-search-team", "-outrider-operator"),
        ("outrider-of-the-language-models-of-search", "-operator"),
    ],
)
def test_a_name_is_cut_where_it_must_be_and_two_that_begin_alike_are_still_two(longest: str, suffix: str) -> None:
    assert names(longest) == {longest + suffix}
    [one], [other] = names(f"{longest}-in-east"), names(f"{longest}-in-west")
    assert one != other
    for cut in (one, other):
        assert cut.startswith(longest[:27])
        assert cut.endswith(suffix)
        assert len(cut) <= 53


def lease(release: str, **values: object) -> str:
    """Of the leader, as the operator takes its arguments."""
    told = arguments(values, release=release)
    return str(typer.main.get_command(app).make_context("outrider-operator", told).params["lease_name"])


def test_releases_for_other_namespaces_have_a_leader_each() -> None:
    assert lease("outrider", namespaces=["chat"]) == "outrider-operator"
    assert lease("my-outrider", namespaces=["search"]) == "my-outrider-operator"
    assert lease("outrider", namespaces=["code"], fullnameOverride="second") == "second"


def test_releases_for_all_namespaces_lead_in_turn_whatever_they_are_called() -> None:
    assert lease("outrider") == lease("outrider-operator") == "outrider-operator"
    assert lease("chat") == lease("outrider", fullnameOverride="second") == "outrider-operator"


def test_everything_says_what_it_belongs_to() -> None:
    values = {"models": {"chat": {"target": {"model": {"uri": "hf://org/big"}}}}}
    items = rendered(values, serves=[MONITORING, ROUTES])
    for item in items.values():
        if item["kind"] not in ("Pod", "SpeculativeModel"):
            assert item["metadata"]["labels"]["helm.sh/chart"] == "outrider-0.1.0"
            assert item["metadata"]["labels"]["app.kubernetes.io/version"] == "0.1.0"
