"""The kinds of objects that the operator reads and writes, and where the API server has them."""

from __future__ import annotations

from dataclasses import dataclass

from outrider_operator.resources.pod import Object


@dataclass(frozen=True)
class Kind:
    """name: as objects say it. plural: as it is in paths."""

    api_version: str
    name: str
    plural: str

    def path(self, namespace: str = "", name: str | None = None, subresource: str | None = None) -> str:
        """Where the object is on the server; without a name the namespace's list, without either the cluster's."""
        root = "api" if "/" not in self.api_version else "apis"
        within = f"namespaces/{namespace}" if namespace else None
        parts = [root, self.api_version, within, self.plural, name, subresource]
        return "/" + "/".join(part for part in parts if part)


SPECULATIVE_MODEL = Kind("outrider.dev/v1alpha1", "SpeculativeModel", "speculativemodels")
EVENT = Kind("v1", "Event", "events")
NAMESPACE = Kind("v1", "Namespace", "namespaces")
POD = Kind("v1", "Pod", "pods")
SECRET = Kind("v1", "Secret", "secrets")
# v1: every server has it, and it names what is scaled.
HORIZONTAL_POD_AUTOSCALER = Kind("autoscaling/v1", "HorizontalPodAutoscaler", "horizontalpodautoscalers")
CONFIG_MAP = Kind("v1", "ConfigMap", "configmaps")
DEPLOYMENT = Kind("apps/v1", "Deployment", "deployments")

# In the order in which a model's objects are applied: what others name comes before them.
CHILDREN = (
    Kind("v1", "ServiceAccount", "serviceaccounts"),
    SECRET,
    CONFIG_MAP,
    Kind("v1", "PersistentVolumeClaim", "persistentvolumeclaims"),
    Kind("v1", "Service", "services"),
    Kind("networking.k8s.io/v1", "NetworkPolicy", "networkpolicies"),
    DEPLOYMENT,
    Kind("policy/v1", "PodDisruptionBudget", "poddisruptionbudgets"),
    Kind("networking.k8s.io/v1", "Ingress", "ingresses"),
    Kind("route.openshift.io/v1", "Route", "routes"),
    Kind("gateway.networking.k8s.io/v1", "HTTPRoute", "httproutes"),
    Kind("monitoring.coreos.com/v1", "PodMonitor", "podmonitors"),
    Kind("monitoring.coreos.com/v1", "PrometheusRule", "prometheusrules"),
)
_BY_NAME = {(kind.api_version, kind.name): kind for kind in (*CHILDREN, SPECULATIVE_MODEL, EVENT)}


def kind_of(item: Object) -> Kind:
    """The kind of an object. Raises KeyError for one that the operator does not handle."""
    return _BY_NAME[item["apiVersion"], item["kind"]]
