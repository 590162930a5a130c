{{/* Names and parts of all objects. $c: {root: the chart's values and release, v: the values of a color, color, component}. */}}

{{- define "clipserve.app" -}}
{{ .Values.nameOverride | default .Chart.Name | trunc 63 | trimSuffix "-" }}
{{- end }}

{{/* The name of everything, as Helm's scaffold makes it. 32 characters leave room for a component, a color and a hash; longer names end
in a hash, so that two stay two. */}}
{{- define "clipserve.release" -}}
{{- $name := .Values.fullnameOverride | default (ternary .Release.Name (printf "%s-%s" .Release.Name (include "clipserve.app" .)) (contains (include "clipserve.app" .) .Release.Name)) }}
{{- if gt (len $name) 32 }}{{ $name | trunc 23 | trimSuffix "-" }}-{{ $name | sha256sum | trunc 8 }}{{ else }}{{ $name }}{{ end }}
{{- end }}

{{/* Of an object of a component and a color: RELEASE[-COMPONENT][-COLOR]. */}}
{{- define "clipserve.name" -}}
{{- include "clipserve.release" .root }}
{{- if ne .component "gateway" }}-{{ .component }}{{ end }}
{{- with .color }}-{{ . }}{{ end }}
{{- end }}

{{- define "clipserve.selector" -}}
app.kubernetes.io/name: {{ include "clipserve.app" .root | quote }}
app.kubernetes.io/instance: {{ .root.Release.Name | quote }}
app.kubernetes.io/component: {{ .component }}
{{- with .color }}
clipserve/color: {{ . | quote }}
{{- end }}
{{- end }}

{{- define "clipserve.labels" -}}
{{ include "clipserve.selector" . }}
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
helm.sh/chart: {{ .root.Chart.Name }}-{{ .root.Chart.Version }}
{{- with .root.Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{- define "clipserve.image" -}}
{{- $image := .v.image -}}
{{- if $image.digest }}{{ $image.repository }}@{{ $image.digest }}{{ else }}{{ $image.repository }}:{{ $image.tag | default .root.Chart.AppVersion }}{{ end }}
{{- end }}

{{/* A number of YAML is a float here: 256000000 would become 2.56e+08. */}}
{{- define "clipserve.text" -}}
{{- if and (kindIs "float64" .) (eq (float64 (int64 .)) .) }}{{ int64 . }}{{ else }}{{ . }}{{ end }}
{{- end }}

{{/* Where the artifact comes from: demo, image, volume (it is there) or job (it is built on the volume). */}}
{{- define "clipserve.modelFrom" -}}
{{- if .v.modelImage.reference }}image
{{- else if .v.modelVolume.path }}volume
{{- else if eq .v.model "demo" }}demo
{{- else }}job
{{- end }}
{{- end }}

{{- define "clipserve.modelPath" -}}
{{- $from := include "clipserve.modelFrom" . -}}
{{- if eq $from "demo" }}/app/demo
{{- else if eq $from "image" }}/models
{{- else if eq $from "volume" }}/models/{{ .v.modelVolume.path | trimPrefix "/" }}
{{- else }}/models/{{ regexReplaceAll "[^A-Za-z0-9._-]+" .v.model "-" }}
{{- end }}
{{- end }}

{{- define "clipserve.modelMount" -}}
{{- if ne (include "clipserve.modelFrom" .) "demo" }}
- {name: models, mountPath: /models, readOnly: true}
{{- end }}
{{- end }}

{{- define "clipserve.modelVolume" -}}
{{- $from := include "clipserve.modelFrom" . -}}
{{- if eq $from "image" }}
- name: models
  image: {{- toYaml .v.modelImage | nindent 4 }}
{{- else if ne $from "demo" }}
- name: models
  persistentVolumeClaim: {claimName: {{ include "clipserve.modelClaim" . }}, readOnly: true}
{{- end }}
{{- end }}

{{- define "clipserve.modelClaim" -}}
{{ .v.modelVolume.claim | default (printf "%s-models" (include "clipserve.release" .root)) }}
{{- end }}

{{/* Waits for who builds the model, or copies it there. */}}
{{- define "clipserve.waitForModel" -}}
{{- if or .v.modelVolume.fill (eq (include "clipserve.modelFrom" .) "job") }}
- name: wait-for-model
  image: {{ include "clipserve.image" . }}
  imagePullPolicy: {{ .v.image.pullPolicy }}
  command: [sh, -ec, "until [ -e '{{ include "clipserve.modelPath" . }}/model.json' ]; do echo 'waiting for {{ include "clipserve.modelPath" . }}/model.json'; sleep 2; done"]
  resources: {requests: {cpu: 50m, memory: 64Mi}, limits: {memory: 64Mi}}
  securityContext: {{- include "clipserve.hardened" . | nindent 4 }}
  volumeMounts: {{- include "clipserve.modelMount" . | nindent 4 }}
{{- end }}
{{- end }}

{{- define "clipserve.hardened" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities: {drop: [ALL]}
{{- end }}

{{/* What every pod has. enableServiceLinks: Kubernetes would set variables with the prefix of the settings. */}}
{{- define "clipserve.pod" -}}
{{- $account := .root.Values.serviceAccount }}
serviceAccountName: {{ $account.name | default (ternary (include "clipserve.release" .root) "default" $account.create) }}
automountServiceAccountToken: false
enableServiceLinks: false
securityContext:
  runAsNonRoot: true
  seccompProfile: {type: RuntimeDefault}
  {{- with .root.Values.podSecurityContext }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- with .root.Values.imagePullSecrets }}
imagePullSecrets: {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{/* Where pods go. $p: the values of the gateway or of Triton. */}}
{{- define "clipserve.placement" -}}
{{- with .p.topologySpreadConstraints }}
topologySpreadConstraints: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .p.nodeSelector }}
nodeSelector: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .p.tolerations }}
tolerations: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .p.affinity }}
affinity: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .p.runtimeClassName }}
runtimeClassName: {{ . }}
{{- end }}
{{- with .p.priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
{{- end }}

{{/* Each ReplicaSet for itself: during an update pods of the old one would count, and leave the new ones uneven. */}}
{{- define "clipserve.spread" -}}
{{- if not .p.topologySpreadConstraints }}
topologySpreadConstraints:
  {{- range list "kubernetes.io/hostname" "topology.kubernetes.io/zone" }}
  - maxSkew: 1
    topologyKey: {{ . }}
    whenUnsatisfiable: ScheduleAnyway
    labelSelector:
      matchLabels: {{- include "clipserve.selector" $ | nindent 8 }}
    matchLabelKeys: [pod-template-hash]
  {{- end }}
{{- end }}
{{- end }}

{{/* `replicas`, but not where an autoscaler rules. There, the present number: without the field Kubernetes would take 1 when it goes.
$p: the values of the gateway or of Triton. */}}
{{- define "clipserve.replicas" -}}
{{- if not .p.autoscaling.enabled }}
replicas: {{ .p.replicas }}
{{- else }}
{{- with dig "spec" "replicas" 0 (lookup "apps/v1" "Deployment" .root.Release.Namespace (include "clipserve.name" .)) | int }}
replicas: {{ . }}
{{- end }}
{{- end }}
{{- end }}

{{/* The least number of an autoscaler. Of the values of the gateway or of Triton. */}}
{{- define "clipserve.least" -}}
{{ .autoscaling.min | default .replicas | int | max 1 }}
{{- end }}

{{/* The color that clients reach now, by the cluster; "" at the first installation and in `helm template`. */}}
{{- define "clipserve.servedNow" -}}
{{ dig "spec" "selector" "clipserve/color" "" (lookup "v1" "Service" .Release.Namespace (include "clipserve.release" .)) }}
{{- end }}

{{/* The color that clients shall reach. */}}
{{- define "clipserve.served" -}}
{{- $colors := keys (include "clipserve.colors" . | fromYaml) | sortAlpha }}
{{- .Values.served | default (include "clipserve.servedNow" .) | default (first $colors) }}
{{- end }}

{{/* What a color serves: a change of it is another model. */}}
{{- define "clipserve.model" -}}
{{ .v.modelImage.reference | default (.v.modelVolume.path | default .v.model) }}
{{- end }}

{{/* The seconds that a request may take: its body (15, more with a larger one), CLIPSERVE_DEADLINE_SECONDS, and a margin, so that the
service itself answers with a reason. Of a color's settings. */}}
{{- define "clipserve.requestSeconds" -}}
{{- $deadline := get . "CLIPSERVE_DEADLINE_SECONDS" | default 10 | float64 }}
{{- $body := mulf 15 (maxf 1 (divf (get . "CLIPSERVE_MAX_BODY_BYTES" | default 20000000 | float64) 20000000)) }}
{{- addf $deadline $body 5 | ceil | int }}
{{- end }}

{{/* A disruption budget for the pods of a component and a color. */}}
{{- define "clipserve.disruptions" -}}
apiVersion: policy/v1
kind: PodDisruptionBudget
metadata:
  name: {{ include "clipserve.name" . }}
  namespace: {{ .root.Release.Namespace }}
  labels: {{- include "clipserve.labels" . | nindent 4 }}
spec:
  maxUnavailable: {{ .p.maxUnavailablePods }}
  unhealthyPodEvictionPolicy: AlwaysAllow
  selector:
    matchLabels: {{- include "clipserve.selector" . | nindent 6 }}
{{- end }}

{{/* The resources of a container that computes on a GPU. $r: its resources, $gpu: the resource of a GPU, or "". */}}
{{- define "clipserve.gpuResources" -}}
{{- $gpu := dict }}
{{- with .gpu }}{{- $_ := set $gpu . "1" }}{{- end }}
requests: {{- toYaml (mergeOverwrite (deepCopy $gpu) .r.requests) | nindent 2 }}
limits: {{- toYaml (mergeOverwrite (deepCopy $gpu) .r.limits) | nindent 2 }}
{{- end }}

{{- /* The colors that are there: null takes one away, and without any there is blue. */}}
{{- define "clipserve.colors" }}
{{- $colors := dict }}
{{- range $color, $own := .Values.colors }}
{{- if not (kindIs "invalid" $own) }}{{- $_ := set $colors $color $own }}{{- end }}
{{- end }}
{{- toYaml ($colors | default (dict "blue" dict)) }}
{{- end }}
