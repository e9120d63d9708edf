"""What a person is told of a resource that is wrong: where, what, and the remedy."""

from pathlib import Path

import pytest
import yaml
from outrider_operator.api import document
from outrider_operator.api.dump import to_yaml
from outrider_operator.api.problem import InvalidResourceError, UnreadableError
from outrider_operator.api.quantity import parse_quantity
from outrider_operator.api.validation import (
    LARGEST_FILE_BYTES,
    check,
    check_object,
    decode,
    load,
    read_text,
    validate,
)
from outrider_serving.engine.memory import parse_size
from unit.operator.yaml_models import SAMPLES, problems, resource

HEAD = """\
apiVersion: outrider.dev/v1alpha1
kind: SpeculativeModel
metadata:
  name: pair
spec:
"""
TARGET = "  target: {model: {uri: hf://a/b}}\n"


@pytest.mark.parametrize("file", SAMPLES, ids=lambda file: file.stem)
def test_samples_are_right(file: Path) -> None:
    assert validate(file) == []


# Each: what follows HEAD (whose last line is 5), and the whole line that a person sees.
WRONG = {
    "misspelt field": (
        TARGET + "  speculation:\n    maxDept: 3\n",
        "m.yaml:8:5: spec.speculation.maxDept: unknown field; did you mean maxDepth?",
    ),
    "field in the wrong place": (
        TARGET + "  maxDepth: 3\n",
        "m.yaml:7:3: spec.maxDepth: not here: move it to spec.speculation.maxDepth",
    ),
    "field that is in two places": (
        TARGET + "  dtype: bfloat16\n",
        "m.yaml:7:3: spec.dtype: not here: move it to spec.target.dtype or spec.draft.dtype",
    ),
    "field like no other": (
        TARGET + "  endpoint: {hostname: x}\n",
        "m.yaml:7:14: spec.endpoint.hostname: unknown field; remove it (the fields here are port, auth, tls, route,"
        " networkPolicy)",
    ),
    "text for a number": (
        '  target: {model: {uri: hf://a/b}, maxModelLen: "4096"}\n',
        'm.yaml:6:49: spec.target.maxModelLen: "4096" is text, not a whole number; write it without quotes: 4096',
    ),
    "number for text": (
        "  target: {model: {uri: hf://a/b, revision: 12}}\n",
        "m.yaml:6:45: spec.target.model.revision: 12 is a number, not text; put it in quotes",
    ),
    "fraction": (
        "  target: {model: {uri: hf://a/b}, replicas: 1.5}\n",
        "m.yaml:6:46: spec.target.replicas: 1.5 is a number with a fraction, not a whole number;"
        " write a whole number from 0 to 256",
    ),
    "text for fields": (
        "  target: hf://a/b\n",
        'm.yaml:6:11: spec.target: "hf://a/b" is text, not a mapping; put its fields below it, indented:'
        " model, dtype, maxModelLen, maxNumSeqs, replicas, kvCache, resources, podTemplate, maxQueue,"
        " maxBatchedTokens, quantization, tensorParallelSize",
    ),
    "list for fields": (
        "  target: [x]\n",
        "m.yaml:6:11: spec.target: this is a list, not a mapping; put its fields below it, indented:"
        " model, dtype, maxModelLen, maxNumSeqs, replicas, kvCache, resources, podTemplate, maxQueue,"
        " maxBatchedTokens, quantization, tensorParallelSize",
    ),
    "too small": (
        "  target:\n    model: {uri: hf://a/b}\n    maxNumSeqs: 0\n",
        "m.yaml:8:17: spec.target.maxNumSeqs: 0 is too small; use a number from 1 to 1024",
    ),
    "too large": (
        TARGET + "  endpoint:\n    port: 65536\n",
        "m.yaml:8:11: spec.endpoint.port: 65536 is too large; use a number from 1 to 65535",
    ),
    "not a number at all": (
        TARGET + "  speculation: {minProbability: .nan}\n",
        "m.yaml:7:33: spec.speculation.minProbability: not a number; use one from 0 to 1",
    ),
    "no such choice": (
        TARGET + "  speculation:\n    fallback: ngram\n",
        'm.yaml:8:15: spec.speculation.fallback: "ngram" is not one of NGram, None; did you mean NGram?',
    ),
    "bare Off": (
        TARGET + "  speculation:\n    mode: Off\n",
        'm.yaml:8:11: spec.speculation.mode: YAML reads a bare Off (and no) as false; write "Off" in quotes',
    ),
    "address of no model": (
        "  target:\n    model:\n      uri: Qwen/Qwen2.5\n",
        "m.yaml:8:12: spec.target.model.uri: not the address of a model: write hf://org/name,"
        " pvc://claim/path, s3://bucket/prefix, oci://registry/image:tag or file:///path",
    ),
    "half an address": (
        TARGET + "  draft: {model: {uri: hf://small}}\n",
        "m.yaml:7:24: spec.draft.model.uri: not the address of a model: write hf://org/name,"
        " pvc://claim/path, s3://bucket/prefix, oci://registry/image:tag or file:///path",
    ),
    "no duration": (
        TARGET + "  speculation: {draftPatience: 50}\n",
        "m.yaml:7:32: spec.speculation.draftPatience: 50 is a number, not text; write text such as 50ms",
    ),
    "duration without a unit": (
        TARGET + '  speculation: {draftPatience: "50"}\n',
        "m.yaml:7:32: spec.speculation.draftPatience: not a duration: write a number and us, ms or s, such as 50ms",
    ),
    "long patience": (
        TARGET + "  speculation: {draftPatience: 1000s}\n",
        "m.yaml:7:32: spec.speculation.draftPatience: draftPatience is at most 10s: lower it, or remove it"
        " and let the target weigh the wait",
    ),
    "no quantity": (
        "  target:\n    model: {uri: hf://a/b}\n    resources:\n      limits:\n        memory: 4GB\n",
        "m.yaml:10:17: spec.target.resources.limits.memory: '4GB' is not a quantity;"
        ' write a number or text such as 2, "1.5", 500m or 4Gi',
    ),
    "quantity as a bare fraction": (
        "  target:\n    model: {uri: hf://a/b}\n    resources: {requests: {cpu: 0.5}}\n",
        "m.yaml:8:33: spec.target.resources.requests.cpu: 0.5 is a number with a fraction, not a quantity;"
        ' write a number or text such as 2, "1.5", 500m or 4Gi',
    ),
    "negative quantity": (
        "  target:\n    model: {uri: hf://a/b}\n    resources: {requests: {cpu: -1}}\n",
        "m.yaml:8:33: spec.target.resources.requests.cpu: -1 is not a quantity;"
        ' write a number or text such as 2, "1.5", 500m or 4Gi',
    ),
    "a quantity of more digits than any has": (
        f"  target:\n    model: {{uri: hf://a/b}}\n    resources: {{requests: {{cpu: '{10**64}'}}}}\n",
        f"m.yaml:8:33: spec.target.resources.requests.cpu: '{10**64}' is not a quantity;"
        ' write a number or text such as 2, "1.5", 500m or 4Gi',
    ),
    "request beyond its limit": (
        "  target:\n    model: {uri: hf://a/b}\n    resources:\n      requests: {cpu: 2}\n      limits: {cpu: 1500m}\n",
        "m.yaml:9:7: spec.target.resources.requests: a request is more than its limit, and no pod could be"
        " made: lower the request or raise the limit",
    ),
    "tree beyond its nodes": (
        TARGET + "  speculation:\n    maxDepth: 10\n    maxNodes: 32\n",
        "m.yaml:9:15: spec.speculation.maxNodes: maxDepth times maxBranches must fit into maxNodes:"
        " raise maxNodes, or lower maxDepth or maxBranches",
    ),
    "nothing to draft with": (
        TARGET + "  speculation:\n    fallback: None\n    mode: Always\n",
        "m.yaml:9:11: spec.speculation.mode: speculation.mode Always has nothing to draft with: give"
        " spec.draft, set speculation.fallback to NGram, or set speculation.mode to Auto",
    ),
    "a pool given twice": (
        "  target:\n    model: {uri: hf://a/b}\n    kvCache: {memory: 4Gi, fraction: 0.5}\n",
        "m.yaml:8:5: spec.target.kvCache: kvCache is given as memory or as a fraction: write exactly one of the two,"
        " or remove kvCache",
    ),
    "a pool of no quantity": (
        "  target:\n    model: {uri: hf://a/b}\n    kvCache: {memory: 4GB}\n",
        "m.yaml:8:23: spec.target.kvCache.memory: '4GB' is not a quantity;"
        ' write a number or text such as 2, "1.5", 500m or 4Gi',
    ),
    "a pool of no bytes": (
        "  target:\n    model: {uri: hf://a/b}\n    kvCache: {memory: 0}\n",
        "m.yaml:8:23: spec.target.kvCache.memory: less than a byte holds nothing: write a quantity such as 4Gi",
    ),
    "a pool of less than a byte": (
        TARGET + "  draft: {model: {uri: hf://a/c}, kvCache: {memory: 999m}}\n",
        "m.yaml:7:53: spec.draft.kvCache.memory: less than a byte holds nothing: write a quantity such as 4Gi",
    ),
    "a pool of a bare fraction": (
        "  target:\n    model: {uri: hf://a/b}\n    kvCache: {memory: 0.5}\n",
        "m.yaml:8:23: spec.target.kvCache.memory: 0.5 is a number with a fraction, not a quantity;"
        ' write a number or text such as 2, "1.5", 500m or 4Gi',
    ),
    "a share of more than all": (
        "  target:\n    model: {uri: hf://a/b}\n    kvCache: {fraction: 90}\n",
        "m.yaml:8:25: spec.target.kvCache.fraction: 90 is too large; use a number from 0.01 to 1",
    ),
    "a number format that a draft has not": (
        TARGET + "  draft: {model: {uri: hf://a/c}, quantization: fp8}\n",
        'm.yaml:7:49: spec.draft.quantization: "fp8" is not known here; write int8',
    ),
    "a number format that nobody has": (
        "  target: {model: {uri: hf://a/b}, quantization: int4}\n",
        'm.yaml:6:50: spec.target.quantization: "int4" is not one of int8, fp8; did you mean int8?',
    ),
    "ranks without a GPU each": (
        "  target:\n    model: {uri: hf://a/b}\n    tensorParallelSize: 4\n"
        "    resources: {limits: {nvidia.com/gpu: 2}}\n",
        "m.yaml:8:25: spec.target.tensorParallelSize: every rank has a GPU of its own: set tensorParallelSize to the"
        " number of GPUs in resources.limits, or that limit, a plain whole number, to tensorParallelSize",
    ),
    "ranks of a draft": (
        TARGET + "  draft: {model: {uri: hf://a/c}, tensorParallelSize: 2}\n",
        "m.yaml:7:35: spec.draft.tensorParallelSize: not here: move it to spec.target.tensorParallelSize",
    ),
    "a negative tolerance": (
        TARGET + "  speculation: {tolerance: -1}\n",
        "m.yaml:7:28: spec.speculation.tolerance: -1 is too small; use a number from 0 to 10",
    ),
    "given twice": (
        TARGET + "  speculation:\n    maxDepth: 3\n    maxDepth: 4\n",
        "m.yaml:9:5: spec.speculation.maxDepth: given twice, first in line 8; remove one of the two",
    ),
    "missing": ("  endpoint: {}\n", "m.yaml:5:1: spec.target: missing; add target"),
    "missing size": (
        TARGET + "  storage: {}\n",
        "m.yaml:7:3: spec.storage.size: missing; add size: 50Gi",
    ),
    "a size that is none": (
        TARGET + "  storage: {size: 50GB}\n",
        "m.yaml:7:19: spec.storage.size: '50GB' is not a quantity; write a number or text such as 2, \"1.5\", 500m or"
        " 4Gi",
    ),
    "a size of no bytes": (
        TARGET + "  storage: {size: '0Gi'}\n",
        "m.yaml:7:19: spec.storage.size: less than a byte holds nothing: write a quantity such as 4Gi",
    ),
    "a host that is none": (
        TARGET + "  endpoint: {route: {kind: Route, host: https://chat}}\n",
        "m.yaml:7:41: spec.endpoint.route.host: not the name of a host: write it in lowercase, such as"
        " chat.example.com",
    ),
    "a list without entries": (
        TARGET + "  endpoint: {networkPolicy: {from: []}}\n",
        "m.yaml:7:36: spec.endpoint.networkPolicy.from: has no entry; add one, or remove the line",
    ),
    "text for true or false": (
        TARGET + '  paused: "yes"\n',
        'm.yaml:7:11: spec.paused: "yes" is text, not true or false; write true or false',
    ),
    "two variables of one name": (
        TARGET.replace("}}", "}, podTemplate: {env: [{name: A}, {name: A}]}}"),
        "m.yaml:6:55: spec.target.podTemplate.env: two entries have one name, which tells them apart: rename or remove"
        " one",
    ),
    "two mounts in one folder": (
        TARGET.replace(
            "}}", "}, podTemplate: {volumeMounts: [{name: tmp, mountPath: /a}, {name: shm, mountPath: /a}]}}"
        ),
        "m.yaml:6:64: spec.target.podTemplate.volumeMounts: two entries have one mountPath: change or remove one",
    ),
    "a goal without a unit": (
        TARGET + "  autoscaling: {slo: {ttftP95: 2}}\n",
        "m.yaml:7:32: spec.autoscaling.slo.ttftP95: 2 is a number, not text; write text such as 50ms",
    ),
    "a goal in minutes": (
        TARGET + "  autoscaling: {slo: {ttftP95: 1m}}\n",
        "m.yaml:7:32: spec.autoscaling.slo.ttftP95: not a duration: write a number and us, ms or s, such as 50ms",
    ),
    "scaling without an end": (
        TARGET + "  autoscaling: {target: {minReplicas: 2}}\n",
        "m.yaml:7:17: spec.autoscaling.target.maxReplicas: missing; add maxReplicas: 4",
    ),
    "scaling to nobody": (
        TARGET + "  autoscaling: {target: {minReplicas: 0, maxReplicas: 4}}\n",
        "m.yaml:7:39: spec.autoscaling.target.minReplicas: a target at zero needs a gateway that holds requests until a"
        " pod is ready, and there is none: set autoscaling.target.minReplicas to 1 or more",
    ),
    "replicas beside autoscaling": (
        "  target: {model: {uri: hf://a/b}, replicas: 2}\n  autoscaling: {target: {maxReplicas: 4}}\n",
        "m.yaml:6:46: spec.target.replicas: target.replicas and autoscaling.target both say how many targets there are,"
        " and an autoscaler that writes the model's /scale sets the first: remove one of the two",
    ),
    "a tolerance as a bare fraction": (
        TARGET + "  autoscaling: {target: {maxReplicas: 4, behavior: {scaleUp: {tolerance: 0.05}}}}\n",
        "m.yaml:7:74: spec.autoscaling.target.behavior.scaleUp.tolerance: 0.05 is a number with a fraction, not a"
        ' quantity; write a number or text such as 2, "1.5", 500m or 4Gi',
    ),
    "a tolerance that is none": (
        TARGET + "  autoscaling: {target: {maxReplicas: 4, behavior: {scaleUp: {tolerance: 5%}}}}\n",
        "m.yaml:7:74: spec.autoscaling.target.behavior.scaleUp.tolerance: '5%' is not a quantity; write a number or"
        ' text such as 2, "1.5", 500m or 4Gi',
    ),
    "a policy that allows nothing": (
        TARGET + "  autoscaling: {target: {maxReplicas: 4, behavior: {scaleDown: {policies: []}}}}\n",
        "m.yaml:7:75: spec.autoscaling.target.behavior.scaleDown.policies: has no entry; add one, or remove the line",
    ),
    "a window longer than any": (
        TARGET
        + "  autoscaling:\n    target: {maxReplicas: 4, behavior: {scaleDown: {stabilizationWindowSeconds: 3601}}}\n",
        "m.yaml:8:81: spec.autoscaling.target.behavior.scaleDown.stabilizationWindowSeconds: 3601 is too large; use a"
        " number from 0 to 3600",
    ),
    "a gain that is a loss": (
        TARGET + "  autoscaling: {minGoodputGain: 0.9}\n",
        "m.yaml:7:33: spec.autoscaling.minGoodputGain: 0.9 is too small; use a number from 1 to 10",
    ),
    "a field within a list": (
        TARGET.replace("}}", "}, podTemplate: {tolerations: [{keys: a}]}}"),
        "m.yaml:6:65: spec.target.podTemplate.tolerations[0].keys: unknown field; did you mean key?",
    ),
    "field of many places": (
        TARGET + "  secretRef: {name: a}\n",
        "m.yaml:7:3: spec.secretRef: unknown field; remove it (the fields here are paused, target, draft, speculation,"
        " autoscaling, endpoint, storage)",
    ),
    "missing address": (
        "  target:\n    model: {}\n",
        "m.yaml:7:5: spec.target.model.uri: missing; add uri: hf://org/name",
    ),
    "no value": (
        "  target:\n",
        "m.yaml:6:10: spec.target: has no value; give it one",
    ),
    "a tag": (
        TARGET + "  endpoint: {port: !!python/name:os.system }\n",
        "m.yaml:7:20: spec.endpoint.port: '' does not fit here as tag:yaml.org,2002:python/name:os.system;"
        " remove the tag",
    ),
}


@pytest.mark.parametrize(("spec", "line"), WRONG.values(), ids=WRONG.keys())
def test_one_mistake_is_told_in_one_line(spec: str, line: str) -> None:
    assert problems(HEAD + spec) == [line]


@pytest.mark.parametrize("number", ["0", "0.0005", "1", "04.5", ".5", "4294967296000"])
def test_a_pool_that_is_right_here_is_one_to_the_pod_that_has_to_make_it(number: str) -> None:
    suffixes = ["", *"numkMGTPE", *(f"{each}i" for each in "KMGTPE"), "e9", "E+2", "e-3"]
    for memory in [number + suffix for suffix in (*suffixes, "K", "GB", "gi")]:
        target = {"model": {"uri": "hf://a/b"}, "kvCache": {"memory": memory}}
        _, wrong = check_object(resource({"target": target}))
        if wrong:
            with pytest.raises(ValueError, match="not an amount"):
                parse_size(memory)
        else:
            assert parse_size(memory) == int(parse_quantity(memory))


@pytest.mark.parametrize("file", SAMPLES, ids=lambda file: file.stem)
def test_an_object_of_a_server_is_the_model_of_its_text(file: Path) -> None:
    assert check_object(yaml.safe_load(file.read_text())) == (load(file)[0], [])


MANY = """\
apiVersion: outrider.dev/v1
kind: SpeculativeModel
metadata:
  name: Pair
  lables: {a: b}
spec:
  target:
    dtype: bf16
  speculation:
    maxDepth: 64
    draftPatience: 11s
"""


def test_every_mistake_is_told_in_the_order_of_the_file() -> None:
    found = problems(MANY)
    assert [line.split(": ")[:2] for line in found] == [
        ["m.yaml:1:13", "apiVersion"],
        ["m.yaml:4:9", "metadata.name"],
        ["m.yaml:5:3", "metadata.lables"],
        ["m.yaml:7:3", "spec.target.model"],
        ["m.yaml:8:12", "spec.target.dtype"],
        ["m.yaml:9:3", "spec.speculation"],
        ["m.yaml:11:20", "spec.speculation.draftPatience"],
    ]


def test_of_an_object_of_a_server_every_mistake_is_told_in_the_same_words_and_order() -> None:
    model, found = check_object(yaml.safe_load(MANY))
    assert model is None
    assert [(each.field, each.message) for each in found] == [
        (each.field, each.message) for each in check(MANY, "m.yaml").problems
    ]


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("kind: Service\n", "m.yaml:1:7: kind: 'Service' is not read here; write `kind: SpeculativeModel`,"),
        ("spec: {}\n", "m.yaml:1:1: kind: missing; write `kind: SpeculativeModel`,"),
        ("- a\n", "m.yaml:1:1: not a resource; begin with `apiVersion` and `kind: SpeculativeModel`"),
        ("just text\n", "m.yaml:1:1: not a resource; begin with `apiVersion` and `kind: SpeculativeModel`"),
        ("# empty\n---\n---\n", "m.yaml:1:1: holds no resource; write a SpeculativeModel into it"),
    ],
)
def test_a_file_of_something_else(text: str, line: str) -> None:
    [found] = problems(text)
    assert found.startswith(line)


def test_a_namespace_that_cannot_be() -> None:
    text = HEAD.replace("name: pair", "name: pair\n  namespace: My Space") + TARGET
    assert problems(text) == [
        "m.yaml:5:14: metadata.namespace: not the name of a namespace; use at most 63 lowercase letters, digits and '-'"
    ]


def test_odd_field_names_stay_on_one_line() -> None:
    [line] = problems(HEAD + TARGET + '  "a\\nb": 1\n')
    assert line.startswith('m.yaml:7:3: spec["a\\nb"]: unknown field')


def test_documents_are_checked_each_and_a_name_only_once() -> None:
    two = HEAD + TARGET + "---\n" + HEAD + TARGET
    assert problems(two) == ["m.yaml:11:9: metadata.name: pair has that name already, in line 4; rename one of the two"]
    assert len(check(two.replace("pair", "other", 1), "m.yaml").models) == 2


def test_what_a_cluster_gives_out_is_right() -> None:
    given = """
      resourceVersion: "12"
      uid: 6d0b
      generation: 3
      creationTimestamp: 2026-01-02T03:04:05Z
      managedFields: [{manager: kubectl}]
    """
    status = """
    status:
      observedGeneration: 3
      url: http://pair-target.default.svc:8000
      conditions:
      - {type: Ready, status: "True", reason: Answers, message: m, lastTransitionTime: 2026-01-02T03:04:05Z}
    """
    head = HEAD.replace("  name: pair\n", "  name: pair" + given.replace("\n      ", "\n  ").rstrip() + "\n")
    checked = check(head + TARGET + status.replace("\n    ", "\n").rstrip() + "\n", "m.yaml")
    assert checked.problems == []
    assert checked.models[0].metadata.generation == 3


def test_empty_fields_that_may_be_left_out_are_absent() -> None:
    [model] = check(HEAD + TARGET + "  draft:\n  speculation:\n    # mode: Always\n", "m.yaml").models
    assert model.spec.draft is None
    assert model.spec.speculation.mode == "Auto"


def test_anchors_and_merges_are_followed_to_where_the_mistake_stands() -> None:
    text = (
        HEAD
        + "  target: &role\n    model: {uri: hf://a/b}\n    maxNumSeqs: 4\n    dtype: bf16\n"
        + "  draft:\n    <<: *role\n    maxNumSeqs: 0\n    dtype: float32\n"
    )
    assert [line.split(": ")[:2] for line in problems(text)] == [
        ["m.yaml:9:12", "spec.target.dtype"],
        ["m.yaml:12:17", "spec.draft.maxNumSeqs"],
    ]


def test_numbers_are_read_as_a_cluster_reads_them() -> None:
    [model] = check(HEAD + TARGET + "  speculation: {minProbability: 1e-2}\n", "m.yaml").models
    assert model.spec.speculation.min_probability == 0.01
    [line] = problems(HEAD + "  target: {model: {uri: hf://a/b, revision: 1e3}}\n")
    assert line.endswith("1000.0 is a number with a fraction, not text; put it in quotes")


@pytest.mark.parametrize("letter", ["y", "Y", "n", "N"])
def test_a_bare_letter_that_a_cluster_reads_as_a_truth_is_one_and_is_written_in_quotes(letter: str) -> None:
    [line] = problems(HEAD + f"  target: {{model: {{uri: hf://a/b, revision: {letter}}}}}\n")
    assert line.endswith(f"{'true' if letter in 'yY' else 'false'} is true or false, not text; put it in quotes")
    given = {"labels": {letter: letter}}
    assert to_yaml([given]) == f"---\nlabels:\n  '{letter}': '{letter}'\n"


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("!!bool foo", "'foo' does not fit here as tag:yaml.org,2002:bool; remove the tag"),
        ('!!int ""', "'' does not fit here as tag:yaml.org,2002:int; remove the tag"),
        ('!!float ""', "'' does not fit here as tag:yaml.org,2002:float; remove the tag"),
        ("!!timestamp foo", "'foo' does not fit here as tag:yaml.org,2002:timestamp; remove the tag"),
        ("0x" + "f" * 4000, "0xffffffffffffffffff… is longer than any number here; write a smaller one"),
        ('"\\ud800"', r"'\ud800' holds half a character; write the character itself"),
    ],
)
def test_a_value_that_no_field_can_have_is_one_line(value: str, message: str) -> None:
    assert problems(HEAD + TARGET + f"  paused: {value}\n") == [f"m.yaml:7:11: spec.paused: {message}"]


def test_half_a_character_in_a_fields_name_is_one_line() -> None:
    [line] = problems(HEAD + TARGET + '  "\\ud800": 1\n')
    assert line == r"m.yaml:7:3: spec: '\ud800' holds half a character; write the character itself"


@pytest.mark.parametrize("line", ["- b\n", "---\n"])
def test_a_file_that_would_take_a_minute_to_read_is_refused_before(line: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(document, "MOST_NODES_OF_FILE", 100)
    with pytest.raises(UnreadableError, match="more than a resource can hold"):
        check(line * 101, "m.yaml")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: [", "m.yaml:1:5: not YAML: expected the node content"),
        ("a: b: c", "m.yaml:1:5: not YAML: mapping values are not allowed here; correct the line"),
        ("a: *nowhere", "m.yaml:1:4: not YAML: found undefined alias 'nowhere'; correct the line"),
        ("a: \x01", "m.yaml: not YAML: it has control characters; name a text file"),
        ("a: &x [*x]", "m.yaml: more than a resource can hold"),
        ("[" * 5000, "m.yaml: nested too deeply for a resource; flatten it"),
    ],
)
def test_what_is_not_yaml_is_told_in_one_line(text: str, message: str) -> None:
    with pytest.raises(UnreadableError) as error:
        check(text, "m.yaml")
    assert str(error.value).startswith(message)
    assert "\n" not in str(error.value)


def test_a_bomb_of_aliases_is_refused() -> None:
    bomb = "a0: &a0 [x,x,x,x,x,x,x,x,x]\n" + "".join(
        f"a{i}: &a{i} [{','.join([f'*a{i - 1}'] * 9)}]\n" for i in range(1, 9)
    )
    with pytest.raises(UnreadableError, match="more than a resource can hold"):
        check(bomb, "m.yaml")


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(UnreadableError, match="no such file; name a file"):
        read_text(tmp_path / "missing.yaml")
    with pytest.raises(UnreadableError, match="is a folder; name the files in it"):
        read_text(tmp_path)
    with pytest.raises(UnreadableError, match="not UTF-8 text; name a text file"):
        decode(b"\xff\xfe\x00", "m.yaml")
    with pytest.raises(UnreadableError, match="too large for a resource"):
        decode(b"#" * (LARGEST_FILE_BYTES + 1), "m.yaml")


def test_load_raises_with_every_problem(tmp_path: Path) -> None:
    file = tmp_path / "m.yaml"
    file.write_text(HEAD + "  target: {model: {uri: x, revision: 1}}\n")
    with pytest.raises(InvalidResourceError) as error:
        load(file)
    assert len(str(error.value).splitlines()) == len(error.value.problems) == 2
