"""Errors of the commands in the words of the resource."""

import pytest
from outrider_operator.api.v1alpha1 import SpeculativeModel
from outrider_operator.local.fields import ROLE_FIELDS, TARGET_FIELDS, with_field
from outrider_operator.local.plan import Machine, plan_run
from unit.local.test_plan import RUN, USER, model, processes


@pytest.mark.parametrize(
    ("role", "error", "told"),
    [
        ("draft", "--model: not there; name one", "spec.draft.model.uri (--model): not there; name one"),
        ("target", "--max-model-len: too long", "spec.target.maxModelLen (--max-model-len): too long"),
        ("target", "--port: in use", "spec.endpoint.port (--port): in use"),
        ("draft", "--port: in use", "--port: in use"),  # no field of the resource
        ("target", "out of memory", "out of memory"),
        ("target", "--model is odd", "--model is odd"),
    ],
)
def test_a_flag_is_told_as_the_field_it_came_from(role: str, error: str, told: str) -> None:
    assert with_field(role, error) == told


def test_every_flag_that_has_a_field_is_one_that_is_rendered() -> None:
    machine = Machine(None, range(4), RUN, USER)
    rendered: set[str] = set()
    kv_caches: list[dict[str, object]] = [{"memory": "4Gi"}, {"fraction": 0.5}]
    for kv_cache in kv_caches:
        target, _ = processes(plan_run(with_every_field(kv_cache), machine))
        rendered |= {arg.split("=")[0] for arg in target.argv}
    assert rendered >= {*ROLE_FIELDS, *TARGET_FIELDS}


def with_every_field(kv_cache: dict[str, object]) -> SpeculativeModel:
    return model(
        target={
            "model": {"uri": "hf://someone/large", "revision": "main"},
            "quantization": "int8",
            "kvCache": kv_cache,
            "maxQueue": 16,
            "maxBatchedTokens": 128,
            "tensorParallelSize": 2,
        },
        speculation={"draftPatience": "50ms", "tolerance": 0.1},
    )
