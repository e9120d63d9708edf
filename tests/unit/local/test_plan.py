"""From a resource to the processes of this machine."""

from pathlib import Path
from typing import Any

import pytest
from outrider_operator.api.v1alpha1 import SpeculativeModel
from outrider_operator.local.errors import LocalError
from outrider_operator.local.plan import Counts, Machine, Plan, Ports, plan_run
from outrider_operator.local.pod import ProcessPlan, plan_process

RUN = Path("/run/private")
USER = {"HOME": "/home/ada"}
DRAFTS = "--draft=file:///run/private/drafts"


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
    return plan_run(resource, Machine(mirror, range(cores), RUN, USER))


def processes(made: Plan) -> list[ProcessPlan]:
    """Those that run at first."""
    return [
        template.process(number, target_ports(number) if template.role == "target" else draft_ports(number))
        for template in made.templates
        for number in range(1, template.counts.first + 1)
    ]


def target_ports(number: int) -> Ports:
    return Ports(8122 + number)


def draft_ports(number: int) -> Ports:
    return Ports(http=9399 + number, grpc=50050 + number)


def test_a_pair_is_two_processes_on_the_loopback() -> None:
    target, draft = processes(plan(model()))
    assert target.argv[0] == "outrider-target"
    assert {"--host=127.0.0.1", "--port=8123", DRAFTS} <= set(target.argv)
    assert draft.argv[0] == "outrider-draft"
    assert {"--host=127.0.0.1", "--port=50051", "--http-port=9400"} <= set(draft.argv)
    assert target.probe.url == "http://127.0.0.1:8123/ready"
    assert target.http_url == "http://127.0.0.1:8123"
    assert draft.probe.url == "http://127.0.0.1:9400/ready"


def test_the_model_is_where_its_endpoint_is() -> None:
    made = plan(model(endpoint={"port": 8123}))
    assert (made.name, made.url, made.has_service) == ("coder", "http://127.0.0.1:8123", False)


def test_without_a_draft_there_is_one_process() -> None:
    assert [process.role for process in processes(plan(model(draft=None)))] == ["target"]


def test_mode_off_runs_no_draft_and_says_so() -> None:
    made = plan(model(speculation={"mode": "Off"}))
    assert [process.role for process in processes(made)] == ["target"]
    assert made.notes == ("spec.speculation.mode: Off, so the draft is not started",)


def test_folders_of_the_pod_are_private_folders_here() -> None:
    target, draft = processes(plan(model()))
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
    machine = Machine(None, range(4), RUN, user)
    assert processes(plan_run(model(), machine))[0].env["HF_HOME"] == cache


def test_a_mirror_below_tmp_is_not_taken_for_a_folder_of_the_pod() -> None:
    target, _ = processes(plan(model(), mirror="/tmp/models"))
    assert target.env["OUTRIDER_MODEL_MIRROR"] == "/tmp/models"


def test_a_dollar_in_an_address_and_in_a_mirror_is_one_here_too() -> None:
    target, _ = processes(plan(model(target=role("file:///models/$(HOME)/m$$")), mirror="/srv/$$models"))
    assert "--model=file:///models/$(HOME)/m$$" in target.argv
    assert target.env["OUTRIDER_MODEL_MIRROR"] == "/srv/$$models"


def test_variables_name_each_other_as_in_a_pod() -> None:
    env = [
        {"name": "LATER", "value": "$(BASE) $$(BASE) $5"},
        {"name": "BASE", "value": "/tmp"},
        {"name": "TRITON_CACHE_DIR", "value": "$(BASE)/triton"},
    ]
    target, _ = processes(plan(model(target=role(podTemplate={"env": env}))))
    assert target.env["LATER"] == "$(BASE) $(BASE) $5"
    assert target.env["TRITON_CACHE_DIR"] == "/run/private/target/tmp/triton"


def test_the_drain_of_a_cluster_is_too_long_for_ctrl_c_but_not_for_one_that_is_not_wanted_any_more() -> None:
    assert [(process.grace_s, process.drain_s) for process in processes(plan(model()))] == [(10.0, 120.0), (10.0, 30.0)]


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
    assert [process.cores for process in processes(plan(shared))] == [None, None]


def test_roles_of_their_own_get_disjoint_cores_the_target_first() -> None:
    made = plan(model(target=role(**own(3)), draft=role(**own("1"))))
    assert [process.cores for process in processes(made)] == [(0, 1, 2), (3,)]
    assert processes(made)[0].env["OMP_NUM_THREADS"] == "3"


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
    assert len(processes(made)) == 1


def test_there_is_one_target_at_least_and_it_is_said() -> None:
    made = plan(model(target=role(replicas=0)))
    assert [process.name for process in processes(made)] == ["target", "draft"]
    assert made.notes == ("spec.target.replicas: 0 asked for; one target runs on this machine",)


def test_several_targets_are_behind_a_service_and_each_has_its_own_place() -> None:
    made = plan(model(target=role(replicas=3)))
    assert made.has_service
    *targets, draft = processes(made)
    assert [target.name for target in targets] == ["target-1", "target-2", "target-3"]
    assert [target.http_url for target in targets] == [f"http://127.0.0.1:{port}" for port in (8123, 8124, 8125)]
    assert len({target.env["HOME"] for target in targets}) == 3
    assert draft.name == "draft"
    assert made.notes == ()


def test_each_replica_of_the_draft_is_a_process_that_the_target_is_told_of() -> None:
    made = plan(model(draft=role("hf://someone/small", replicas=3)))
    target, *drafts = processes(made)
    assert [draft.name for draft in drafts] == ["draft-1", "draft-2", "draft-3"]
    assert {draft.role for draft in drafts} == {"draft"}
    for draft in drafts:
        ports = draft_ports(draft.number)
        assert {f"--port={ports.grpc}", f"--http-port={ports.http}"} <= set(draft.argv)
        assert draft.probe.url == f"http://127.0.0.1:{ports.http}/ready"
        assert draft.grpc_address == f"127.0.0.1:{ports.grpc}"
        assert draft.env["HOME"].startswith(f"/run/private/{draft.name}/")
    assert [arg for arg in target.argv if arg.startswith("--draft=")] == [DRAFTS]
    assert made.notes == ()


def test_no_replica_of_the_draft_is_no_draft_and_it_is_said() -> None:
    made = plan(model(target=role(**own(1)), draft=role("hf://someone/small", replicas=0, **own(4096))))
    [target] = processes(made)
    assert not any(arg.startswith("--draft=") for arg in target.argv)
    assert "--placement=Shared" in target.argv
    assert made.notes == ("spec.draft.replicas: 0, so the target runs without a draft",)


def test_each_draft_has_cores_of_its_own_where_there_are_enough() -> None:
    pair = model(target=role(**own(1)), draft=role("hf://someone/small", replicas=3, **own(2)))
    made = plan(pair, cores=8)
    assert [process.cores for process in processes(made)] == [(0,), (1, 2), (3, 4), (5, 6)]
    assert made.notes == ()


def test_drafts_share_what_the_target_leaves_where_there_are_not_enough_and_it_is_said() -> None:
    pair = model(target=role(**own(1)), draft=role("hf://someone/small", replicas=3, **own(2)))
    made = plan(pair, cores=6)
    assert [process.cores for process in processes(made)] == [(0,), *[(1, 2, 3, 4, 5)] * 3]
    [note] = made.notes
    assert note.startswith("spec.draft.replicas: 3 drafts share 5 CPUs; ask for fewer")


def test_targets_that_have_not_enough_cores_share_what_the_draft_leaves() -> None:
    made = plan(model(target=role(replicas=2, **own(3)), draft=role("hf://someone/small", **own(1))), cores=6)
    assert [process.cores for process in processes(made)] == [(0, 1, 2, 3, 4), (0, 1, 2, 3, 4), (5,)]
    [note] = made.notes
    assert note.startswith("spec.target.replicas: 2 targets share 5 CPUs; ask for fewer")


def test_targets_have_their_cores_before_drafts_have_theirs() -> None:
    pairs = model(target=role(replicas=2, **own(2)), draft=role("hf://someone/small", replicas=2, **own(1)))
    made = plan(pairs, cores=5)
    assert [process.cores for process in processes(made)] == [(0, 1), (2, 3), (4,), (4,)]
    assert [note.split(";")[0] for note in made.notes] == ["spec.draft.replicas: 2 drafts share 1 CPU"]


CLUSTER_ONLY = {
    "nodeSelector": {"pool": "models"},
    "volumes": [{"name": "tmp", "emptyDir": {"sizeLimit": "1Gi"}}, {"name": "data", "configMap": {"name": "data"}}],
    "volumeMounts": [{"name": "data", "mountPath": "/tmp"}],
    "env": [{"name": "GREETING", "value": "hello"}, {"name": "EMPTY"}],
}


def test_of_a_pod_template_the_environment_counts_and_nothing_that_a_cluster_has() -> None:
    plain, changed = plan(model()), plan(model(target=role(podTemplate=CLUSTER_ONLY)))
    before, after = processes(plain)[0].env, processes(changed)[0].env
    assert after == before | {"GREETING": "hello", "EMPTY": ""}
    assert changed.notes == ()


def test_a_volume_of_the_cluster_is_a_private_folder_here() -> None:
    target, draft = processes(plan(model(storage={"size": "50Gi", "accessModes": ["ReadWriteMany"]})))
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
    assert "HF_TOKEN" not in processes(made)[1].env
    assert made.url == "http://127.0.0.1:8000"


def scaled(mode: str = "Active", **changes: Any) -> SpeculativeModel:
    autoscaling = {"mode": mode, "target": {"maxReplicas": 3}, "draft": {"maxReplicas": 2}}
    return model(autoscaling=autoscaling, **changes)


def test_what_is_scaled_begins_with_the_fewest_a_draft_with_one() -> None:
    made = plan(scaled())
    assert {template.role: template.counts for template in made.templates} == {
        "target": Counts(1, 3),
        "draft": Counts(1, 2),
    }
    assert [process.name for process in processes(made)] == ["target-1", "draft-1"]
    assert made.has_service
    assert (made.asked.roles, made.asked.advisory) == (frozenset({"target", "draft"}), False)
    assert made.asked.policy is not None
    assert made.asked.policy.target.most == 3


def test_one_beyond_the_most_shares_the_cores_of_one_that_still_ends() -> None:
    pinned = scaled(target=role(**own(1)), draft=role("hf://someone/small", **own(1)))
    target, draft = plan(pinned, cores=8).templates
    assert [target.process(number, Ports(9000)).cores for number in (1, 2, 3, 4)] == [(0,), (1,), (2,), (0,)]
    assert [draft.process(number, Ports(9000)).cores for number in (1, 2, 3)] == [(3,), (4,), (3,)]


def test_advice_alone_changes_nothing() -> None:
    made = plan(scaled("Advisory", target=role(replicas=2)))
    assert [process.name for process in processes(made)] == ["target-1", "target-2", "draft"]
    assert made.asked.advisory
    assert all(template.counts.first == template.counts.most for template in made.templates)


def test_without_autoscaling_nothing_is_scaled() -> None:
    assert plan(model()).asked.policy is None


def test_all_targets_are_told_in_one_file_whether_they_may_speculate() -> None:
    made = plan(scaled())
    template = made.template("target")
    for number in (1, 2):
        process = template.process(number, Ports(9000))
        assert f"--control={made.speculation_file.parent}" in process.argv
        assert made.speculation_file.parent in process.folders
    assert made.speculation_file.name == "speculation"
