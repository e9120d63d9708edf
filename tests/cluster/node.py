"""What makes pods out of a control plane: scheduler, containerd, kubelet, kube-proxy and DNS, all on one node."""

from __future__ import annotations

from pathlib import Path

from support.ports import free_port

from cluster.addresses import DNS, DOMAIN, NODE, NODE_NAME, PODS
from cluster.containerd import socket_path, start_containerd
from cluster.control_plane import ControlPlane
from cluster.kubectl import Kubectl
from cluster.names import Names
from cluster.node_assets import NodeAssets

SCHEDULER = "system:kube-scheduler"
PROXY = "system:kube-proxy"
KUBELET = f"system:node:{NODE_NAME}"
RESOLVER = "system:serviceaccount:kube-system:kube-dns"
# Known to the API server by a token, and allowed what Kubernetes' own roles and the Node authorizer give these names.
USERS = {SCHEDULER: "", PROXY: "", KUBELET: "system:nodes", RESOLVER: ""}
APISERVER_FLAGS = (
    f"--advertise-address={NODE}",
    # The node's host name is known to nobody.
    "--kubelet-preferred-address-types=InternalIP",
    "--enable-admission-plugins=PodSecurityPolicy",
)
OBJECTS = Path(__file__).with_name("objects.yaml")


class Node:
    """The one node of a control plane that was given USERS and APISERVER_FLAGS. Its programs are stopped with it."""

    def __init__(self, plane: ControlPlane, assets: NodeAssets, folder: Path) -> None:
        self._plane = plane
        self._assets = assets
        self._folder = folder
        self._names = Names(plane.programs, plane.kubeconfig_of(RESOLVER), folder)

    def start(self) -> None:
        """Until pods can run. Raises NoCluster."""
        kubectl = Kubectl(self._plane.kubectl, self._plane.kubeconfig, self._folder / "kubectl")
        kubectl.until(lambda: "kube-system" in kubectl("get", "namespaces"), "the server's own namespaces")
        kubectl("apply", "-f", str(OBJECTS))
        self._start_scheduler()
        start_containerd(self._plane.programs, self._assets, self._folder)
        self._start_kubelet()
        self._start_proxy()
        self._names.start()

        def ready() -> bool:
            conditions = kubectl("get", "nodes", "-o=jsonpath={.items[*].status.conditions[?(@.type=='Ready')].status}")
            return conditions.strip() == "True"

        self._plane.programs.wait("kubelet", ready)
        self.follow()

    def follow(self) -> None:
        """To be called every second or so: DNS follows the Services."""
        self._names.follow()

    def _start_scheduler(self) -> None:
        self._plane.programs.start(
            "scheduler",
            [
                self._assets.scheduler,
                f"--kubeconfig={self._plane.kubeconfig_of(SCHEDULER)}",
                f"--secure-port={free_port()}",
                "--port=0",
                "--leader-elect=false",
            ],
        )

    def _start_kubelet(self) -> None:
        """Its folder is /var/lib/kubelet, which the cluster has to itself."""
        resolv = self._folder / "resolv.conf"
        resolv.write_text("# What pods know of names, the cluster's DNS tells them.\n", encoding="utf-8")
        self._plane.programs.start(
            "kubelet",
            [
                self._assets.kubelet,
                f"--kubeconfig={self._plane.kubeconfig_of(KUBELET)}",
                "--container-runtime=remote",
                f"--container-runtime-endpoint=unix://{socket_path(self._folder)}",
                "--cgroup-driver=cgroupfs",
                "--fail-swap-on=false",
                f"--hostname-override={NODE_NAME}",
                f"--node-ip={NODE}",
                "--read-only-port=0",
                f"--cluster-dns={DNS}",
                f"--cluster-domain={DOMAIN}",
                f"--resolv-conf={resolv}",
                "--volume-plugin-dir=/var/lib/kubelet/volume-plugins",
                # A disk that is nearly full is the machine's affair, and images cannot be had again by pulling.
                "--eviction-hard=nodefs.available<1%",
                "--image-gc-high-threshold=100",
            ],
        )

    def _start_proxy(self) -> None:
        self._plane.programs.start(
            "kube-proxy",
            [
                self._assets.proxy,
                f"--kubeconfig={self._plane.kubeconfig_of(PROXY)}",
                f"--hostname-override={NODE_NAME}",
                f"--bind-address={NODE}",
                f"--cluster-cidr={PODS}",
                "--proxy-mode=iptables",
                # The machine's limits of connections, and how long it remembers them, stay as they are.
                "--conntrack-max-per-core=0",
                "--conntrack-tcp-timeout-established=0s",
                "--conntrack-tcp-timeout-close-wait=0s",
            ],
        )
