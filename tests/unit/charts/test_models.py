"""Models that come with the release."""

from __future__ import annotations

from typing import Any

import pytest
import yaml
from outrider_operator.api.validation import check
from support.chart import NAMESPACE, Refused, of_kind, rendered

PAIR: dict[str, Any] = {
    "target": {"model": {"uri": "hf://org/big"}},
    "draft": {"model": {"uri": "hf://org/small"}},
    "speculation": {"mode": "Off", "minProbability": 0.05, "maxNodes": 256},
}


def test_each_has_the_spec_that_is_given() -> None:
    light = {"target": {"model": {"uri": "hf://org/big"}}}
    made = of_kind(rendered({"models": {"pair": PAIR, "light": light}}), "SpeculativeModel")
    assert {item["metadata"]["name"]: item["spec"] for item in made} == {"pair": PAIR, "light": light}
    for item in made:
        assert item["metadata"]["namespace"] == NAMESPACE
        assert check(yaml.safe_dump(item), "model.yaml").problems == []


def test_without_them_there_are_none() -> None:
    assert of_kind(rendered(), "SpeculativeModel") == []


def test_they_are_where_the_operator_looks() -> None:
    with pytest.raises(Refused, match=f"the operator does not look at namespace {NAMESPACE}.*add it to namespaces"):
        rendered({"models": {"pair": PAIR}, "namespaces": ["chat"]})
    items = rendered({"models": {"pair": PAIR}, "namespaces": ["chat", NAMESPACE]})
    assert len(of_kind(items, "SpeculativeModel")) == 1


@pytest.mark.parametrize(
    ("models", "said"),
    [
        ({"pair": {}}, "/models/pair"),
        ({"pair": {"draft": PAIR["draft"]}}, "/models/pair"),
        ({"Pair": PAIR}, "invalid propertyName 'Pair'"),
        ({"1st": PAIR}, "invalid propertyName '1st'"),
    ],
)
def test_what_can_be_no_model_is_refused_with_its_place(models: dict[str, Any], said: str) -> None:
    with pytest.raises(Refused, match=said):
        rendered({"models": models})
