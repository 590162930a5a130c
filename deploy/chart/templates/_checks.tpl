{{/* What would not work, or would harm clients, is refused with a sentence. `helm template` sees no cluster: `lookup` finds nothing there. */}}
{{- define "clipserve.checks" }}
{{- $colors := include "clipserve.colors" . | fromYaml }}
{{- $served := include "clipserve.served" . }}
{{- if not (hasKey $colors $served) }}
{{- fail (printf "%q is to be served, and is none of the colors of these values: %s. Is your file of values missing (-f FILE, or --reset-then-reuse-values)?" $served (keys $colors | sortAlpha | join ", ")) }}
{{- end }}
{{- include "clipserve.checkEdge" . }}
{{- if and .Values.redis.external (not .Values.redis.enabled) }}
{{- fail "redis.external without redis.enabled does nothing: set redis.enabled too" }}
{{- end }}
{{- $claims := dict }}
{{- range $color, $own := $colors }}
{{- $v := mergeOverwrite (deepCopy $.Values) (deepCopy ($own | default dict)) }}
{{- $c := dict "root" $ "v" $v "color" $color "component" "gateway" }}
{{- include "clipserve.checkColor" $c }}
{{- if has (include "clipserve.modelFrom" $c) (list "volume" "job") }}
{{- $claim := include "clipserve.modelClaim" $c }}
{{- if and (hasKey $claims $claim) (not (or (has "ReadWriteMany" $v.modelVolume.accessModes) (has "ReadOnlyMany" $v.modelVolume.accessModes))) }}
{{- fail (printf "colors %s and %s share the claim %s, which only one node may mount (modelVolume.accessModes: %s): use ReadWriteMany, or a claim for each color" (get $claims $claim) $color $claim (join ", " $v.modelVolume.accessModes)) }}
{{- end }}
{{- $_ := set $claims $claim $color }}
{{- end }}
{{- end }}
{{- include "clipserve.checkSwitch" . }}
{{- end }}

{{- define "clipserve.checkEdge" }}
{{- $e := .Values.edge }}
{{- if and (has $e.type (list "ingress" "gateway")) (not $e.host) }}
{{- fail (printf "edge.type=%s without edge.host: name the host that clients ask" $e.type) }}
{{- end }}
{{- if and (eq $e.type "gateway") .Values.grpcTlsSecret }}
{{- fail "grpcTlsSecret and edge.type=gateway: the route of gRPC leads to ports without TLS. Leave out grpcTlsSecret: TLS ends at the Gateway" }}
{{- end }}
{{- if and (eq .Values.service.type "LoadBalancer") (not .Values.keys.secret) }}
{{- fail "service.type=LoadBalancer without keys.secret: whoever reaches the address could use the service" }}
{{- end }}
{{- if and (eq $e.type "loadBalancer") (not .Values.keys.secret) }}
{{- fail "edge.type=loadBalancer without keys.secret: whoever reaches the address could use the service" }}
{{- end }}
{{- end }}

{{- define "clipserve.checkColor" }}
{{- $g := .v.gateway }}
{{- $t := .v.triton }}
{{- $m := .v.modelVolume }}
{{- $monitoring := .root.Values.monitoring.enabled }}
{{- if and $g.autoscaling.enabled (eq $g.autoscaling.metric "queue") (not $monitoring) }}
{{- fail "gateway.autoscaling.metric=queue without monitoring.enabled: nothing would record the work that waits. Set monitoring.enabled, or metric: cpu" }}
{{- end }}
{{- if and $t.enabled $t.autoscaling.enabled (not $monitoring) }}
{{- fail "triton.autoscaling without monitoring.enabled: nothing would record the calls that wait. Set monitoring.enabled" }}
{{- end }}
{{- range $name, $p := dict "gateway" $g "triton" $t }}
{{- $least := include "clipserve.least" $p | int }}
{{- if and $p.autoscaling.enabled (gt $least (int $p.autoscaling.max)) }}
{{- fail (printf "%s.autoscaling: min (or replicas) is %d, and max %d: raise max" $name $least (int $p.autoscaling.max)) }}
{{- end }}
{{- end }}
{{- if and (has (toString $g.strategy.maxSurge) (list "0" "0%")) (has (toString $g.strategy.maxUnavailable) (list "0" "0%")) }}
{{- fail "gateway.strategy: maxSurge and maxUnavailable are both 0, so no pod could be replaced: set one of them to 1" }}
{{- end }}
{{- if and .v.modelImage.reference (semverCompare "<1.35.0-0" .root.Capabilities.KubeVersion.Version) }}
{{- fail (printf "modelImage needs Kubernetes 1.35, which mounts images, and the cluster has %s: use modelVolume" .root.Capabilities.KubeVersion.Version) }}
{{- end }}
{{- if and .v.modelImage.reference (or $m.path $m.fill) }}
{{- fail "modelImage.reference and modelVolume (path, fill): only one of them can be the model" }}
{{- end }}
{{- if and $m.fill (not $m.path) }}
{{- fail "modelVolume.fill without modelVolume.path: name the folder that you will copy" }}
{{- end }}
{{- if and (not $t.enabled) (or $t.tensorrt.enabled $t.autoscaling.enabled) }}
{{- fail "triton.tensorrt and triton.autoscaling do nothing without triton.enabled" }}
{{- end }}
{{- if and $t.repository $t.tensorrt.enabled }}
{{- fail "triton.repository and triton.tensorrt: a repository of your own has its plans already" }}
{{- end }}
{{- end }}

{{/* By the cluster: what an upgrade may do to the color that clients reach. */}}
{{- define "clipserve.checkSwitch" }}
{{- $release := include "clipserve.release" . }}
{{- $now := include "clipserve.servedNow" . }}
{{- $served := include "clipserve.served" . }}
{{- $colors := include "clipserve.colors" . | fromYaml }}
{{- if and $now (not .Values.force) }}
{{- if not (hasKey $colors $now) }}
{{- fail (printf "clients reach %s, which these values do not have: give your file of values (-f FILE, or --reset-then-reuse-values). A switch and the removal of the old color are two upgrades" $now) }}
{{- end }}
{{- $map := lookup "v1" "ConfigMap" .Release.Namespace (printf "%s-%s" $release $now) }}
{{- if and (dig "data" "CLIPSERVE_KEYS_FILE" "" $map) (not .Values.keys.secret) }}
{{- fail "requests need a key now, and would need none with these values (keys.secret): give your file of values (-f FILE), or set force=true" }}
{{- end }}
{{- $own := get $colors $now }}
{{- $c := dict "root" . "v" (mergeOverwrite (deepCopy .Values) (deepCopy ($own | default dict))) }}
{{- $before := dig "metadata" "annotations" "clipserve/model" "" (lookup "apps/v1" "Deployment" .Release.Namespace (printf "%s-%s" $release $now)) }}
{{- if and $before (ne $before (include "clipserve.model" $c)) }}
{{- fail (printf "%s serves clients %s, and would change to %s under the same name: add a color with the new model and switch to it, or set force=true" $now $before (include "clipserve.model" $c)) }}
{{- end }}
{{- if ne $now $served }}
{{- include "clipserve.checkTarget" (dict "root" . "now" $now "served" $served "release" $release "colors" $colors) }}
{{- end }}
{{- end }}
{{- end }}

{{/* A switch: nothing else changes with it, and the new color has as many ready pods as the old one. */}}
{{- define "clipserve.checkTarget" }}
{{- $space := .root.Release.Namespace }}
{{- $target := lookup "apps/v1" "Deployment" $space (printf "%s-%s" .release .served) }}
{{- $old := dig "status" "readyReplicas" 0 (lookup "apps/v1" "Deployment" $space (printf "%s-%s" .release .now)) | int }}
{{- $new := dig "status" "readyReplicas" 0 $target | int }}
{{- if lt $new (max 1 $old | int) }}
{{- fail (printf "ready pods: %d of %s and %d of %s, which is served: wait until %s has as many, and upgrade again; if it has fewer replicas, raise colors.%s.gateway.replicas (with an autoscaler autoscaling.min) first" $new .served $old .now .served .served) }}
{{- end }}
{{- $tritons := lookup "apps/v1" "Deployment" $space (printf "%s-triton-%s" .release .served) }}
{{- if and $tritons (lt (dig "status" "readyReplicas" 0 $tritons | int) (dig "spec" "replicas" 1 $tritons | int)) }}
{{- fail (printf "%d of %d Tritons of %s are ready: wait for them, and upgrade again" (dig "status" "readyReplicas" 0 $tritons | int) (dig "spec" "replicas" 1 $tritons | int) .served) }}
{{- end }}
{{- $c := dict "root" .root "v" (mergeOverwrite (deepCopy .root.Values) (deepCopy (get .colors .served | default dict))) }}
{{- $before := dig "metadata" "annotations" "clipserve/values" "" $target }}
{{- if and $before (ne $before (include "clipserve.valuesHash" $c)) }}
{{- fail (printf "this upgrade changes %s and switches to it: change it first, wait until it is ready, and switch by another upgrade" .served) }}
{{- end }}
{{- end }}

{{/* Of all values of a color; a switch changes none of them. */}}
{{- define "clipserve.valuesHash" -}}
{{ list .root.Chart.Version (omit .v "served" "colors" "force") | toJson | sha256sum | trunc 16 }}
{{- end }}
