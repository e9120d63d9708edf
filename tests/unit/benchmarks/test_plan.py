"""What is run, in which order and from which resources, before anything is started."""

from __future__ import annotations

import json
from collections import Counter
from itertools import chain
from pathlib import Path
from typing import Any

import pytest
from benchmarks import fleet
from benchmarks.comparison import schedule
from benchmarks.counters import moved, parse_counters
from benchmarks.estimate import SETTLE_S, Estimate
from benchmarks.goals import OUTRIDER, OUTRIDER_OFF, OWN
from benchmarks.machine import weights_bytes
from benchmarks.prompts import COPYING, OWN_PROMPTS, Prompt, Question, choose, marked, questions_of, read_questions
from benchmarks.runs import Answer
from benchmarks.systems import PAIR_Q, PAIR_S, Case, Cores, System, parts, resource
from outrider_operator.resources.placement import Placement, placement
from outrider_serving.cli import FlagError
from unit.benchmarks.measured import encode

TWO_CORES = Cores.split([0, 1])


def questions(*categories: str) -> list[Question]:
    return [Question(str(index), category, "text") for index, category in enumerate(categories)]


def test_an_interrupted_run_has_seen_every_category() -> None:
    chosen = choose(questions("qa", "qa", "rag", "rag"), encode, per_category=2)
    assert [prompt.category for prompt in chosen.prompts] == ["qa", "rag", "qa", "rag"]


def test_too_long_a_prompt_is_left_out_counted_and_replaced_by_the_next() -> None:
    long, short = Question("1", "rag", "x" * 1025), Question("2", "rag", "x" * 1024)
    chosen = choose([long, short], encode, per_category=1)
    assert [prompt.id for prompt in chosen.prompts] == ["2"]
    assert chosen.too_long == {"rag": 1}


@pytest.mark.parametrize("line", ["{", '{"turns": []}', '{"question_id": 1, "category": "qa", "turns": [2]}', "[]"])
def test_a_line_of_another_form_is_named(line: str, tmp_path: Path) -> None:
    file = tmp_path / "prompts.jsonl"
    file.write_text('{"question_id": 1, "category": "qa", "turns": ["hello"]}\n' + line + "\n")
    with pytest.raises(FlagError, match=r"prompts\.jsonl:2: not of the form"):
        read_questions(file)


def test_copying_comes_from_the_own_prompts_where_a_file_has_none(tmp_path: Path) -> None:
    file = tmp_path / "prompts.jsonl"
    file.write_text(json.dumps({"question_id": 1, "category": "qa", "turns": ["hello"]}) + "\n")
    assert {question.category for question in questions_of(file, copying=True)} == {"qa", COPYING}
    assert {question.category for question in questions_of(file, copying=False)} == {"qa"}


def test_the_own_prompts_cover_every_category_twice_at_least() -> None:
    count = Counter(question.category for question in read_questions(OWN_PROMPTS))
    assert len(count) == 14
    assert min(count.values()) >= 2


def test_every_prompt_goes_through_every_system_before_the_next_in_another_order() -> None:
    prompts = [Prompt(name, "qa", (1,)) for name in ("a", "b")]
    all_cases = parts(PAIR_Q, TWO_CORES)[0]
    steps = schedule(0, all_cases, prompts, rounds=1)
    first, second = steps[: len(all_cases)], steps[len(all_cases) :]
    assert {step.prompt.id for step in first} == {"a"}
    assert {step.case for step in first} == {step.case for step in second} == set(all_cases)
    assert first[0].case != second[0].case


def systems_of(found: list[list[Case]]) -> list[set[System]]:
    return [{case.system for case in part} for part in found]


def test_a_marked_prompt_differs_from_its_question_on_and_is_the_same_otherwise() -> None:
    prompt = Prompt("1", "qa", (9, 9, 1, 2, 3))
    assert marked(prompt, 2, (7, 8)) == Prompt("1", "qa", (9, 9, 7, 8, 1, 2, 3))


def test_a_draft_of_its_own_is_compared_apart_and_only_where_there_is_one_with_a_core_for_it() -> None:
    assert systems_of(parts(PAIR_Q, TWO_CORES))[-1] == {System.OWN, System.OWN_OFF, System.OWN_INT8}
    assert System.OWN not in set().union(*systems_of(parts(PAIR_Q, Cores.split([0]))))
    assert len(parts(PAIR_S, TWO_CORES)) == 1


def test_every_system_of_pair_q_is_run_and_never_more_than_four_at_once() -> None:
    found = systems_of(parts(PAIR_Q, TWO_CORES))
    assert set().union(*found) == set(System)
    assert max(map(len, found)) == 4


def test_of_the_systems_that_were_chosen_those_are_run_that_are_compared() -> None:
    chosen = [System.OUTRIDER_OFF, System.OUTRIDER_INT8]
    assert systems_of(parts(PAIR_Q, TWO_CORES, chosen)) == [set(chosen)]
    assert systems_of(parts(PAIR_Q, TWO_CORES, [System.DRAFT_ONLY])) == [{System.DRAFT_ONLY}]


def test_a_variant_differs_from_its_model_in_one_field() -> None:
    def built(**variant: bool) -> dict[str, Any]:
        sizes = {"dtype": "bfloat16", "draft_dtype": "bfloat16", "max_model_len_tokens": 64}
        model = resource("x", "hf://org/target", "hf://org/draft", mode="Auto", **sizes, **variant)  # type: ignore[arg-type]
        spec: dict[str, Any] = model.model_dump(by_alias=True, mode="json")["spec"]
        return spec

    plain, int8, draft_only = built(), built(int8_draft=True), built(ngrams=False)
    assert int8["draft"].pop("quantization") == "int8"
    plain["draft"].pop("quantization")
    assert int8 == plain
    assert (draft_only["speculation"].pop("fallback"), plain["speculation"].pop("fallback")) == ("None", "NGram")
    assert draft_only["speculation"] == plain["speculation"]


def test_transformers_are_compared_greedily_only() -> None:
    sampled = {case.system for case in chain(*parts(PAIR_Q, TWO_CORES)) if case.temperature > 0}
    assert sampled == {System.OUTRIDER, System.OUTRIDER_OFF}


@pytest.mark.parametrize(("count", "target", "draft"), [(2, (0,), (1,)), (5, (0, 1, 2), (3, 4)), (1, (0,), ())])
def test_cores_are_halved_for_a_draft_of_its_own(count: int, target: tuple[int, ...], draft: tuple[int, ...]) -> None:
    cores = Cores.split(range(count))
    assert (cores.target, cores.draft) == (target, draft)


def test_own_cores_in_the_resource_make_the_draft_run_ahead() -> None:
    def built(own_cores: tuple[int, int] | None) -> Placement:
        return placement(
            resource(
                "own_off",
                "hf://org/target",
                "hf://org/draft",
                mode="Auto",
                dtype="bfloat16",
                draft_dtype="float32",
                max_model_len_tokens=1088,
                own_cores=own_cores,
            )
        )

    assert built((1, 1)) is Placement.OWN
    assert built(None) is Placement.SHARED


def test_an_estimate_follows_the_pace_of_the_run_itself() -> None:
    estimate = Estimate(tokens=11)
    answer = Answer("", tokens=11, first_s=1.0, first_tokens=1, total_s=3.0)
    for case in (OUTRIDER, OUTRIDER_OFF):
        estimate.warmed_up(case, 10, answer)
    once = SETTLE_S + 0.1 * 20 + 0.2 * 11
    work = [(OUTRIDER, 20), (OUTRIDER_OFF, 20)]
    assert estimate.left_s(work) == pytest.approx(2 * once)
    estimate.assume(OWN, OUTRIDER, 3.0)
    assert estimate.left_s([(OWN, 20)]) == pytest.approx(3 * once - 2 * SETTLE_S)
    estimate.took(work[0], 2 * once)
    assert estimate.left_s(work[1:]) == pytest.approx(2 * once)


METRICS = """\
# TYPE outrider_decode_tokens counter
outrider_decode_tokens_total{model_name="m"} 7
outrider_decode_tokens_created{model_name="m"} 99
# TYPE outrider_step_seconds counter
outrider_step_seconds_total{model_name="m",part="forward"} 1.5
outrider_step_seconds_total{model_name="m",part="host"} 0.5
# TYPE outrider_time_to_first_token_seconds histogram
outrider_time_to_first_token_seconds_bucket{model_name="m",le="+Inf"} 1
outrider_time_to_first_token_seconds_count{model_name="m"} 1
outrider_time_to_first_token_seconds_sum{model_name="m"} 0.25
"""


def test_counters_are_read_by_part_and_told_as_what_was_added() -> None:
    after = parse_counters(METRICS)
    assert after == {
        "decode_tokens": 7.0,
        "step_seconds.forward": 1.5,
        "step_seconds.host": 0.5,
        "time_to_first_token_seconds_sum": 0.25,
    }
    assert moved({"decode_tokens": 3.0}, after)["decode_tokens"] == 4.0
    assert moved({}, after)["step_seconds.host"] == 0.5


def test_memory_is_asked_for_by_what_is_loaded_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fleet, "PROCESS_BYTES", 1)
    (two,) = parts(PAIR_Q, TWO_CORES, {System.OUTRIDER, System.OUTRIDER_OFF})
    four = parts(PAIR_Q, TWO_CORES)[0]
    wide = weights_bytes(1000)  # of the targets, which are as this processor multiplies them
    assert fleet.needed_bytes(two, 1000, 100, "bfloat16") == 1000 + 2 * wide + 100 + 3
    assert fleet.needed_bytes(two, 1000, 100, "float32") == 1000 + 2 * wide + 200 + 3
    # Both of transformers' are one process, with a draft of its own.
    assert fleet.needed_bytes(four, 1000, 100, "bfloat16") == 1000 + 3 * wide + 200 + 5
    assert fleet.needed_bytes(parts(PAIR_S, TWO_CORES)[0], 1000, 0, "bfloat16") == 1000 + 3 * wide + 3


def test_weights_take_twice_their_file_in_float32() -> None:
    assert weights_bytes(1000, "bfloat16") == 1000
    assert weights_bytes(1000, "float32") == 2000
