"""By what the targets are told, while they run, whether they may ask drafts: a ConfigMap that they read as a folder.

It is made without data, which the autoscaler writes, and is there without autoscaling too: so that asking for it later
restarts no pod.
"""

from outrider_operator.api.v1alpha1 import SpeculativeModel
from outrider_operator.resources.folders import Folder
from outrider_operator.resources.names import Object, control_name, labels, namespace

# The file that says it, with one of these words in it. Where it is not there, they may.
SPECULATION, ON, OFF = "speculation", "on", "off"


def control_map(model: SpeculativeModel) -> Object | None:
    """The ConfigMap; None in mode Off, in which there is nothing to tell."""
    if model.spec.speculation.mode == "Off":
        return None
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": control_name(model), "namespace": namespace(model), "labels": labels(model, "target")},
    }


def control(model: SpeculativeModel) -> list[Folder]:
    """Where a target has it. A target starts without it, and finds it when it comes."""
    if model.spec.speculation.mode == "Off":
        return []
    return [Folder("control", "--control", {"configMap": {"name": control_name(model), "optional": True}})]
