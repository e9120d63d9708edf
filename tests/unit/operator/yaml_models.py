"""Models for these tests: the samples that are shipped, and models written in the test itself."""

import textwrap
from pathlib import Path
from typing import Any

import yaml
from outrider_operator.api.v1alpha1 import SpeculativeModel
from outrider_operator.api.validation import check, load

ROOT = Path(__file__).resolve().parents[3]
SAMPLES = sorted((ROOT / "manifests/samples").glob("*.yaml"))
CRD_FILE = ROOT / "crds/speculativemodels.outrider.dev.yaml"


def sample(name: str) -> SpeculativeModel:
    """The one model of manifests/samples/NAME.yaml."""
    [model] = load(ROOT / f"manifests/samples/{name}.yaml")
    return model


def resource(spec: dict[str, Any], name: str = "pair") -> dict[str, Any]:
    """A resource with this spec; a target is added where it has none."""
    target = {"model": {"uri": "hf://org/big"}}
    return {
        "apiVersion": "outrider.dev/v1alpha1",
        "kind": "SpeculativeModel",
        "metadata": {"name": name},
        "spec": {"target": target, **spec},
    }


def model(spec: dict[str, Any], name: str = "pair") -> SpeculativeModel:
    """The typed view of `resource`, by way of YAML."""
    checked = check(yaml.safe_dump(resource(spec, name)), "test.yaml")
    assert not checked.problems, "\n".join(map(str, checked.problems))
    return checked.models[0]


def problems(text: str) -> list[str]:
    """What is wrong with a YAML text, in lines."""
    return [str(problem) for problem in check(textwrap.dedent(text).lstrip("\n"), "m.yaml").problems]
