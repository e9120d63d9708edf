"""Errors of the commands in the words of the resource."""

import pytest
from outrider_operator.local.fields import ROLE_FIELDS, TARGET_FIELDS, with_field
from outrider_operator.local.plan import Machine, local_network, plan_run
from unit.local.test_plan import RUN, USER, model


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
    resource = model(
        target={"model": {"uri": "hf://someone/large", "revision": "main"}},
        speculation={"draftPatience": "50ms"},
    )
    machine = Machine(local_network(8123, 50051, 9400), None, range(4), RUN, USER)
    target, _ = plan_run(resource, machine).processes
    assert {arg.split("=")[0] for arg in target.argv} >= {*ROLE_FIELDS, *TARGET_FIELDS}
