"""The CRD: what a server accepts of it, and that its rules and its typed view say the same."""

import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import cel
import kubernetes_validate
import pytest
import yaml
from outrider_operator.api.document import Path
from outrider_operator.api.fields import field_at
from outrider_operator.api.rules import RULES
from outrider_operator.api.validation import check
from unit.operator.yaml_models import CRD_FILE, ROOT, SAMPLES, resource

CRD = yaml.safe_load(CRD_FILE.read_text())
SCHEMA: dict[str, Any] = CRD["spec"]["versions"][0]["schema"]["openAPIV3Schema"]


def schemas(schema: dict[str, Any] = SCHEMA, path: Path = ()) -> Iterator[tuple[Path, dict[str, Any]]]:
    """Every schema of the CRD, with its path."""
    yield path, schema
    for name, inner in schema.get("properties", {}).items():
        yield from schemas(inner, (*path, name))
    if "items" in schema:
        yield from schemas(schema["items"], (*path, 0))


def cel_rules() -> list[tuple[Path, str, str]]:
    """Path, rule and message of everything in CEL."""
    return [
        (path, rule["rule"], rule["message"])
        for path, schema in schemas()
        for rule in schema.get("x-kubernetes-validations", [])
    ]


def with_defaults(data: Any, schema: dict[str, Any]) -> Any:
    """The data as a server stores it."""
    if not isinstance(data, dict) or "properties" not in schema:
        return data
    filled = dict(data)
    for name, inner in schema["properties"].items():
        if name not in filled and "default" in inner:
            filled[name] = inner["default"]
        if name in filled:
            filled[name] = with_defaults(filled[name], inner)
    return filled


def value_at(data: Any, path: Path) -> Any:
    for part in path:
        data = data.get(part) if isinstance(data, dict) else None
    return data


def messages_of_cel(data: dict[str, Any]) -> set[str]:
    """The messages with which a server would refuse the resource."""
    stored = with_defaults(data, SCHEMA)
    found = [(value_at(stored, path), rule, message) for path, rule, message in cel_rules()]
    return {message for value, rule, message in found if value is not None and not cel.evaluate(rule, {"self": value})}


def test_a_cluster_takes_it_for_a_custom_resource_definition() -> None:
    kubernetes_validate.validate(CRD, kubernetes_validate.latest_version(), strict=True)


@pytest.mark.parametrize(("path", "schema"), [found for found in schemas() if found[0]])
def test_every_field_is_described_and_bounded(path: Path, schema: dict[str, Any]) -> None:
    if path == ("metadata",):  # the API server's own
        return
    assert schema["description"].endswith(".")
    kind = "quantity" if schema.get("x-kubernetes-int-or-string") else schema["type"]
    if kind in ("integer", "number"):
        assert "minimum" in schema
        assert "maximum" in schema or schema["format"] == "int64"
    if kind == "quantity":
        assert {"minimum", "maxLength", "pattern"} <= schema.keys()
    if path[0] == "spec" and kind == "string" and path[-3:] != ("env", 0, "value"):
        assert "enum" in schema or {"maxLength", "pattern"} <= schema.keys()
    if kind == "array":
        assert "maxItems" in schema
    if "additionalProperties" in schema:
        assert "maxProperties" in schema


@pytest.mark.parametrize(("path", "schema"), [found for found in schemas() if found[0][:1] == ("spec",)])
def test_the_typed_view_has_each_field_with_its_type_bounds_and_default(path: Path, schema: dict[str, Any]) -> None:
    field = field_at(path)
    assert field is not None
    assert set(field.names) == set(schema.get("properties", {}))
    assert list(field.choices) == schema.get("enum", [])
    parent, name = field_at(path[:-1]), path[-1]
    assert parent is not None
    around = dict(schemas())[path[:-1]]
    if "properties" in around:
        assert parent.names[str(name)].required == (name in around.get("required", []))
    if "maximum" in schema:
        assert field.bounds == f"from {schema['minimum']} to {schema['maximum']}"


def test_the_typed_view_is_generated_from_it() -> None:
    command = [sys.executable, str(ROOT / "operator/hack/generate_api.py"), "--check"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_defaults_are_the_same_on_a_server_and_here() -> None:
    bare = resource({"draft": {"model": {"uri": "hf://org/small"}}})
    [model] = check(yaml.safe_dump(bare), "bare.yaml").models
    here = model.spec.model_dump(mode="json", by_alias=True, exclude_none=True)
    assert here == with_defaults(bare, SCHEMA)["spec"]


def test_each_rule_in_cel_has_a_twin_in_python_with_the_same_message() -> None:
    def place(path: Path) -> Path:
        return () if path == ("metadata", "name") else path  # CEL reaches the name from the root alone

    in_python = {(place(path), rule.message) for rule in RULES if rule.has_cel_twin for path in rule.paths}
    assert in_python == {(path, message) for path, _, message in cel_rules()}


@pytest.mark.parametrize("file", SAMPLES, ids=lambda file: file.stem)
def test_samples_keep_every_cel_rule(file: Any) -> None:
    assert messages_of_cel(yaml.safe_load(file.read_text())) == set()


def model_with(uri: str, **fields: Any) -> dict[str, Any]:
    return {"target": {"model": {"uri": uri, **fields}}}


def target_with(**fields: Any) -> dict[str, Any]:
    return {"target": {"model": {"uri": "hf://a/b"}, **fields}}


def pods(**template: Any) -> dict[str, Any]:
    return target_with(podTemplate=template)


def mount(name: str, path: str) -> dict[str, Any]:
    return {"name": name, "mountPath": path}


def shared(access: str | None, same_node: str = "Preferred", **spec: Any) -> dict[str, Any]:
    """A pair whose models are on a volume."""
    modes = {} if access is None else {"accessModes": [access]}
    draft = {"model": {"uri": "hf://a/b"}, "placement": {"sameNode": same_node}}
    return {"draft": draft, "storage": {"size": "50Gi", **modes}, **spec}


def route(kind: str, **fields: Any) -> dict[str, Any]:
    return {"endpoint": {"route": {"kind": kind, **fields}}}


def secure_route(**fields: Any) -> dict[str, Any]:
    """Of a target that has a certificate."""
    return {"endpoint": {"tls": CERTIFICATE, "route": {"kind": "Route", **fields}}}


def scaled(spec: dict[str, Any] | None = None, **autoscaling: Any) -> dict[str, Any]:
    return {**(spec or {}), "autoscaling": autoscaling}


DRAFT = {"draft": {"model": {"uri": "hf://a/b"}}}
BETWEEN = {"minReplicas": 1, "maxReplicas": 4}
CERTIFICATE = {"secretRef": {"name": "chat-example-com"}}
AUTHORITY = "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n"
GATEWAY = [{"name": "public", "namespace": "gateways"}]


def ranks_on_gpus(ranks: int | None, gpus: int | str) -> dict[str, Any]:
    size = {} if ranks is None else {"tensorParallelSize": ranks}
    return target_with(resources={"limits": {"nvidia.com/gpu": gpus}}, **size)


JUDGED = [
    ({}, None),
    (model_with("hf://a/b"), None),
    (model_with("hf://Qwen/Qwen2.5-Coder-1.5B-Instruct", revision="main"), None),
    (model_with("pvc://claim/path/to/model"), None),
    (model_with("s3://my.bucket/prefix/"), None),
    (model_with("oci://registry:5000/team/model:v1"), None),
    (model_with(f"oci://registry/model@sha256:{'a' * 64}"), None),
    (model_with("file:///models/s"), None),
    (model_with("hf://org"), "not the address"),
    (model_with("hf://org/name/more"), "not the address"),
    (model_with("hf://org/na me"), "not the address"),
    (model_with("hf://../name"), "not the address"),
    (model_with("pvc://claim"), "not the address"),
    (model_with("pvc://Claim/path"), "not the address"),
    (model_with("s3://bucket"), "not the address"),
    (model_with("oci://image"), "not the address"),
    (model_with("file://models/s"), "not the address"),
    (model_with("file:///"), "not the address"),
    (model_with("file:///models/s", revision="main"), "revision belongs"),
    ({"draft": {"model": {"uri": "s3://bucket/d", "revision": "1"}}}, "revision belongs"),
    ({"speculation": {"maxDepth": 8, "maxBranches": 4, "maxNodes": 32}}, None),
    ({"speculation": {"maxDepth": 8, "maxBranches": 4, "maxNodes": 31}}, "must fit into maxNodes"),
    ({"speculation": {"maxDepth": 9}}, "must fit into maxNodes"),
    ({"speculation": {"draftPatience": "50ms"}}, None),
    ({"speculation": {"draftPatience": "0s"}}, None),
    ({"speculation": {"draftPatience": "10s"}}, None),
    ({"speculation": {"draftPatience": "10.5s"}}, "at most 10s"),
    ({"speculation": {"draftPatience": "10001ms"}}, "at most 10s"),
    ({"speculation": {"mode": "Always"}}, None),
    ({"speculation": {"mode": "Auto", "fallback": "None"}}, None),
    ({"speculation": {"mode": "Always", "fallback": "None"}}, "nothing to draft with"),
    (
        {"speculation": {"mode": "Always", "fallback": "None"}, "draft": {"model": {"uri": "hf://a/b"}}},
        None,
    ),
    (target_with(kvCache={"memory": "4Gi"}), None),
    (target_with(kvCache={"memory": 1 << 30}), None),
    (target_with(kvCache={"fraction": 0.5}), None),
    (target_with(kvCache={}), "exactly one of the two"),
    (target_with(kvCache={"memory": "4Gi", "fraction": 0.5}), "exactly one of the two"),
    ({"draft": {"model": {"uri": "hf://a/b"}, "kvCache": {"memory": "4Gi"}}}, None),
    ({"draft": {"model": {"uri": "hf://a/b"}, "kvCache": {}}}, "exactly one of the two"),
    (target_with(tensorParallelSize=2), None),
    (ranks_on_gpus(None, 1), None),
    (ranks_on_gpus(2, 2), None),
    (ranks_on_gpus(2, "2"), None),
    (ranks_on_gpus(2, 0), None),
    (ranks_on_gpus(2, "0"), None),
    (ranks_on_gpus(None, 2), "every rank has a GPU"),
    (ranks_on_gpus(2, 1), "every rank has a GPU"),
    (ranks_on_gpus(2, "4"), "every rank has a GPU"),
    (ranks_on_gpus(2, "2000m"), "every rank has a GPU"),
    (pods(env=[{"name": "A", "value": ""}, {"name": "B", "valueFrom": {"fieldRef": {"fieldPath": "x"}}}]), None),
    (pods(env=[{"name": "A"}, {"name": "TMPDIRS", "value": "/x"}]), None),
    (pods(env=[{"name": "A", "value": "", "valueFrom": {}}]), "a value or a valueFrom"),
    (pods(env=[{"name": "A"}, {"name": "HOME", "value": "/root"}]), "HOME and TMPDIR"),
    (pods(env=[{"name": "TMPDIR", "value": "/cache"}]), "HOME and TMPDIR"),
    (pods(env=[{"name": "HF_HOME", "value": "/models"}]), None),
    (pods(volumes=[{"name": "shm", "emptyDir": {}}, {"name": "my-outrider-a", "emptyDir": {}}]), None),
    (pods(volumes=[{"name": "outrider-identity", "emptyDir": {}}]), "are the operator's own"),
    (pods(volumes=[{"name": "data", "emptyDir": {}}], volumeMounts=[mount("data", "/data")]), None),
    (pods(volumeMounts=[mount("cache", "/models"), mount("tmp", "/scratch")]), None),
    (pods(volumeMounts=[mount("data", "/data")]), "a volume that is not there"),
    (pods(volumes=[{"name": "a", "emptyDir": {}}], volumeMounts=[mount("b", "/b")]), "a volume that is not there"),
    (pods(volumeMounts=[mount("tmp", "/etc/outriders")]), None),
    (pods(volumeMounts=[mount("tmp", "/etc/outrider")]), "certificates and keys"),
    (pods(volumeMounts=[mount("tmp", "/etc/outrider/keys")]), "certificates and keys"),
    ({"draft": {"model": {"uri": "hf://a/b"}, "podTemplate": {"env": [{"name": "HOME"}]}}}, "HOME and TMPDIR"),
    ({"storage": {"size": "50Gi"}}, None),
    ({"storage": {"size": 1 << 40}, "target": {"model": {"uri": "hf://a/b"}, "replicas": 2}}, "on one node"),
    (shared(None), "on one node"),
    (shared("ReadWriteOnce"), "on one node"),
    (shared("ReadWriteOnce", "None"), "on one node"),
    (shared("ReadWriteOnce", "Required"), None),
    (shared("ReadWriteOnce", speculation={"mode": "Off"}), None),
    (shared("ReadWriteOnce", draft={"model": {"uri": "hf://a/b"}, "replicas": 0}), None),
    (shared("ReadWriteMany"), None),
    (shared("ReadWriteMany", **target_with(replicas=3)), None),
    (shared("ReadWriteOnce", "Required", **target_with(replicas=2)), "on one node"),
    (route("Route"), None),
    (route("Route", host="chat.example.com", tls=CERTIFICATE), None),
    (route("Route", parentRefs=GATEWAY), "hangs on Gateways"),
    (route("Ingress", ingressClassName="nginx"), None),
    (route("Ingress", host="chat.example.com", tls=CERTIFICATE), None),
    (route("Ingress", tls=CERTIFICATE), "a certificate is for a host"),
    (route("HTTPRoute", parentRefs=GATEWAY), None),
    (route("HTTPRoute"), "hangs on Gateways"),
    (route("HTTPRoute", parentRefs=GATEWAY, tls=CERTIFICATE), "is its Gateway's"),
    (route("Route", ingressClassName="nginx"), "belongs to an Ingress"),
    ({"endpoint": {"tls": CERTIFICATE, "route": {"kind": "Route"}}}, None),
    ({"endpoint": {"tls": CERTIFICATE, "route": {"kind": "Ingress", "host": "a.b", "tls": CERTIFICATE}}}, None),
    ({"endpoint": {"tls": CERTIFICATE, "route": {"kind": "Route", "tls": CERTIFICATE}}}, "hands TLS through"),
    (secure_route(termination="Passthrough"), None),
    (secure_route(termination="Reencrypt"), None),
    (secure_route(termination="Reencrypt", tls=CERTIFICATE, destinationCA=AUTHORITY), None),
    (secure_route(termination="Passthrough", tls=CERTIFICATE), "hands TLS through"),
    (secure_route(termination="Edge"), "Edge is for a target without"),
    (secure_route(termination="Passthrough", destinationCA=AUTHORITY), "trusts that re-encrypts"),
    (route("Route", termination="Edge", tls=CERTIFICATE), None),
    (route("Route", termination="Reencrypt"), "Edge is for a target without"),
    (route("Ingress", termination="Edge"), "is where the TLS of a Route ends"),
    (scaled(), None),
    (scaled(target=BETWEEN), None),
    (scaled(target={"maxReplicas": 1}), None),
    (scaled(target={"minReplicas": 5, "maxReplicas": 4}), "minReplicas is more than maxReplicas"),
    (scaled(target={"minReplicas": 0, "maxReplicas": 4}), "a target at zero needs a gateway"),
    (scaled(DRAFT, draft={"maxReplicas": 4}), None),
    (scaled(DRAFT, draft={"minReplicas": 4, "maxReplicas": 4}), None),
    (scaled(DRAFT, draft={"minReplicas": 5, "maxReplicas": 4}), "minReplicas is more than maxReplicas"),
    (scaled(draft=BETWEEN), "a draft that is not there"),
    (scaled(target_with(replicas=1), target=BETWEEN), None),
    (scaled(target_with(replicas=3)), None),
    (scaled(target_with(replicas=3), target=BETWEEN), "remove one of the two"),
    (scaled(target_with(replicas=0), target=BETWEEN), "remove one of the two"),
    (scaled(target_with(replicas=3), target=BETWEEN, mode="Advisory"), None),
    (scaled({"draft": {**DRAFT["draft"], "replicas": 2}}, target=BETWEEN), None),
    (scaled({"draft": {**DRAFT["draft"], "replicas": 2}}, draft=BETWEEN), "remove one of the two"),
    (scaled({"draft": {**DRAFT["draft"], "replicas": 2}}, draft=BETWEEN, mode="Advisory"), None),
    (scaled(DRAFT | {"speculation": {"mode": "Off"}}, draft=BETWEEN), None),
    (scaled(slo={"ttftP95": "2s", "itlP95": "50ms"}), None),
    (scaled(slo={}), None),
    (scaled(slo={"ttftP95": "0s"}), "no answer takes no time"),
    (scaled(slo={"itlP95": "0.0ms"}), "no answer takes no time"),
    (scaled(shared("ReadWriteMany"), target=BETWEEN, draft=BETWEEN), None),
    (scaled(shared("ReadWriteOnce", "Required"), target={"maxReplicas": 1}, draft=BETWEEN), None),
    (scaled(shared("ReadWriteOnce", "Required"), target=BETWEEN), "on one node"),
    (scaled(target={**BETWEEN, "behavior": {"scaleDown": {"tolerance": "50m", "selectPolicy": "Disabled"}}}), None),
]


@pytest.mark.parametrize(("spec", "refused"), JUDGED)
def test_cel_and_python_judge_alike(spec: dict[str, Any], refused: str | None) -> None:
    data = resource(spec)
    in_python = {problem.message for problem in check(yaml.safe_dump(data), "m.yaml").problems}
    assert in_python == messages_of_cel(data)
    assert len(in_python) == (0 if refused is None else 1)
    assert all(str(refused) in message for message in in_python)


@pytest.mark.parametrize(
    ("name", "fits"),
    [
        ("a", True),
        ("a" * 56, True),
        ("a" * 57, False),
        ("1a", False),
        ("A", False),
        ("a-", False),
        ("a.b", False),
    ],
)
def test_names_that_fit_into_those_of_services(name: str, fits: bool) -> None:
    data = resource({}, name)
    in_python = {problem.message for problem in check(yaml.safe_dump(data), "m.yaml").problems}
    assert in_python == messages_of_cel(data)
    assert (in_python == set()) == fits


def test_the_scale_subresource_and_the_columns_read_fields_that_are_there() -> None:
    version = CRD["spec"]["versions"][0]
    paths = [*version["subresources"]["scale"].values()]
    paths += [column["jsonPath"] for column in version["additionalPrinterColumns"]]
    fields = {path for path, _ in schemas()}
    for path in paths:
        first = path.split("[")[0].strip(".")
        assert first == "metadata.creationTimestamp" or tuple(first.split(".")) in fields
    assert version["subresources"]["scale"]["specReplicasPath"] == ".spec.target.replicas"


def test_columns_say_the_state_first_and_the_models_only_when_asked() -> None:
    columns = CRD["spec"]["versions"][0]["additionalPrinterColumns"]
    plain = [column["name"] for column in columns if not column.get("priority")]
    assert plain == ["Ready", "Target", "Draft", "Accepted/step", "ITL p95", "URL", "Age"]
    assert [column["name"] for column in columns if column.get("priority")] == ["Reason", "Target model", "Draft model"]
