"""Whether draft and target have hardware of their own, which decides how they work together."""

from enum import StrEnum

from outrider_operator.api.quantity import parse_quantity
from outrider_operator.api.v1alpha1 import Draft, Resources, SpeculativeModel, Target


class Placement(StrEnum):
    """How the pair shares hardware. The values are those of the commands' --placement."""

    SHARED = "Shared"  # on the same cores: they take turns, or each would spend what the other needs
    OWN = "Own"  # each on its own: the draft runs ahead while the target verifies


def draft_in_use(model: SpeculativeModel) -> Draft | None:
    """The draft to run. None where the resource has none, or where mode Off would leave it idle."""
    return None if model.spec.speculation.mode == "Off" else model.spec.draft


def shares_node_volume(model: SpeculativeModel) -> bool:
    """Whether draft and target mount a volume that is on one node only."""
    storage, draft = model.spec.storage, draft_in_use(model)
    on_one_node = storage is not None and "ReadWriteMany" not in storage.access_modes
    return on_one_node and draft is not None and draft.placement.same_node == "Required"


def placement(model: SpeculativeModel) -> Placement:
    """Own when both roles ask for hardware of their own, else Shared."""
    draft = draft_in_use(model)
    both = draft is not None and has_own_hardware(model.spec.target) and has_own_hardware(draft)
    return Placement.OWN if both else Placement.SHARED


def has_own_hardware(role: Target | Draft) -> bool:
    """Whether the role asks for whole CPUs or for a GPU."""
    return whole_cpus(role.resources) is not None or has_gpu(role.resources)


def whole_cpus(resources: Resources) -> int | None:
    """The CPUs asked for, where they are a whole number of at least one; None otherwise.

    Only whole CPUs can be had exclusively; 1.5 of them are time slices of cores that others use too. A limit
    without a request counts as the request, as in a pod.
    """
    asked = (resources.requests or {}).get("cpu", (resources.limits or {}).get("cpu"))
    if asked is None:
        return None
    cpus = parse_quantity(asked)
    return int(cpus) if cpus >= 1 and cpus == int(cpus) else None


def has_gpu(resources: Resources) -> bool:
    """Whether the role asks for a GPU, or a partition of one."""
    return any(is_gpu(name) and parse_quantity(count) > 0 for name, count in (resources.limits or {}).items())


def is_gpu(resource_name: str) -> bool:
    """Whether this extended resource is exclusive GPU hardware.

    nvidia.com/gpu.shared, the name of a time-sliced GPU, is not: its holders wait for one another.
    """
    return (
        resource_name in ("nvidia.com/gpu", "amd.com/gpu", "gpu.intel.com/i915", "gpu.intel.com/xe")
        or resource_name.startswith("nvidia.com/mig-")  # slices of one GPU, with compute units of their own
    )
