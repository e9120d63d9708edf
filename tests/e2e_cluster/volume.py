"""The volume that the models are on: a folder of our own node, or a claim of the given cluster's default StorageClass
that a pod fills.
"""

from __future__ import annotations

from cluster.kubectl import Kubectl
from e2e_cluster.asking import CONTAINER_SECURITY, POD_SECURITY
from e2e_cluster.looking import Look
from e2e_cluster.objects import CLAIM, NAMESPACE, Object, claim, volume
from e2e_cluster.site import SERVING, Site

FILLER = "filler"


def provide_models(site: Site, kubectl: Kubectl) -> None:
    """The claim, and on it what `site.models` holds."""
    if site.own:
        kubectl.apply(NAMESPACE, volume(site.models), claim(on_our_volume=True))
        return
    kubectl.apply(NAMESPACE, claim(on_our_volume=False), _filler(site.image(SERVING)))
    Look(kubectl).until_running(FILLER)
    for folder in sorted(path for path in site.models.iterdir() if path.is_dir()):
        kubectl("cp", str(folder), f"{NAMESPACE}/{FILLER}:/models/{folder.name}")
    kubectl("delete", "pod", FILLER, "-n", NAMESPACE)


def _filler(image: str) -> Object:
    """`kubectl cp` needs a pod with tar that writes to the claim."""
    container = {
        "name": FILLER,
        "image": image,
        "command": ["python3", "-c", "import time; time.sleep(100000)"],
        "securityContext": CONTAINER_SECURITY,
        "volumeMounts": [{"name": "models", "mountPath": "/models"}],
    }
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": FILLER, "namespace": NAMESPACE},
        "spec": {
            "automountServiceAccountToken": False,
            "terminationGracePeriodSeconds": 0,
            "securityContext": POD_SECURITY,
            "containers": [container],
            "volumes": [{"name": "models", "persistentVolumeClaim": {"claimName": CLAIM}}],
        },
    }
