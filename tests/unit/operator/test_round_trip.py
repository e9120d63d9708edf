"""Any model that the API allows is the same after YAML, and can be rendered."""

from typing import Any

import pytest
import yaml
from hypothesis import example, given, settings
from hypothesis import strategies as st
from outrider_operator.api.dump import to_yaml
from outrider_operator.api.problem import UnreadableError
from outrider_operator.api.quantity import parse_quantity
from outrider_operator.api.v1alpha1 import SpeculativeModel
from outrider_operator.api.validation import check
from outrider_operator.resources.build import build
from outrider_operator.resources.platform import Platform
from unit.operator.yaml_models import resource

WORD = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._-]{0,20}", fullmatch=True)
QUANTITIES = st.one_of(
    st.integers(0, 64),
    st.from_regex(r"[0-9]{1,4}(\.[0-9]{1,3})?([KMGT]i|[mkMGT])?", fullmatch=True),
)
SIZES = st.dictionaries(st.sampled_from(["cpu", "memory", "nvidia.com/gpu", "nvidia.com/mig-1g.10gb"]), QUANTITIES)


def _name(entry: dict[str, str]) -> str:
    return entry["name"]


def maybe(**fields: st.SearchStrategy[object]) -> st.SearchStrategy[dict[str, object]]:
    """A mapping with any of the fields."""
    return st.fixed_dictionaries({}, optional=fields)


@st.composite
def resources(draw: st.DrawFn) -> dict[str, object]:
    """Requests and limits that a pod could have."""
    limits, requests = draw(SIZES), draw(SIZES)
    fitting = {
        name: value
        for name, value in requests.items()
        if name not in limits or parse_quantity(value) <= parse_quantity(limits[name])
    }
    return {"limits": limits, "requests": fitting}


POOLS = st.one_of(
    st.builds(lambda memory: {"memory": memory}, st.one_of(st.integers(1, 1 << 40), st.sampled_from(["4Gi", "1e9"]))),
    st.builds(lambda fraction: {"fraction": fraction}, st.floats(0.01, 1)),
)
NAME = st.from_regex(r"[a-z0-9]{1,20}", fullmatch=True)
TEXT = st.text(max_size=20)
POD_TEMPLATES = maybe(
    annotations=st.dictionaries(WORD, TEXT, max_size=3),
    nodeSelector=st.dictionaries(WORD, WORD, max_size=3),
    env=st.lists(st.builds(lambda name, value: {"name": f"X_{name}", "value": value}, NAME, TEXT), unique_by=_name),
    volumes=st.lists(st.builds(lambda name: {"name": name, "emptyDir": {}}, NAME), max_size=3, unique_by=_name),
    affinity=st.just({"nodeAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": []}}),
)
ROUTES = st.one_of(
    st.builds(lambda host: {"kind": "Route", "host": host}, NAME),
    st.builds(lambda name: {"kind": "Ingress", "ingressClassName": name}, NAME),
    st.builds(lambda name: {"kind": "HTTPRoute", "parentRefs": [{"name": name}]}, NAME),
)
POLICIES = maybe(
    **{"enabled": st.booleans(), "from": st.just([{"podSelector": {}}, {"ipBlock": {"cidr": "10.0.0.0/8"}}])}
)
FIELDS = {
    "dtype": st.sampled_from(["auto", "bfloat16", "float32"]),
    "maxModelLen": st.integers(16, 1 << 24),
    "maxNumSeqs": st.integers(1, 1024),
    "replicas": st.integers(0, 256),
    "kvCache": POOLS,
    "resources": resources(),
    "podTemplate": POD_TEMPLATES,
}
DRAFT = maybe(
    **FIELDS,
    quantization=st.just("int8"),
    placement=maybe(sameNode=st.sampled_from(["Preferred", "Required", "None"])),
)
MODEL = st.one_of(
    st.builds(lambda org, name: {"uri": f"hf://{org}/{name}"}, WORD, WORD),
    st.builds(lambda org, name, rev: {"uri": f"hf://{org}/{name}", "revision": rev}, WORD, WORD, WORD),
    st.builds(lambda name: {"uri": f"file:///{name}"}, WORD),
)
DRAFTS = st.builds(lambda model, role: {"model": model, **role}, MODEL, DRAFT)


@st.composite
def targets(draw: st.DrawFn) -> dict[str, object]:
    """A target whose ranks have a GPU each, where it asks for GPUs of that kind."""
    target = draw(
        maybe(
            **FIELDS,
            quantization=st.sampled_from(["int8", "fp8"]),
            maxQueue=st.integers(0, 65536),
            maxBatchedTokens=st.integers(16, 65536),
            tensorParallelSize=st.integers(1, 16),
        )
    )
    quantities = target.get("resources")
    if isinstance(quantities, dict):
        for kind in quantities.values():
            kind.pop("nvidia.com/gpu", None)
        if draw(st.booleans()):
            quantities["limits"]["nvidia.com/gpu"] = target.get("tensorParallelSize", 1)
    return {"model": draw(MODEL), **target}


@st.composite
def speculations(draw: st.DrawFn) -> dict[str, object]:
    depth, branches = draw(st.integers(1, 64)), draw(st.integers(1, 4))
    drawn = draw(
        maybe(
            mode=st.sampled_from(["Auto", "Always", "Off"]),
            minProbability=st.floats(0, 1),
            tolerance=st.floats(0, 10),
            draftPatience=st.sampled_from(["0s", "50ms", "1.5s", "250us"]),
        )
    )
    nodes = draw(st.integers(depth * branches, 256))
    return {**drawn, "maxDepth": depth, "maxBranches": branches, "maxNodes": nodes}


DIRECTIONS = maybe(
    stabilizationWindowSeconds=st.integers(0, 3600),
    selectPolicy=st.sampled_from(["Max", "Min", "Disabled"]),
    policies=st.lists(
        st.builds(
            lambda kind, value, period_s: {"type": kind, "value": value, "periodSeconds": period_s},
            st.sampled_from(["Pods", "Percent"]),
            st.integers(1, 1000),
            st.integers(1, 1800),
        ),
        min_size=1,
        max_size=4,
    ),
    tolerance=st.sampled_from([0, "50m", "0.1"]),
)
SCALING = st.builds(
    lambda least, more, rest: {"minReplicas": least, "maxReplicas": least + more, **rest},
    st.integers(1, 128),
    st.integers(0, 128),
    maybe(behavior=maybe(scaleUp=DIRECTIONS, scaleDown=DIRECTIONS)),
)
AUTOSCALING = maybe(
    mode=st.sampled_from(["Active", "Advisory"]),
    target=SCALING,
    draft=SCALING,
    slo=maybe(ttftP95=st.sampled_from(["2s", "1.5s"]), itlP95=st.sampled_from(["50ms", "200us"])),
    minGoodputGain=st.floats(1, 10),
)


@st.composite
def specs(draw: st.DrawFn) -> dict[str, Any]:
    """A spec whose roles have replicas or are scaled."""
    spec: dict[str, Any] = draw(FIXED)
    if draw(st.booleans()):
        spec["autoscaling"] = draw(AUTOSCALING)
        for role in ("target", "draft"):
            if role not in spec:
                spec["autoscaling"].pop(role, None)
            elif role in spec["autoscaling"]:
                spec[role].pop("replicas", None)
    return spec


FIXED = st.fixed_dictionaries(
    {"target": targets()},
    optional={
        "draft": DRAFTS,
        "speculation": speculations(),
        "paused": st.booleans(),
        "endpoint": maybe(port=st.integers(1, 65535), route=ROUTES, networkPolicy=POLICIES),
        "storage": st.builds(lambda size: {"size": size, "accessModes": ["ReadWriteMany"]}, st.integers(1, 1 << 50)),
    },
)


def as_data(model: SpeculativeModel) -> dict[str, object]:
    return model.model_dump(mode="json", by_alias=True, exclude_none=True)


@settings(deadline=None)  # large models are slow to read back on a busy machine
@given(specs())
@example({"target": {"model": {"uri": "hf://a/b"}, "resources": {"requests": {"cpu": "08"}}}})
@example({"target": {"model": {"uri": "hf://a/b", "revision": "1e3"}}})
def test_a_model_is_the_same_after_yaml(spec: dict[str, object]) -> None:
    first = check(to_yaml([resource(spec)]), "first.yaml")
    assert first.problems == []
    second = check(to_yaml([as_data(first.models[0])]), "second.yaml")
    assert second.problems == []
    assert second.models == first.models


@pytest.mark.long
@settings(deadline=None)  # large models are slow to read back on a busy machine
@given(specs())
def test_any_model_can_be_rendered_and_always_to_the_same(spec: dict[str, object]) -> None:
    [model] = check(to_yaml([resource(spec)]), "model.yaml").models
    objects = build(model, Platform())
    assert objects == build(model, Platform())
    assert len({(thing["kind"], thing["metadata"]["name"]) for thing in objects}) == len(objects)
    assert list(yaml.safe_load_all(to_yaml(objects))) == objects


@given(st.text(max_size=200))
def test_no_text_breaks_the_check(text: str) -> None:
    try:
        told = [str(problem) for problem in check(text, "any.yaml").problems]
    except UnreadableError as error:
        told = [str(error)]
    assert told
    assert all("\n" not in line for line in told)
