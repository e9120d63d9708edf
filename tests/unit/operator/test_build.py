"""What a model becomes: each sample's processes, the sharing of hardware, and what every pod keeps to."""

from typing import Any

import kubernetes_validate
import pytest
from outrider_operator.api.v1alpha1 import SpeculativeModel
from outrider_operator.api.validation import load
from outrider_operator.resources.build import build
from outrider_operator.resources.names import selector_text
from outrider_operator.resources.network import target_url
from outrider_operator.resources.placement import Placement, placement
from outrider_operator.resources.platform import Network, Platform
from outrider_operator.resources.scaling import scaled_roles
from unit.operator.yaml_models import SAMPLES, model, sample

DRAFT = {"model": {"uri": "hf://org/small"}}


def kinds_and_names(model: SpeculativeModel) -> list[str]:
    return [f"{thing['kind']} {thing['metadata']['name']}" for thing in build(model, Platform())]


def of_a_target_alone(name: str) -> list[str]:
    kinds = ("NetworkPolicy", "Service", "PodDisruptionBudget", "Deployment")
    return [f"{kind} {name}-target" for kind in kinds]


def pod(model: SpeculativeModel, role: str, platform: Platform | None = None) -> dict[str, Any]:
    [found] = [
        thing["spec"]["template"]["spec"]
        for thing in build(model, platform or Platform())
        if thing["kind"] == "Deployment" and thing["metadata"]["name"].endswith(f"-{role}")
    ]
    assert isinstance(found, dict)
    return found


def container(model: SpeculativeModel, role: str, platform: Platform | None = None) -> dict[str, Any]:
    [found] = pod(model, role, platform)["containers"]
    assert isinstance(found, dict)
    return found


def fetched_to(model: SpeculativeModel, role: str) -> str:
    """Where the init container of the role puts its model."""
    [fetch] = pod(model, role)["initContainers"]
    return str(fetch["args"][2])


def environment(model: SpeculativeModel, role: str, platform: Platform | None = None) -> dict[str, str]:
    return {entry["name"]: entry.get("value", "") for entry in container(model, role, platform)["env"]}


def with_resources(target: dict[str, Any], draft: dict[str, Any]) -> SpeculativeModel:
    return model(
        {
            "target": {"model": {"uri": "hf://org/big"}, "resources": target},
            "draft": {**DRAFT, "resources": draft},
        }
    )


def service(model: SpeculativeModel, role: str) -> dict[str, Any]:
    [found] = [
        thing["spec"]
        for thing in build(model, Platform())
        if thing["kind"] == "Service" and thing["metadata"]["name"].endswith(f"-{role}")
    ]
    assert isinstance(found, dict)
    return found


def test_the_sample_pair_runs_a_target_that_takes_turns_with_its_draft() -> None:
    pair = sample("qwen-coder")
    assert kinds_and_names(pair) == [
        "ServiceAccount qwen-coder-target",
        "ConfigMap qwen-coder-control",
        "NetworkPolicy qwen-coder-draft",
        "NetworkPolicy qwen-coder-target",
        "Service qwen-coder-draft",
        "PodDisruptionBudget qwen-coder-draft",
        "Deployment qwen-coder-draft",
        "Service qwen-coder-target",
        "PodDisruptionBudget qwen-coder-target",
        "Deployment qwen-coder-target",
    ]
    target = container(pair, "target")
    assert target["command"] == ["outrider-target"]
    assert target["args"] == [
        f"--model=file://{fetched_to(pair, 'target')}",
        "--dtype=auto",
        "--max-model-len=4096",
        "--max-num-seqs=8",
        "--served-model-name=qwen-coder",
        "--host=0.0.0.0",
        "--port=8000",
        "--draft=dns:///qwen-coder-draft.default.svc:50051",
        "--placement=Shared",
        "--mode=Auto",
        "--max-depth=8",
        "--max-branches=4",
        "--max-nodes=32",
        "--min-probability=0.02",
        "--fallback=NGram",
        "--linger-s=10",
        "--control=/etc/outrider/control",
        "--identity=/etc/outrider/identity",
    ]
    draft = container(pair, "draft")
    assert draft["command"] == ["outrider-draft"]
    assert draft["args"] == [
        f"--model=file://{fetched_to(pair, 'draft')}",
        "--dtype=auto",
        "--max-model-len=4096",
        "--max-num-seqs=8",
        "--host=0.0.0.0",
        "--port=50051",
        "--http-port=9400",
        "--linger-s=10",
        "--identity=/etc/outrider/identity",
    ]


def test_the_sample_with_own_cores_runs_ahead_with_a_thread_for_each_core() -> None:
    pair = sample("qwen-coder-own-cores")
    assert "--placement=Own" in container(pair, "target")["args"]
    for role in ("target", "draft"):
        assert environment(pair, role)["OMP_NUM_THREADS"] == "1"
        assert container(pair, role)["resources"] == {"requests": {"cpu": "1"}}


def test_the_light_sample_has_no_draft_and_draws_on_the_text() -> None:
    light = sample("smollm2")
    account, control, *others = kinds_and_names(light)
    assert (account, control) == ("ServiceAccount smollm2-target", "ConfigMap smollm2-control")
    assert others == of_a_target_alone("smollm2")
    args = container(light, "target")["args"]
    assert "--max-model-len=0" in args
    assert "--fallback=NGram" in args
    assert "--placement=Shared" in args
    assert not any(arg.startswith("--draft") for arg in args)


def test_the_sample_with_an_8_bit_draft_is_the_pair_but_for_that() -> None:
    plain, small = sample("qwen-coder"), sample("qwen-coder-int8")
    added = set(container(small, "draft")["args"]) - set(container(plain, "draft")["args"])
    assert added == {"--quantization=int8"}
    assert not any(arg.startswith("--quantization") for arg in container(small, "target")["args"])


def test_mode_off_runs_no_draft() -> None:
    off = model({"draft": DRAFT, "speculation": {"mode": "Off"}})
    assert kinds_and_names(off) == ["ServiceAccount pair-target", *of_a_target_alone("pair")]
    args = container(off, "target")["args"]
    assert "--mode=Off" in args
    assert not any(arg.startswith(("--draft=", "--control=")) for arg in args)


def test_every_field_of_speculation_reaches_the_target() -> None:
    speculation = {
        "mode": "Always",
        "maxDepth": 3,
        "maxBranches": 2,
        "maxNodes": 7,
        "minProbability": 0.1,
        "draftPatience": "1.5s",
        "fallback": "None",
    }
    args = container(model({"draft": DRAFT, "speculation": speculation}), "target")["args"]
    assert args[-10:-3] == [
        "--mode=Always",
        "--max-depth=3",
        "--max-branches=2",
        "--max-nodes=7",
        "--min-probability=0.1",
        "--fallback=None",
        "--draft-patience-ms=1500",
    ]


def test_revision_length_and_sequences_reach_the_role_that_has_them() -> None:
    small = {"model": {"uri": "hf://org/small", "revision": "abc"}, "maxModelLen": 64, "maxNumSeqs": 3}
    pair = model({"draft": {**small, "dtype": "float32", "replicas": 2}})
    local = Platform(prefetch=False)
    assert container(pair, "draft", local)["args"][:5] == [
        "--model=hf://org/small",
        "--revision=abc",
        "--dtype=float32",
        "--max-model-len=64",
        "--max-num-seqs=3",
    ]
    assert not any(arg.startswith("--revision") for arg in container(pair, "target", local)["args"])
    deployments = [thing for thing in build(pair, Platform()) if thing["kind"] == "Deployment"]
    assert [deployment["spec"]["replicas"] for deployment in deployments] == [2, 1]


def test_several_drafts_are_one_name_to_the_target() -> None:
    pair = model({"draft": {**DRAFT, "replicas": 3}})
    assert [arg for arg in container(pair, "target")["args"] if arg.startswith("--draft=")] == [
        "--draft=dns:///pair-draft.default.svc:50051"
    ]


def test_memory_queue_and_batch_reach_the_commands() -> None:
    target = {
        "model": {"uri": "hf://org/big"},
        "kvCache": {"memory": "4Gi"},
        "maxQueue": 0,
        "maxBatchedTokens": 2048,
        "quantization": "fp8",
        "tensorParallelSize": 2,
    }
    draft = {**DRAFT, "kvCache": {"fraction": 0.25}, "quantization": "int8"}
    pair = model({"target": target, "draft": draft, "speculation": {"tolerance": 0.5}})
    assert {
        "--kv-cache-memory=4Gi",
        "--max-queue=0",
        "--max-batched-tokens=2048",
        "--quantization=fp8",
        "--tensor-parallel-size=2",
        "--tolerance=0.5",
    } <= set(container(pair, "target")["args"])
    assert {"--kv-cache-fraction=0.25", "--quantization=int8"} <= set(container(pair, "draft")["args"])


def test_a_target_of_several_ranks_has_its_gpus_and_shared_memory() -> None:
    gpus = {"limits": {"nvidia.com/gpu": 4}}
    wide = model({"target": {"model": {"uri": "hf://org/big"}, "tensorParallelSize": 4, "resources": gpus}})
    assert container(wide, "target")["resources"] == {"limits": {"nvidia.com/gpu": "4"}}
    assert {"name": "shm", "mountPath": "/dev/shm"} in container(wide, "target")["volumeMounts"]
    assert {"name": "shm", "emptyDir": {"medium": "Memory", "sizeLimit": "8Gi"}} in pod(wide, "target")["volumes"]


CPU = {"requests": {"cpu": 1}}
GPU = {"limits": {"nvidia.com/gpu": 1}}


@pytest.mark.parametrize(
    ("target", "draft", "expected"),
    [
        ({}, {}, Placement.SHARED),
        (CPU, CPU, Placement.OWN),
        (CPU, {}, Placement.SHARED),
        ({}, CPU, Placement.SHARED),
        (GPU, GPU, Placement.OWN),
        (GPU, CPU, Placement.OWN),
        (GPU, {"limits": {"nvidia.com/mig-1g.10gb": 1}}, Placement.OWN),
        (GPU, {"limits": {"nvidia.com/gpu.shared": 1}}, Placement.SHARED),
        (GPU, {"limits": {"nvidia.com/gpu": 0}}, Placement.SHARED),
        (CPU, {"requests": {"cpu": "2000m"}}, Placement.OWN),
        (CPU, {"requests": {"cpu": "1500m"}}, Placement.SHARED),
        (CPU, {"requests": {"cpu": "0.5"}}, Placement.SHARED),
        (CPU, {"requests": {"cpu": 0}}, Placement.SHARED),
        (CPU, {"limits": {"cpu": "2"}}, Placement.OWN),
        (CPU, {"limits": {"cpu": 2}, "requests": {"cpu": "500m"}}, Placement.SHARED),
    ],
)
def test_hardware_is_own_when_both_roles_ask_for_it(
    target: dict[str, Any], draft: dict[str, Any], expected: Placement
) -> None:
    pair = with_resources(target, draft)
    assert placement(pair) == expected
    assert f"--placement={expected}" in container(pair, "target")["args"]


def test_threads_are_named_only_for_whole_cpus_and_always_wait_asleep() -> None:
    pair = with_resources({"requests": {"cpu": "4"}}, {"requests": {"cpu": "1500m"}})
    assert environment(pair, "target")["OMP_NUM_THREADS"] == "4"
    assert "OMP_NUM_THREADS" not in environment(pair, "draft")
    assert {environment(pair, role)["OMP_WAIT_POLICY"] for role in ("target", "draft")} == {"PASSIVE"}


def test_a_local_network_moves_every_address_of_both_roles() -> None:
    network = Network(
        listen_host="127.0.0.1",
        target_port=8123,
        draft_port=40001,
        draft_http_port=40002,
        local_drafts=("127.0.0.1:40001", "127.0.0.1:40003"),
    )
    platform = Platform(network=network)
    pair = sample("qwen-coder")
    target, draft = container(pair, "target", platform), container(pair, "draft", platform)
    assert {"--host=127.0.0.1", "--port=8123"} <= set(target["args"])
    assert [arg for arg in target["args"] if arg.startswith("--draft=")] == [
        "--draft=127.0.0.1:40001",
        "--draft=127.0.0.1:40003",
    ]
    assert {"--host=127.0.0.1", "--port=40001", "--http-port=40002"} <= set(draft["args"])
    assert [port["containerPort"] for port in target["ports"] + draft["ports"]] == [8123, 40001, 40002]


def test_the_platform_gives_images_and_the_mirror() -> None:
    platform = Platform(target_image="r/t:1", draft_image="r/d:2", model_mirror="https://models.example")
    pair = sample("qwen-coder")
    assert container(pair, "target", platform)["image"] == "r/t:1"
    assert container(pair, "draft", platform)["image"] == "r/d:2"
    assert environment(pair, "draft", platform)["OUTRIDER_MODEL_MIRROR"] == "https://models.example"
    assert "OUTRIDER_MODEL_MIRROR" not in environment(pair, "draft")


def test_services_lead_to_the_pods_of_their_role() -> None:
    pair = model({"draft": DRAFT, "endpoint": {"port": 80}})
    deployments = [thing for thing in build(pair, Platform()) if thing["kind"] == "Deployment"]
    for deployment, role in zip(deployments, ["draft", "target"], strict=True):
        labels = deployment["spec"]["template"]["metadata"]["labels"]
        assert deployment["spec"]["selector"]["matchLabels"].items() <= labels.items()
        assert service(pair, role)["selector"] == deployment["spec"]["selector"]["matchLabels"]
        named = {port["name"] for port in container(pair, role)["ports"]}
        assert {port["targetPort"] for port in service(pair, role)["ports"]} == named
    assert service(pair, "draft")["clusterIP"] == "None"
    assert [port["port"] for port in service(pair, "target")["ports"]] == [80]
    assert target_url(pair) == "http://pair-target.default.svc:80"
    assert container(pair, "target")["ports"][0]["containerPort"] == 8000


def test_models_of_similar_names_never_own_the_same_object() -> None:
    spec = {"draft": DRAFT}
    names = [kinds_and_names(model(spec, name)) for name in ("a", "a-draft", "a-target")]
    assert len(set().union(*names)) == 3 * 10


@pytest.mark.parametrize("file", SAMPLES, ids=lambda file: file.stem)
def test_a_cluster_takes_every_object_and_lets_every_pod_run_restricted(file: Any) -> None:
    [shipped] = load(file)
    for thing in build(shipped, Platform(model_mirror="/models", operator_namespace="outrider-system")):
        kubernetes_validate.validate(thing, kubernetes_validate.latest_version(), strict=True)
        if thing["kind"] == "Deployment":
            keeps_to_restricted_v2(thing["spec"]["template"]["spec"])
            survives_a_slow_model_and_a_full_cluster(thing["spec"])


def keeps_to_restricted_v2(pod: dict[str, Any]) -> None:
    assert pod["automountServiceAccountToken"] is False
    assert pod["securityContext"] == {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}}
    assert not {"hostNetwork", "hostPID", "hostIPC"} & pod.keys()
    for container in [*pod.get("initContainers", []), *pod["containers"]]:
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
            "readOnlyRootFilesystem": True,
            "runAsNonRoot": True,
            "seccompProfile": {"type": "RuntimeDefault"},
        }
        assert all("hostPort" not in port for port in container.get("ports", []))
        writable = [mount["mountPath"] for mount in container["volumeMounts"]]
        folders = {entry["name"]: entry.get("value", "") for entry in container["env"]}
        for name in ("HOME", "HF_HOME", "TRITON_CACHE_DIR", "TMPDIR"):
            assert any(folders[name] == path or folders[name].startswith(f"{path}/") for path in writable)
    admitted = {
        "configMap",
        "csi",
        "downwardAPI",
        "emptyDir",
        "ephemeral",
        "persistentVolumeClaim",
        "projected",
        "secret",
    }
    assert all(volume.keys() - {"name"} <= admitted for volume in pod["volumes"])
    assert {"name": "shm", "emptyDir": {"medium": "Memory", "sizeLimit": "8Gi"}} in pod["volumes"]


def survives_a_slow_model_and_a_full_cluster(spec: dict[str, Any]) -> None:
    assert spec["strategy"]["rollingUpdate"] == {"maxSurge": 0, "maxUnavailable": 1}
    [container] = spec["template"]["spec"]["containers"]
    startup = container["startupProbe"]
    assert startup["periodSeconds"] * startup["failureThreshold"] >= 30 * 60
    assert spec["progressDeadlineSeconds"] > 30 * 60
    assert startup["httpGet"]["path"] == container["readinessProbe"]["httpGet"]["path"] == "/ready"
    assert container["livenessProbe"]["httpGet"]["path"] == "/health"


def test_a_pod_that_ends_takes_what_is_new_for_a_while_and_may_then_finish_all_of_it() -> None:
    pair = sample("qwen-coder")
    for role, drain_s in (("target", 120), ("draft", 30)):
        in_cluster, here = Platform(network=Network(linger_s=7)), Platform(network=Network(linger_s=0))
        assert "--linger-s=7" in container(pair, role, in_cluster)["args"]
        assert pod(pair, role, in_cluster)["terminationGracePeriodSeconds"] == 7 + drain_s
        assert not any(arg.startswith("--linger-s") for arg in container(pair, role, here)["args"])
        assert pod(pair, role, here)["terminationGracePeriodSeconds"] == drain_s


@pytest.mark.parametrize(
    ("same_node", "kind"),
    [
        (None, "preferredDuringSchedulingIgnoredDuringExecution"),
        ("Preferred", "preferredDuringSchedulingIgnoredDuringExecution"),
        ("Required", "requiredDuringSchedulingIgnoredDuringExecution"),
    ],
)
def test_the_draft_goes_to_where_the_target_is(same_node: str | None, kind: str) -> None:
    placed = {} if same_node is None else {"placement": {"sameNode": same_node}}
    pair = model({"draft": {**DRAFT, **placed}})
    [term] = pod(pair, "draft")["affinity"]["podAffinity"][kind]
    term = term.get("podAffinityTerm", term)
    assert term["topologyKey"] == "kubernetes.io/hostname"
    [deployment] = [
        thing
        for thing in build(pair, Platform())
        if thing["kind"] == "Deployment" and thing["metadata"]["name"] == "pair-target"
    ]
    found = deployment["spec"]["template"]["metadata"]["labels"]
    assert term["labelSelector"]["matchLabels"].items() <= found.items()
    assert "affinity" not in pod(pair, "target")


def test_a_draft_that_may_be_anywhere_is_told_nothing() -> None:
    assert "affinity" not in pod(model({"draft": {**DRAFT, "placement": {"sameNode": "None"}}}), "draft")


def test_the_models_are_on_one_volume_of_both_roles_where_one_is_asked_for() -> None:
    storage = {"size": 50 << 30, "storageClassName": "shared", "accessModes": ["ReadWriteMany"]}
    pair = model({"draft": DRAFT, "storage": storage})
    [claim] = [thing for thing in build(pair, Platform()) if thing["kind"] == "PersistentVolumeClaim"]
    assert claim["metadata"]["name"] == "pair-models"
    assert claim["spec"] == {
        "accessModes": ["ReadWriteMany"],
        "storageClassName": "shared",
        "resources": {"requests": {"storage": "53687091200"}},
    }
    for role in ("target", "draft"):
        assert {"name": "cache", "persistentVolumeClaim": {"claimName": "pair-models"}} in pod(pair, role)["volumes"]
        assert {"name": "cache", "mountPath": "/cache"} in container(pair, role)["volumeMounts"]
        kubernetes_validate.validate(claim, kubernetes_validate.latest_version(), strict=True)


def test_on_a_volume_of_one_node_a_new_target_goes_to_where_the_draft_holds_it() -> None:
    near = {"draft": {**DRAFT, "placement": {"sameNode": "Required"}}}
    pair = model({**near, "storage": {"size": "50Gi"}})
    [term] = pod(pair, "target")["affinity"]["podAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]
    assert term["topologyKey"] == "kubernetes.io/hostname"
    wanted = term["labelSelector"]["matchLabels"].items()
    labels = {
        thing["metadata"]["name"]: thing["spec"]["template"]["metadata"]["labels"]
        for thing in build(pair, Platform())
        if thing["kind"] == "Deployment"
    }
    assert wanted <= labels["pair-draft"].items()
    # A scheduler lets the first pod start anywhere if it is one of those that it wants to be near to.
    assert wanted <= labels["pair-target"].items()
    elsewhere = model({**near, "storage": {"size": "50Gi"}}, name="pair-b")
    others = [thing for thing in build(elsewhere, Platform()) if thing["kind"] == "Deployment"]
    assert not any(wanted <= other["spec"]["template"]["metadata"]["labels"].items() for other in others)


def test_a_target_goes_anywhere_where_no_volume_ties_it_to_a_node() -> None:
    near = {"draft": {**DRAFT, "placement": {"sameNode": "Required"}}}
    everywhere = {"storage": {"size": "50Gi", "accessModes": ["ReadWriteMany"]}}
    alone = {"storage": {"size": "50Gi"}, "speculation": {"mode": "Off"}}
    for spec in (near, {**near, **everywhere}, {**near, **alone}):
        assert "affinity" not in pod(model(spec), "target")


def test_without_storage_the_cache_is_each_pods_own() -> None:
    pair = model({"draft": DRAFT})
    assert not [thing for thing in build(pair, Platform()) if thing["kind"] == "PersistentVolumeClaim"]
    assert {"name": "cache", "emptyDir": {}} in pod(pair, "draft")["volumes"]


def test_the_selector_of_the_status_finds_the_pods() -> None:
    pair = model({"draft": DRAFT})
    for deployment in [thing for thing in build(pair, Platform()) if thing["kind"] == "Deployment"]:
        role = deployment["spec"]["template"]["spec"]["containers"][0]["name"]
        text = ",".join(f"{name}={value}" for name, value in deployment["spec"]["selector"]["matchLabels"].items())
        assert selector_text(pair, role) == text


def test_the_targets_read_from_a_folder_whether_they_may_speculate() -> None:
    pair = model({"draft": DRAFT})
    [control] = [thing for thing in build(pair, Platform()) if thing["kind"] == "ConfigMap"]
    assert control["metadata"]["name"] == "pair-control"
    assert "data" not in control, "it is the autoscaler's"
    source = {"name": "pair-control", "optional": True}
    assert {"name": "outrider-control", "configMap": source} in pod(pair, "target")["volumes"]
    [mount] = [each for each in container(pair, "target")["volumeMounts"] if each["name"] == "outrider-control"]
    assert mount == {"name": "outrider-control", "mountPath": "/etc/outrider/control", "readOnly": True}
    assert "--control=/etc/outrider/control" in container(pair, "target")["args"]
    assert "outrider-control" not in str(pod(pair, "draft"))


@pytest.mark.parametrize(
    ("autoscaling", "target", "draft"),
    [
        ({}, 1, 1),
        ({"target": {"minReplicas": 3, "maxReplicas": 8}}, 3, 1),
        ({"draft": {"maxReplicas": 8}}, 1, 1),
        ({"draft": {"minReplicas": 2, "maxReplicas": 8}}, 1, 2),
        ({"mode": "Advisory", "target": {"minReplicas": 3, "maxReplicas": 8}}, 1, 1),
    ],
)
def test_a_role_that_is_scaled_begins_with_the_fewest_pods_and_a_draft_with_one(
    autoscaling: dict[str, Any], target: int, draft: int
) -> None:
    built = build(model({"draft": DRAFT, "autoscaling": autoscaling}), Platform())
    deployments = [thing for thing in built if thing["kind"] == "Deployment"]
    replicas = {thing["metadata"]["name"]: thing["spec"]["replicas"] for thing in deployments}
    assert replicas == {"pair-target": target, "pair-draft": draft}


def test_which_roles_the_autoscaler_sets() -> None:
    both = {"target": {"maxReplicas": 2}, "draft": {"maxReplicas": 2}}
    assert scaled_roles(model({"draft": DRAFT})) == set()
    assert scaled_roles(model({"draft": DRAFT, "autoscaling": both})) == {"target", "draft"}
    assert scaled_roles(model({"draft": DRAFT, "autoscaling": {**both, "mode": "Advisory"}})) == set()
    off = {"draft": DRAFT, "autoscaling": both, "speculation": {"mode": "Off"}}
    assert scaled_roles(model(off)) == {"target"}
