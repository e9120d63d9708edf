"""Pods against the profile `restricted` of Kubernetes' Pod Security Standards, which holds what `baseline` does.

A server of the tests has no admission for it (it came with 1.23), and no checker of it is among the packages. A control
a line, as the standard lists them, for Linux.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

Object = Mapping[str, Any]

VOLUMES = frozenset(
    ("configMap", "csi", "downwardAPI", "emptyDir", "ephemeral", "persistentVolumeClaim", "projected", "secret")
)
SYSCTLS = frozenset(
    (
        "kernel.shm_rmid_forced",
        "net.ipv4.ip_local_port_range",
        "net.ipv4.ip_unprivileged_port_start",
        "net.ipv4.tcp_syncookies",
        "net.ipv4.ping_group_range",
    )
)
SELINUX_TYPES = frozenset(("", "container_t", "container_init_t", "container_kvm_t"))
SECCOMP = frozenset(("RuntimeDefault", "Localhost"))
# Where probes and lifecycle handlers may name another host.
HANDLERS = ("livenessProbe", "readinessProbe", "startupProbe")


# Where an object of each kind has its pod.
TEMPLATE: tuple[str, ...] = ("spec", "template", "spec")
PODS: dict[str, tuple[str, ...]] = {
    "Pod": ("spec",),
    "CronJob": ("spec", "jobTemplate", *TEMPLATE),
    **dict.fromkeys(("Deployment", "StatefulSet", "DaemonSet", "ReplicaSet", "Job"), TEMPLATE),
}


def pod_of(item: Object) -> Object | None:
    """The pod of an object that has one."""
    if item["kind"] not in PODS:
        return None
    found = item
    for field in PODS[item["kind"]]:
        found = found[field]
    return found


def violations(pod: Object) -> list[str]:
    """What the profile refuses, a line each; none for a pod that it lets run."""
    found = list(_of_the_pod(pod))
    context = pod.get("securityContext", {})
    for kind in ("initContainers", "containers", "ephemeralContainers"):
        for container in pod.get(kind, []):
            found += [f"{container['name']}: {each}" for each in _of_a_container(container, context)]
    return found


def _of_the_pod(pod: Object) -> Iterator[str]:
    for field in ("hostNetwork", "hostPID", "hostIPC"):
        if pod.get(field):
            yield field
    for volume in pod.get("volumes", []):
        if not volume.keys() - {"name"} <= VOLUMES:
            yield f"volume {volume['name']} of another type"
    context = pod.get("securityContext", {})
    for sysctl in context.get("sysctls", []):
        if sysctl["name"] not in SYSCTLS:
            yield f"sysctl {sysctl['name']}"
    yield from _of_a_context(context)


def _of_a_context(context: Object) -> Iterator[str]:
    """What both kinds of security context have."""
    if context.get("windowsOptions", {}).get("hostProcess"):
        yield "hostProcess"
    selinux = context.get("seLinuxOptions", {})
    if selinux.get("type", "") not in SELINUX_TYPES or selinux.get("user") or selinux.get("role"):
        yield "SELinux options of its own"
    if context.get("runAsNonRoot") is False:
        yield "runAsNonRoot is false"
    if context.get("runAsUser") == 0:
        yield "runAsUser is 0"
    if context.get("seccompProfile", {}).get("type", "RuntimeDefault") not in SECCOMP:
        yield "no seccomp profile"
    if context.get("appArmorProfile", {}).get("type", "RuntimeDefault") not in SECCOMP:
        yield "no AppArmor profile"


def _of_a_container(container: Object, of_pod: Object) -> Iterator[str]:
    context = container.get("securityContext", {})
    yield from _of_a_context(context)
    if context.get("privileged"):
        yield "privileged"
    if context.get("procMount", "Default") != "Default":
        yield "procMount"
    if context.get("allowPrivilegeEscalation") is not False:
        yield "allowPrivilegeEscalation is not false"
    if not context.get("runAsNonRoot", of_pod.get("runAsNonRoot")):
        yield "runAsNonRoot is not true"
    if "seccompProfile" not in context and "seccompProfile" not in of_pod:
        yield "seccompProfile is not set"
    capabilities = context.get("capabilities", {})
    if "ALL" not in capabilities.get("drop", []):
        yield "capabilities are not dropped"
    if not set(capabilities.get("add", [])) <= {"NET_BIND_SERVICE"}:
        yield "capabilities are added"
    if any(port.get("hostPort") for port in container.get("ports", [])):
        yield "a port of the host"
    handlers = [*(container.get(name, {}) for name in HANDLERS), *container.get("lifecycle", {}).values()]
    if any(handler.get(how, {}).get("host") for handler in handlers for how in ("httpGet", "tcpSocket")):
        yield "a probe of another host"
