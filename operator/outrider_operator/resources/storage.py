"""Where the files of the models are kept: a folder of each pod, or a volume that all pods of the model share."""

from outrider_operator.api.v1alpha1 import SpeculativeModel
from outrider_operator.resources.names import labels, models_name, namespace
from outrider_operator.resources.pod import Object


def models_claim(model: SpeculativeModel) -> Object | None:
    """The claim on the volume of spec.storage. None without it."""
    storage = model.spec.storage
    if storage is None:
        return None
    spec: Object = {
        "accessModes": storage.access_modes,
        "resources": {"requests": {"storage": str(storage.size)}},
    }
    if storage.storage_class_name is not None:
        spec["storageClassName"] = storage.storage_class_name
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {
            "name": models_name(model),
            "namespace": namespace(model),
            "labels": labels(model, "models"),
        },
        "spec": spec,
    }
