"""Whom the chart gives which rights, in the cluster and in chosen namespaces."""

from __future__ import annotations

from typing import Any

from outrider_operator.kube.kinds import CHILDREN
from support.chart import NAMESPACE, ROUTES, Object, of_kind, rendered, the

NAMESPACED = {"namespaces": ["chat", "search"]}
CLUSTER_WIDE = {"namespaces", "customresourcedefinitions"}
PROMETHEUS = {"prometheus": {"url": "https://thanos-querier.openshift-monitoring.svc:9091"}}
OPERATOR = "outrider-operator"


def rules(role: Object) -> set[tuple[str, str, str]]:
    """Group, resource and verb of everything that it allows."""
    return {
        (group, resource, verb)
        for rule in role["rules"]
        for group in rule["apiGroups"]
        for resource in rule["resources"]
        for verb in rule["verbs"]
    }


def named(name: str, kind: str, values: dict[str, Any] | None = None) -> list[Object]:
    return [item for item in of_kind(rendered(values), kind) if item["metadata"]["name"] == name]


def test_the_operator_may_do_all_that_reconcile_does() -> None:
    [role] = named(OPERATOR, "ClusterRole")
    allowed = rules(role)
    for kind in CHILDREN:
        group = kind.api_version.rpartition("/")[0]
        assert {(group, kind.plural, verb) for verb in ("get", "create", "patch", "delete")} <= allowed, kind.plural
    assert ("outrider.dev", "speculativemodels/status", "patch") in allowed
    assert ("apps", "deployments/scale", "patch") in allowed


def test_it_may_do_nothing_to_others_and_lists_no_secret() -> None:
    [role] = named(OPERATOR, "ClusterRole")
    allowed = rules(role)
    assert not {rule for rule in allowed if "*" in rule}
    assert {verb for group, resource, verb in allowed if resource == "speculativemodels"} == {"get", "list", "watch"}
    assert {verb for group, resource, verb in allowed if resource == "pods"} == {"get", "list", "watch"}
    assert {verb for group, resource, verb in allowed if resource == "secrets"}.isdisjoint({"list", "watch"})


def test_in_chosen_namespaces_it_has_the_same_rights_there_and_none_elsewhere() -> None:
    items = rendered(NAMESPACED)
    assert of_kind(items, "ClusterRole") == of_kind(items, "ClusterRoleBinding") == []
    roles = {role["metadata"]["namespace"]: role for role in of_kind(items, "Role")}
    assert roles.keys() == {"chat", "search", NAMESPACE}
    [everywhere] = named(OPERATOR, "ClusterRole")
    expected = {rule for rule in rules(everywhere) if rule[1] not in CLUSTER_WIDE}
    assert rules(roles["chat"]) == rules(roles["search"]) == expected
    assert rules(roles[NAMESPACE]) == {("coordination.k8s.io", "leases", verb) for verb in ("get", "create", "update")}


def test_its_own_namespace_may_be_among_them() -> None:
    roles = of_kind(rendered({"namespaces": [NAMESPACE]}), "Role")
    assert {role["metadata"]["name"] for role in roles} == {OPERATOR, f"{OPERATOR}-lease"}


def test_every_right_is_the_operators_account_alone() -> None:
    for values in ({}, NAMESPACED):
        items = rendered(values)
        account = the(items, "ServiceAccount")["metadata"]
        subject = {"kind": "ServiceAccount", "name": account["name"], "namespace": account["namespace"]}
        bindings = [*of_kind(items, "RoleBinding"), *of_kind(items, "ClusterRoleBinding")]
        assert bindings
        roles = {(kind, namespace) for kind, namespace, _ in items}
        for binding in bindings:
            assert binding["subjects"] == [subject]
            assert (binding["roleRef"]["kind"], binding["metadata"].get("namespace", "")) in roles


def test_the_token_is_for_the_operators_pods() -> None:
    items = rendered()
    assert the(items, "ServiceAccount")["automountServiceAccountToken"] is False
    pod = the(items, "Deployment")["spec"]["template"]["spec"]
    assert pod["automountServiceAccountToken"] is True
    assert pod["serviceAccountName"] == the(items, "ServiceAccount")["metadata"]["name"]


def test_who_may_edit_a_namespace_may_edit_its_models() -> None:
    [view] = named(f"{OPERATOR}-view", "ClusterRole")
    [edit] = named(f"{OPERATOR}-edit", "ClusterRole")
    prefix = "rbac.authorization.k8s.io/aggregate-to-"
    assert {name for name in view["metadata"]["labels"] if name.startswith(prefix)} == {
        f"{prefix}view",
        f"{prefix}edit",
        f"{prefix}admin",
    }
    editing = {name for name in edit["metadata"]["labels"] if name.startswith(prefix)}
    assert editing == {f"{prefix}edit", f"{prefix}admin"}
    assert {verb for _, _, verb in rules(view)} == {"get", "list", "watch"}
    assert ("outrider.dev", "speculativemodels", "create") in rules(edit)
    assert named(f"{OPERATOR}-edit", "ClusterRole", {"userRoles": {"enabled": False}}) == []


def test_openshifts_prometheus_answers_the_operator() -> None:
    items = rendered(PROMETHEUS, serves=[ROUTES])
    bound = {item["roleRef"]["name"]: item for item in of_kind(items, "ClusterRoleBinding")}
    assert bound["cluster-monitoring-view"]["subjects"] == bound[OPERATOR]["subjects"]


def test_it_may_not_read_openshifts_prometheus_where_it_does_not_ask_it() -> None:
    forced = {**PROMETHEUS, "openshift": {"enabled": False}}
    own = {"prometheus": {**PROMETHEUS["prometheus"], "tokenSecret": "token"}}
    for items in (
        rendered(serves=[ROUTES]),
        rendered(PROMETHEUS),
        rendered(forced, serves=[ROUTES]),
        rendered(own, serves=[ROUTES]),
    ):
        assert [item["roleRef"]["name"] for item in of_kind(items, "ClusterRoleBinding")] == [OPERATOR]
