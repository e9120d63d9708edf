"""What the objects of a model are called and labelled."""

from importlib.metadata import version
from typing import Any

from outrider_operator.api.v1alpha1 import SpeculativeModel

Object = dict[str, Any]  # of Kubernetes, or a part of one
Labels = dict[str, str]

# Read once: a file of the installation, and each object of each model wants it at every look.
VERSION = version("outrider-operator")


def namespace(model: SpeculativeModel) -> str:
    """The namespace of the model and of everything built from it."""
    return model.metadata.namespace or "default"


def target_name(model: SpeculativeModel) -> str:
    """Name of the target's Deployment and Service.

    Every object's name ends in its role: with bare names, a model "a" and a model "a-draft" would both own a
    Service "a-draft".
    """
    return f"{model.metadata.name}-target"


def draft_name(model: SpeculativeModel) -> str:
    """Name of the draft's Deployment and headless Service."""
    return f"{model.metadata.name}-draft"


def models_name(model: SpeculativeModel) -> str:
    """Name of the claim on the volume that holds the files of both models."""
    return f"{model.metadata.name}-models"


def control_name(model: SpeculativeModel) -> str:
    """Name of the ConfigMap by which the targets are told whether they may speculate."""
    return f"{model.metadata.name}-control"


def model_selector(model: SpeculativeModel) -> Labels:
    """The labels that find all pods of the model."""
    return {"app.kubernetes.io/name": "outrider", "app.kubernetes.io/instance": model.metadata.name}


def selector(model: SpeculativeModel, role: str) -> Labels:
    """The labels that find the pods of one role. A Deployment's selector cannot change: neither may these."""
    return {**model_selector(model), "app.kubernetes.io/component": role}


def selector_text(model: SpeculativeModel, role: str) -> str:
    """The selector as the text that status and a HorizontalPodAutoscaler have."""
    return ",".join(f"{name}={value}" for name, value in selector(model, role).items())


def pod_labels(model: SpeculativeModel, role: str) -> Labels:
    """The labels of the pods of one role.

    Without a version: a pod template that named it would restart every model when the operator is upgraded.
    """
    return {
        **selector(model, role),
        "app.kubernetes.io/part-of": "outrider",
        "app.kubernetes.io/managed-by": "outrider-operator",
    }


def labels(model: SpeculativeModel, role: str) -> Labels:
    """The labels of the Deployment and the Service of one role."""
    return {**pod_labels(model, role), "app.kubernetes.io/version": VERSION}
