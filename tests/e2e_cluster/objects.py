"""What is applied: a small pair, the same model alone, and the volume that their models are on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

Object = dict[str, Any]

NAMESPACE = "outrider-e2e"
PAIR, ALONE = "pair", "alone"
CLAIM = "models"
VOLUME = f"{NAMESPACE}-{CLAIM}"
# Folders of the volume.
MODEL_S, FIRST_LAYERS = "smollm2", "first-layers"
CONTEXT_TOKENS = 1024
# So few that eight streams fill both targets.
MOST_SEQUENCES = 4


def pair() -> Object:
    """Two targets and a draft of the model's own first layers, which hardly ever agrees: Always, or it would soon be
    asked no more.
    """
    spec = {
        "target": {**_role(MODEL_S, "3Gi"), "replicas": 2, "maxNumSeqs": MOST_SEQUENCES},
        "draft": _role(FIRST_LAYERS, "2Gi"),
        "speculation": {"mode": "Always"},
    }
    return _model(PAIR, spec)


def alone() -> Object:
    """What the answers are to be the same as."""
    return _model(ALONE, {"target": _role(MODEL_S, "3Gi"), "speculation": {"mode": "Off", "fallback": "None"}})


def url(name: str) -> str:
    """Of a model's Service, by its name."""
    return f"http://{name}-target.{NAMESPACE}.svc:8000"


def volume(folder: Path) -> Object:
    """A folder of the node, for the claim alone."""
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolume",
        "metadata": {"name": VOLUME},
        "spec": {
            "capacity": {"storage": "1Gi"},
            "accessModes": ["ReadWriteOnce"],
            "storageClassName": "",
            "persistentVolumeReclaimPolicy": "Retain",
            "claimRef": {"namespace": NAMESPACE, "name": CLAIM},
            "hostPath": {"path": str(folder), "type": "Directory"},
        },
    }


def claim(on_our_volume: bool) -> Object:
    """The claim on the models' volume: ours, or one that the default StorageClass makes."""
    bound = {"storageClassName": "", "volumeName": VOLUME} if on_our_volume else {}
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {"name": CLAIM, "namespace": NAMESPACE},
        "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}, **bound},
    }


def _model(name: str, spec: Object) -> Object:
    return {
        "apiVersion": "outrider.dev/v1alpha1",
        "kind": "SpeculativeModel",
        "metadata": {"name": name, "namespace": NAMESPACE},
        "spec": spec,
    }


def _role(folder: str, memory: str) -> Object:
    return {
        "model": {"uri": f"pvc://{CLAIM}/{folder}"},
        "dtype": "float32",
        "maxModelLen": CONTEXT_TOKENS,
        "kvCache": {"memory": "256Mi"},
        # Less than a CPU: they share the node's.
        "resources": {"requests": {"cpu": "100m", "memory": "768Mi"}, "limits": {"memory": memory}},
    }
