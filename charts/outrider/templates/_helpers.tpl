{{/* Name of everything that is installed: outrider-operator for a release called outrider. A Service's has no dot and begins
with a letter, which Helm does not ask of a release. */}}
{{- define "outrider.fullname" -}}
{{- $release := .Release.Name | replace "." "-" | trimSuffix "-operator" -}}
{{- if regexMatch "^[0-9]" $release -}}
{{- $release = printf "outrider-%s" $release -}}
{{- end -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride -}}
{{- else if contains "outrider" $release -}}
{{- printf "%s-operator" (include "outrider.shortened" (list . $release 44)) -}}
{{- else -}}
{{- printf "%s-outrider-operator" (include "outrider.shortened" (list . $release 35)) -}}
{{- end -}}
{{- end -}}

{{/* A name of at most so many characters, of a list: the root, the name, how many. Of one that is cut the last are a hash of
the release's name: two that begin alike are not one. */}}
{{- define "outrider.shortened" -}}
{{- $release := (index . 0).Release.Name -}}
{{- $name := index . 1 -}}
{{- $most := index . 2 -}}
{{- if gt (len $name) $most -}}
{{- printf "%s-%s" ($name | trunc (int (sub $most 7)) | trimSuffix "-") ($release | sha256sum | trunc 6) -}}
{{- else -}}
{{- $name | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{/* Labels that find the operator's pods. By the name the NetworkPolicies of the models let them in. A Deployment's
selector cannot change: neither may these. */}}
{{- define "outrider.selectorLabels" -}}
app.kubernetes.io/name: outrider-operator
app.kubernetes.io/instance: {{ .Release.Name | quote }}
app.kubernetes.io/component: operator
{{- end -}}

{{/* Labels of the pod of `helm test`. The name, by which models let it in as they do the operator, but no instance: it is
none of the Deployment's pods. */}}
{{- define "outrider.testLabels" -}}
app.kubernetes.io/name: outrider-operator
app.kubernetes.io/component: test
{{- end -}}

{{/* Labels of everything that is installed. */}}
{{- define "outrider.labels" -}}
{{ include "outrider.selectorLabels" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/part-of: outrider
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- end -}}

{{/* Reference of an image, of a list: the root, the image's values, its name where they give none. A digest is enough:
not every runtime takes it beside a tag. */}}
{{- define "outrider.image" -}}
{{- $root := index . 0 -}}
{{- $image := index . 1 -}}
{{- $name := $image.repository | default (index . 2) -}}
{{- if $image.registry -}}
{{- $name = printf "%s/%s" (trimSuffix "/" $image.registry) $name -}}
{{- end -}}
{{- if $image.digest -}}
{{- printf "%s@%s" $name $image.digest -}}
{{- else -}}
{{- printf "%s:%s" $name ($image.tag | default $root.Chart.AppVersion) -}}
{{- end -}}
{{- end -}}

{{/* Image of the operator, which is that of the test too. */}}
{{- define "outrider.operatorImage" -}}
{{- include "outrider.image" (list . .Values.image "outrider-operator") -}}
{{- end -}}

{{/* "yes" or nothing, of a list: the root, a value (auto, true or false), the API whose presence decides for auto. */}}
{{- define "outrider.wanted" -}}
{{- $root := index . 0 -}}
{{- $value := index . 1 | toString -}}
{{- if eq $value "true" -}}
yes
{{- else if and (eq $value "auto") ($root.Capabilities.APIVersions.Has (index . 2)) -}}
yes
{{- end -}}
{{- end -}}

{{/* "yes" on OpenShift. */}}
{{- define "outrider.onOpenShift" -}}
{{- include "outrider.wanted" (list . .Values.openshift.enabled "route.openshift.io/v1") -}}
{{- end -}}

{{/* What Pod Security's restricted asks of a pod. No runAsUser and no fsGroup: OpenShift gives each namespace its own. */}}
{{- define "outrider.podSecurityContext" -}}
runAsNonRoot: true
seccompProfile:
  type: RuntimeDefault
{{- end -}}

{{/* What it asks of a container, and a root that cannot be written to. */}}
{{- define "outrider.securityContext" -}}
allowPrivilegeEscalation: false
capabilities:
  drop: [ALL]
readOnlyRootFilesystem: true
runAsNonRoot: true
seccompProfile:
  type: RuntimeDefault
{{- end -}}
