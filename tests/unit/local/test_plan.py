"""From a resource to the processes of this machine."""

from pathlib import Path
from typing import Any

import pytest
from outrider_operator.api.v1alpha1 import SpeculativeModel
from outrider_operator.local.errors import LocalError
from outrider_operator.local.plan import DraftPorts, Machine, Plan, plan_run
from outrider_operator.local.pod import plan_process

RUN = Path("/run/private")
USER = {"HOME": "/home/ada"}
PORTS = [DraftPorts(50051, 9400), DraftPorts(50052, 9401), DraftPorts(50053, 9402)]


def model(**spec: Any) -> SpeculativeModel:
    given = {
        "target": {"model": {"uri": "hf://someone/large"}},
        "draft": {"model": {"uri": "hf://someone/small"}},
    } | spec
    return SpeculativeModel.model_validate(
        {
            "apiVersion": "outrider.dev/v1alpha1",
            "kind": "SpeculativeModel",
            "metadata": {"name": "coder"},
            "spec": {name: value for name, value in given.items() if value is not None},
        }
    )


def role(uri: str = "hf://someone/large", **fields: Any) -> dict[str, Any]:
    return {"model": {"uri": uri}, **fields}


def own(cpus: int | str) -> dict[str, Any]:
    return {"resources": {"requests": {"cpu": cpus}}}


def plan(resource: SpeculativeModel, cores: int = 4, mirror: str | None = None) -> Plan:
    return plan_run(resource, Machine(8123, PORTS, mirror, range(cores), RUN, USER))


def test_a_pair_is_two_processes_on_the_loopback() -> None:
    target, draft = plan(model()).processes
    assert target.argv[0] == "outrider-target"
    assert {"--host=127.0.0.1", "--port=8123", "--draft=127.0.0.1:50051"} <= set(target.argv)
    assert draft.argv[0] == "outrider-draft"
    assert {"--host=127.0.0.1", "--port=50051", "--http-port=9400"} <= set(draft.argv)
    assert target.probe.url == "http://127.0.0.1:8123/ready"
    assert target.http_url == "http://127.0.0.1:8123"
    assert draft.probe.url == "http://127.0.0.1:9400/ready"


def test_the_target_is_where_the_plan_says() -> None:
    made = plan(model())
    assert (made.name, made.url) == ("coder", "http://127.0.0.1:8123")


def test_without_a_draft_there_is_one_process() -> None:
    assert [process.role for process in plan(model(draft=None)).processes] == ["target"]


def test_mode_off_runs_no_draft_and_says_so() -> None:
    made = plan(model(speculation={"mode": "Off"}))
    assert [process.role for process in made.processes] == ["target"]
    assert made.notes == ("spec.speculation.mode: Off, so the draft is not started",)


def test_folders_of_the_pod_are_private_folders_here() -> None:
    target, draft = plan(model()).processes
    assert target.env["HOME"].startswith("/run/private/target/")
    assert draft.env["TMPDIR"].startswith("/run/private/draft/")
    assert Path(target.env["HOME"]) in target.folders


@pytest.mark.parametrize(
    ("user", "cache"),
    [
        (USER, "/home/ada/.cache/huggingface"),
        (USER | {"XDG_CACHE_HOME": "/big/cache"}, "/big/cache/huggingface"),
        (USER | {"HF_HOME": "/big/hf"}, "/big/hf"),
    ],
)
def test_the_hub_cache_stays_the_users_own(user: dict[str, str], cache: str) -> None:
    machine = Machine(8123, PORTS, None, range(4), RUN, user)
    assert plan_run(model(), machine).processes[0].env["HF_HOME"] == cache


def test_a_mirror_below_tmp_is_not_taken_for_a_folder_of_the_pod() -> None:
    target, _ = plan(model(), mirror="/tmp/models").processes
    assert target.env["OUTRIDER_MODEL_MIRROR"] == "/tmp/models"


def test_the_drain_of_a_cluster_is_too_long_for_ctrl_c() -> None:
    assert {process.grace_s for process in plan(model()).processes} == {10.0}


def test_a_short_drain_is_kept() -> None:
    container = {
        "name": "target",
        "command": ["outrider-target"],
        "readinessProbe": {"httpGet": {"path": "/ready", "port": 8000}},
    }
    pod = {"containers": [container], "terminationGracePeriodSeconds": 3}
    made = plan_process("target", {"spec": {"template": {"spec": pod}}}, RUN, USER)
    assert made.grace_s == 3
    assert (made.probe.period_s, made.probe.timeout_s, made.probe.failures) == (10, 1, 3)  # Kubernetes' own


def test_roles_that_share_are_not_pinned() -> None:
    shared = model(target=role(**own(2)), draft=role(**own("500m")))
    assert [process.cores for process in plan(shared).processes] == [None, None]


def test_roles_of_their_own_get_disjoint_cores_the_target_first() -> None:
    made = plan(model(target=role(**own(3)), draft=role(**own("1"))))
    assert [process.cores for process in made.processes] == [(0, 1, 2), (3,)]
    assert made.processes[0].env["OMP_NUM_THREADS"] == "3"


@pytest.mark.parametrize(
    ("target_cpus", "draft_cpus", "message"),
    [
        (8, 1, "spec.target.resources.requests.cpu: 8 asked for, this machine has 4; "),
        (
            3,
            2,
            "spec.draft.resources.requests.cpu: 2 asked for, this machine has 4, 1 of them left beside ",
        ),
    ],
)
def test_cores_that_are_not_there_name_the_field(target_cpus: int, draft_cpus: int, message: str) -> None:
    with pytest.raises(LocalError) as raised:
        plan(model(target=role(**own(target_cpus)), draft=role(**own(draft_cpus))))
    assert str(raised.value).startswith(message)


@pytest.mark.parametrize("uri", ["pvc://claim/a", "s3://bucket/a", "oci://registry.example/a:1"])
def test_models_that_only_a_cluster_has_name_the_field(uri: str) -> None:
    with pytest.raises(LocalError, match=r"^spec\.draft\.model\.uri: .* need a cluster; use hf://"):
        plan(model(draft=role(uri)))


def test_a_model_that_is_not_used_is_not_refused() -> None:
    made = plan(model(draft=role("s3://bucket/a"), speculation={"mode": "Off"}))
    assert len(made.processes) == 1


@pytest.mark.parametrize("replicas", [0, 3])
def test_there_is_one_target_here_and_it_is_said(replicas: int) -> None:
    made = plan(model(target=role(replicas=replicas)))
    assert [process.name for process in made.processes] == ["target", "draft"]
    assert made.notes == (f"spec.target.replicas: {replicas} asked for; one target runs on this machine",)


def test_each_replica_of_the_draft_is_a_process_that_the_target_is_told_of() -> None:
    made = plan(model(draft=role("hf://someone/small", replicas=3)))
    target, *drafts = made.processes
    assert [draft.name for draft in drafts] == ["draft-1", "draft-2", "draft-3"]
    assert {draft.role for draft in drafts} == {"draft"}
    for draft, ports in zip(drafts, PORTS, strict=True):
        assert {f"--port={ports.grpc}", f"--http-port={ports.http}"} <= set(draft.argv)
        assert draft.probe.url == f"http://127.0.0.1:{ports.http}/ready"
        assert draft.env["HOME"].startswith(f"/run/private/{draft.name}/")
    assert [arg for arg in target.argv if arg.startswith("--draft=")] == [
        f"--draft=127.0.0.1:{ports.grpc}" for ports in PORTS
    ]
    assert made.notes == ()


def test_no_replica_of_the_draft_is_no_draft_and_it_is_said() -> None:
    made = plan(model(target=role(**own(1)), draft=role("hf://someone/small", replicas=0, **own(4096))))
    [target] = made.processes
    assert not any(arg.startswith("--draft=") for arg in target.argv)
    assert "--placement=Shared" in target.argv
    assert made.notes == ("spec.draft.replicas: 0, so the target runs without a draft",)


def test_each_draft_has_cores_of_its_own_where_there_are_enough() -> None:
    pair = model(target=role(**own(1)), draft=role("hf://someone/small", replicas=3, **own(2)))
    made = plan(pair, cores=8)
    assert [process.cores for process in made.processes] == [(0,), (1, 2), (3, 4), (5, 6)]
    assert made.notes == ()


def test_drafts_share_what_the_target_leaves_where_there_are_not_enough_and_it_is_said() -> None:
    pair = model(target=role(**own(1)), draft=role("hf://someone/small", replicas=3, **own(2)))
    made = plan(pair, cores=6)
    assert [process.cores for process in made.processes] == [(0,), *[(1, 2, 3, 4, 5)] * 3]
    [note] = made.notes
    assert note.startswith("spec.draft.replicas: 3 drafts share the CPUs that the target leaves, 5; ask for fewer")


CLUSTER_ONLY = {
    "nodeSelector": {"pool": "models"},
    "volumes": [{"name": "tmp", "emptyDir": {"sizeLimit": "1Gi"}}, {"name": "data", "configMap": {"name": "data"}}],
    "volumeMounts": [{"name": "data", "mountPath": "/tmp"}],
    "env": [{"name": "GREETING", "value": "hello"}, {"name": "EMPTY"}],
}


def test_of_a_pod_template_the_environment_counts_and_nothing_that_a_cluster_has() -> None:
    plain, changed = plan(model()), plan(model(target=role(podTemplate=CLUSTER_ONLY)))
    before, after = plain.processes[0].env, changed.processes[0].env
    assert after == before | {"GREETING": "hello", "EMPTY": ""}
    assert changed.notes == ()


def test_a_volume_of_the_cluster_is_a_private_folder_here() -> None:
    target, draft = plan(model(storage={"size": "50Gi", "accessModes": ["ReadWriteMany"]})).processes
    assert target.env["TRITON_CACHE_DIR"].startswith("/run/private/target/")
    assert draft.env["TRITON_CACHE_DIR"].startswith("/run/private/draft/")


def test_secrets_that_are_in_a_cluster_are_missed_aloud() -> None:
    secret = {"secretRef": {"name": "hub"}}
    token = {"name": "HF_TOKEN", "valueFrom": {"secretKeyRef": {"name": "hub", "key": "token"}}}
    made = plan(
        model(
            target={"model": {"uri": "hf://someone/large", **secret}},
            draft=role("hf://someone/small", podTemplate={"env": [token]}),
            endpoint={"auth": secret, "tls": secret, "route": {"kind": "Route"}},
        )
    )
    assert [note.split(": ")[0] for note in made.notes] == [
        "spec.target.model.secretRef",
        "spec.draft.podTemplate.env",
        "spec.endpoint.auth",
        "spec.endpoint.tls",
    ]
    assert "HF_TOKEN" not in made.processes[1].env
    assert made.url == "http://127.0.0.1:8123"


def test_what_tells_the_target_whether_it_may_speculate_is_a_folder_of_the_run() -> None:
    target, draft = plan(model()).processes
    assert "--control=/run/private/coder-control" in target.argv
    assert RUN / "coder-control" in target.folders
    assert not any("coder-control" in str(folder) for folder in draft.folders)
