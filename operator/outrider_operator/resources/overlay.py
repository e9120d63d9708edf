"""The podTemplate of a role, laid over what the operator builds for its pods.

Lists with a key are merged by it, and of two entries with one key a person's takes the place of the operator's whole:
half of the one and half of the other would be a volume with two sources. What must not be replaced is refused before,
by the rules of the API.
"""

from outrider_operator.api.v1alpha1 import Affinity, PodTemplate, TopologySpreadConstraint
from outrider_operator.resources.names import Labels, Object


def overlaid(template: Object, overlay: PodTemplate, pods: Labels) -> Object:
    """The pod template with the overlay. pods: labels that find all pods of the role.

    What goes into the containers goes into those that run before it too: a download needs the proxy and the
    certificates that a person has set as much as what serves.
    """
    said = overlay.model_dump(by_alias=True, exclude_none=True)
    spec = template["spec"]
    for containers in ("initContainers", "containers"):
        if containers in spec:
            spec = {**spec, containers: [_container(each, said) for each in spec[containers]]}
    for name in ("volumes", "imagePullSecrets"):
        if name in said:
            spec = {**spec, name: merged("name", spec.get(name, []), said[name])}
    for name in ("nodeSelector", "tolerations", "priorityClassName", "runtimeClassName"):
        if name in said:
            spec = {**spec, name: said[name]}
    if overlay.affinity is not None:
        spec = {**spec, "affinity": _affinity(spec.get("affinity", {}), overlay.affinity)}
    if overlay.topology_spread_constraints:
        spread = [_spread(each, pods) for each in overlay.topology_spread_constraints]
        spec = {**spec, "topologySpreadConstraints": spread}
    metadata = template["metadata"]
    if "annotations" in said:
        metadata = {**metadata, "annotations": {**metadata.get("annotations", {}), **said["annotations"]}}
    return {**template, "metadata": metadata, "spec": spec}


def merged(key: str, built: list[Object], said: list[Object]) -> list[Object]:
    """Both lists as one, what is said in the place of what was built under the same key."""
    by_key = {entry[key]: entry for entry in built} | {entry[key]: entry for entry in said}
    return list(by_key.values())


def _container(container: Object, said: Object) -> Object:
    lists: Object = {}
    if "env" in said:
        lists["env"] = _variables(container.get("env", []), said["env"])
    if "volumeMounts" in said:
        lists["volumeMounts"] = merged("mountPath", container.get("volumeMounts", []), said["volumeMounts"])
    return {**container, **lists}


def _variables(built: list[Object], said: list[Object]) -> list[Object]:
    """As merged, but with what is said at the end, in its own order: $(NAME) in a value is what stands before it."""
    taken = {entry["name"] for entry in said}
    return [*(entry for entry in built if entry["name"] not in taken), *said]


def _affinity(built: Object, said: Affinity) -> Object:
    """Both together: the lists of terms are joined, for each stands by itself."""
    joined = dict(built)
    for kind, wanted in said.model_dump(by_alias=True, exclude_none=True).items():
        terms = dict(joined.get(kind, {}))
        for name, value in wanted.items():
            both = isinstance(terms.get(name), list) and isinstance(value, list)
            terms[name] = [*terms[name], *value] if both else value
        joined[kind] = terms
    return joined


def _spread(constraint: TopologySpreadConstraint, pods: Labels) -> Object:
    """The constraint, of the role's own pods where it does not say of which: of none it would be without effect."""
    return {"labelSelector": {"matchLabels": pods}, **constraint.model_dump(by_alias=True, exclude_none=True)}
