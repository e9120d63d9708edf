"""What is kept of a model's pods, and how they are counted. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from outrider_operator.autoscaling.observation import Pods
from outrider_operator.measure.endpoint import http_of
from outrider_operator.resources.pod import Object

COMPONENT = "app.kubernetes.io/component"
INSTANCE = "app.kubernetes.io/instance"
REVISION = "pod-template-hash"
# What says which model a pod runs: how its command begins these, and the volume that the model may lie on.
MODEL_ARGS = ("--model=", "--revision=", "--quantization=")
MODEL_VOLUME = "outrider-model"

# What does not get better by waiting: for so long a pod is given the benefit of the doubt.
HOPELESS_AFTER = timedelta(minutes=5)
HOPELESS = frozenset(
    {
        "CrashLoopBackOff",
        "CreateContainerConfigError",
        "CreateContainerError",
        "ErrImageNeverPull",
        "ErrImagePull",
        "ImagePullBackOff",
        "InvalidImageName",
    }
)
# What a start may take where its Deployment does not say: a startup probe's half hour, and some minutes.
LONGEST_START_S = 35 * 60


@dataclass(frozen=True, slots=True)
class SeenPod:
    """A pod, as far as scaling is concerned. Of thousands nothing else is kept.

    unready_since: when it became what it is, where it is not ready. hopeless: it waits for what seldom comes, such as
    an image that is not there, or a node with room. model: which it runs, as model_of has it.
    """

    uid: str
    namespace: str
    name: str
    role: str
    revision: str
    created: datetime
    ip: str
    port: int | None
    https: bool
    restarts: int
    ready: bool
    unready_since: datetime
    hopeless: bool
    model: tuple[str, ...]

    @property
    def readable(self) -> bool:
        """Whether its metrics can be asked for."""
        return self.ready and bool(self.ip) and self.port is not None


def seen_pod(item: Object) -> SeenPod | None:
    """None for a pod that ends or has ended: it does not count any more."""
    metadata, spec, status = item["metadata"], item["spec"], item.get("status") or {}
    if "deletionTimestamp" in metadata or status.get("phase") in ("Succeeded", "Failed"):
        return None
    labels = metadata.get("labels") or {}
    role = labels.get(COMPONENT, "")
    main = _main(spec, role)
    mains = status.get("containerStatuses") or []
    conditions = {each["type"]: each for each in status.get("conditions") or ()}
    ready = conditions.get("Ready", {})
    port, https = http_of(main)
    return SeenPod(
        uid=metadata["uid"],
        namespace=metadata["namespace"],
        name=metadata["name"],
        role=role,
        revision=labels.get(REVISION, ""),
        created=_time(metadata["creationTimestamp"]),
        ip=status.get("podIP", ""),
        port=port,
        https=https,
        restarts=sum(each.get("restartCount", 0) for each in mains if each["name"] == main["name"]),
        ready=ready.get("status") == "True",
        unready_since=_time(ready.get("lastTransitionTime") or metadata["creationTimestamp"]),
        hopeless=_unschedulable(conditions)
        or any(map(_halted, (*mains, *(status.get("initContainerStatuses") or ())))),
        model=model_of(spec, role),
    )


def model_of(spec: Object, role: str) -> tuple[str, ...]:
    """Address, revision and quantization of the model that pods of such a spec run: two are one where these are."""
    said = [arg for arg in _main(spec, role).get("args") or () if arg.startswith(MODEL_ARGS)]
    volume: Object = next((each for each in spec.get("volumes") or () if each["name"] == MODEL_VOLUME), {})
    claim, image = volume.get("persistentVolumeClaim") or {}, volume.get("image") or {}
    return (*said, *(each for each in (claim.get("claimName"), image.get("reference")) if each))


def _main(spec: Object, role: str) -> Object:
    """The container that is the role."""
    main: Object = next((each for each in spec["containers"] if each["name"] == role), spec["containers"][0])
    return main


def _unschedulable(conditions: dict[str, Object]) -> bool:
    scheduled = conditions.get("PodScheduled", {})
    return scheduled.get("status") == "False" and scheduled.get("reason") == "Unschedulable"


def _halted(container: Object) -> bool:
    return ((container.get("state") or {}).get("waiting") or {}).get("reason") in HOPELESS


def newest(pods: Iterable[SeenPod]) -> list[SeenPod]:
    """Those of the newest revision: that of the youngest pod, for a rollout goes on by making pods."""
    known = list(pods)
    if not known:
        return []
    revision = max(known, key=lambda each: (each.created, each.name)).revision
    return [each for each in known if each.revision == revision]


def counted(pods: Sequence[SeenPod], deployment: Object | None, now: datetime) -> Pods:
    """The pods of one role. Those that are wanted and not there yet start, unless the cluster has refused them long.

    deployment: None where there is none.
    """
    if deployment is None:
        return Pods(0, 0)
    wanted = int(deployment["spec"].get("replicas", 1))
    longest = timedelta(seconds=deployment["spec"].get("progressDeadlineSeconds", LONGEST_START_S))
    waiting = [each for each in pods if not each.ready]
    stuck = sum(_stuck(each, longest, now) for each in waiting)
    missing = max(0, wanted - len(pods))
    refused = missing if _refused(deployment, now) else 0
    return Pods(
        wanted=wanted,
        ready=len(pods) - len(waiting),
        starting=len(waiting) - stuck + missing - refused,
        stuck=stuck + refused,
    )


def _stuck(pod: SeenPod, longest: timedelta, now: datetime) -> bool:
    """Longer than any start takes: its Deployment says how long that is, with what it fetches first."""
    waited = now - pod.unready_since
    return waited > longest or (pod.hopeless and waited > HOPELESS_AFTER)


def _refused(deployment: Object, now: datetime) -> bool:
    """Whether pods could not even be created for long: a quota, an admission policy."""
    for each in (deployment.get("status") or {}).get("conditions") or ():
        if each["type"] == "ReplicaFailure" and each["status"] == "True":
            return now - _time(each["lastTransitionTime"]) > HOPELESS_AFTER
    return False


def _time(text: str) -> datetime:
    return datetime.fromisoformat(text)
