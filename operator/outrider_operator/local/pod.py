"""From a Deployment, as rendered, to the one process that stands for one of its pods here. Pure.

Command, args and env are taken over as a kubelet reads them. The exceptions are places: a path below a mounted emptyDir
becomes one in a private folder, a mounted ConfigMap a folder of the run that all pods share, and the Hugging Face
cache stays the user's own: nothing is downloaded twice.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from outrider_operator.local.ports import LOOPBACK

LONGEST_GRACE_S = 10.0
DEFAULT_GRACE_S = 30.0  # Kubernetes' own default
HF_HOME = "HF_HOME"
MODEL_MIRROR = "OUTRIDER_MODEL_MIRROR"  # names a folder of this machine already
REFERENCE = re.compile(r"\$\$|\$\(([^)]*)\)")  # in values of a container's env, and in its args


@dataclass(frozen=True)
class Probe:
    """The readiness probe of a container."""

    url: str
    period_s: float
    timeout_s: float
    failures: int  # in a row, until a ready process counts as not ready


@dataclass(frozen=True)
class ProcessPlan:
    """What to start for one pod, and how to know that it is ready."""

    name: str  # unique in the run: of its log, its folder and its row
    role: str  # target or draft
    argv: tuple[str, ...]
    env: dict[str, str]  # what is set on top of the user's environment
    folders: tuple[Path, ...]  # to be made before the start
    probe: Probe
    ports: Mapping[str, int]  # by their name in the container: http, and of a draft grpc
    grace_s: float  # from being asked to end until it is killed, when the whole run ends
    drain_s: float  # the same, when it ends alone: what its pod has
    number: int = 1  # of those of its role
    cores: tuple[int, ...] | None = None  # None: all of the machine's

    @property
    def http_url(self) -> str:
        """The root of the role's HTTP: /health and /metrics are below it."""
        return self.probe.url.split("/", 3)[0] + "//" + self.probe.url.split("/", 3)[2]

    @property
    def grpc_address(self) -> str | None:
        """Where a draft is reached by targets."""
        return f"{LOOPBACK}:{self.ports['grpc']}" if "grpc" in self.ports else None


def plan_process(
    name: str, deployment: Mapping[str, Any], private_folder: Path, user_env: Mapping[str, str]
) -> ProcessPlan:
    """The process for one pod of a Deployment with one container, whose name is the role.

    private_folder: this run's own, for volumes. user_env: the environment of whoever runs this.
    """
    pod = deployment["spec"]["template"]["spec"]
    [container] = pod["containers"]
    own = local_mounts(pod, container, private_folder / name)
    shared = config_mounts(pod, container, private_folder)
    env = local_env(container, own, user_env)
    args = (_expanded(arg, env) for arg in container.get("args", []))
    drain_s = float(pod.get("terminationGracePeriodSeconds", DEFAULT_GRACE_S))
    return ProcessPlan(
        name=name,
        role=container["name"],
        argv=(*container["command"], *(_moved_arg(arg, shared) for arg in args)),
        env=env,
        folders=(*own.values(), *shared.values()),
        probe=_probe(container),
        ports=_named_ports(container),
        grace_s=min(LONGEST_GRACE_S, drain_s),
        drain_s=drain_s,
    )


def local_mounts(pod: Mapping[str, Any], container: Mapping[str, Any], folder: Path) -> dict[PurePosixPath, Path]:
    """The folder of this machine for each path where the container has an emptyDir mounted."""
    empty_dirs = {volume["name"] for volume in pod.get("volumes", []) if "emptyDir" in volume}
    return {
        PurePosixPath(mount["mountPath"]): folder / mount["name"] / mount.get("subPath", "")
        for mount in container.get("volumeMounts", [])
        if mount["name"] in empty_dirs
    }


def config_mounts(pod: Mapping[str, Any], container: Mapping[str, Any], folder: Path) -> dict[PurePosixPath, Path]:
    """The same for ConfigMaps, each in a folder that has its name."""
    names = {volume["name"]: volume["configMap"]["name"] for volume in pod.get("volumes", []) if "configMap" in volume}
    return {
        PurePosixPath(mount["mountPath"]): folder / names[mount["name"]]
        for mount in container.get("volumeMounts", [])
        if mount["name"] in names
    }


def local_env(
    container: Mapping[str, Any], mounts: Mapping[PurePosixPath, Path], user_env: Mapping[str, str]
) -> dict[str, str]:
    """The container's env with the paths below its emptyDirs moved into their folders here."""
    env: dict[str, str] = {}
    for entry in container.get("env", []):
        env[entry["name"]] = _expanded(entry.get("value", ""), env)
    env |= {name: _moved(value, mounts) for name, value in env.items() if name != MODEL_MIRROR}
    if HF_HOME in env:
        cache_home = user_env.get("XDG_CACHE_HOME") or str(Path(user_env.get("HOME", "~")) / ".cache")
        env[HF_HOME] = user_env.get(HF_HOME) or str(Path(cache_home) / "huggingface")
    return env


def _expanded(text: str, env: Mapping[str, str]) -> str:
    """The text with $$ as $, and $(NAME) as the variable; as it stands where there is none of that name."""
    return REFERENCE.sub(lambda found: "$" if found[1] is None else env.get(found[1], found[0]), text)


def _moved_arg(arg: str, mounts: Mapping[PurePosixPath, Path]) -> str:
    flag, equals, value = arg.partition("=")
    return flag + equals + _moved(value, mounts) if value else arg


def _moved(value: str, mounts: Mapping[PurePosixPath, Path]) -> str:
    path = PurePosixPath(value)
    for mount_path in sorted(mounts, key=lambda mount: len(mount.parts), reverse=True):
        if path == mount_path or mount_path in path.parents:
            return str(mounts[mount_path] / path.relative_to(mount_path))
    return value


def _named_ports(container: Mapping[str, Any]) -> dict[str, int]:
    return {port["name"]: port["containerPort"] for port in container.get("ports", []) if "name" in port}


def _probe(container: Mapping[str, Any]) -> Probe:
    probe = container["readinessProbe"]
    get = probe["httpGet"]
    port = _named_ports(container).get(get["port"], get["port"])
    return Probe(
        url=f"http://{LOOPBACK}:{port}{get.get('path', '/')}",
        period_s=float(probe.get("periodSeconds", 10)),
        timeout_s=float(probe.get("timeoutSeconds", 1)),
        failures=int(probe.get("failureThreshold", 3)),
    )
