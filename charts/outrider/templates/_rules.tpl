{{/* What reconcile and the autoscaler need in the namespaces of the models, and no more. The same everywhere: the APIs that
a cluster lacks may come at any time, and until then a rule about them allows nothing. */}}
{{- define "outrider.rules" -}}
- apiGroups: [outrider.dev]
  resources: [speculativemodels]
  verbs: [get, list, watch]
- apiGroups: [outrider.dev]
  resources: [speculativemodels/status]
  verbs: [patch]
# Owner references that block deletion, which OpenShift allows only to whom may change the owner's finalizers.
- apiGroups: [outrider.dev]
  resources: [speculativemodels/finalizers]
  verbs: [update]
- apiGroups: [""]
  resources: [serviceaccounts, services, configmaps, persistentvolumeclaims]
  verbs: [get, list, watch, create, patch, delete]
# Not listed and not watched: a Secret is read by its name, where the operator made it or a model names it.
- apiGroups: [""]
  resources: [secrets]
  verbs: [get, create, patch, delete]
- apiGroups: [""]
  resources: [events]
  verbs: [create]
- apiGroups: [apps]
  resources: [deployments]
  verbs: [get, list, watch, create, patch, delete]
# By which the autoscaler sets replicas.
- apiGroups: [apps]
  resources: [deployments/scale]
  verbs: [get, patch]
# Whether they are ready, and where their figures are.
- apiGroups: [""]
  resources: [pods]
  verbs: [get, list, watch]
# Where one of these scales a role, the operator leaves it to it.
- apiGroups: [autoscaling]
  resources: [horizontalpodautoscalers]
  verbs: [get, list, watch]
- apiGroups: [networking.k8s.io]
  resources: [networkpolicies, ingresses]
  verbs: [get, list, watch, create, patch, delete]
- apiGroups: [policy]
  resources: [poddisruptionbudgets]
  verbs: [get, list, watch, create, patch, delete]
- apiGroups: [route.openshift.io]
  resources: [routes]
  verbs: [get, list, watch, create, patch, delete]
# A Route with a host of its own choice, or a certificate of its own.
- apiGroups: [route.openshift.io]
  resources: [routes/custom-host]
  verbs: [create, update]
- apiGroups: [gateway.networking.k8s.io]
  resources: [httproutes]
  verbs: [get, list, watch, create, patch, delete]
- apiGroups: [monitoring.coreos.com]
  resources: [podmonitors, prometheusrules]
  verbs: [get, list, watch, create, patch, delete]
{{- end -}}

{{/* What it needs besides where it looks after all namespaces. */}}
{{- define "outrider.clusterRules" -}}
# kopf watches which namespaces and custom resources there are.
- apiGroups: [""]
  resources: [namespaces]
  verbs: [get, list, watch]
- apiGroups: [apiextensions.k8s.io]
  resources: [customresourcedefinitions]
  verbs: [get, list, watch]
{{- end -}}

{{/* Whom the rights are given to. */}}
{{- define "outrider.subject" -}}
- kind: ServiceAccount
  name: {{ include "outrider.fullname" . | quote }}
  namespace: {{ .Release.Namespace | quote }}
{{- end -}}
