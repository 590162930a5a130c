{{- /* Below `.node`: names of what it refers to, images, and the color wherever pods are labelled or selected. */ -}}
{{- define "clipserve.finish" -}}
{{- if kindIs "slice" .node -}}
  {{- range .node -}}
    {{- include "clipserve.finish" (merge (dict "node" .) (omit $ "node")) -}}
  {{- end -}}
{{- else if kindIs "map" .node -}}
  {{- if and .color (hasKey .node "app.kubernetes.io/name") -}}
    {{- $_ := set .node "clipserve/color" .color -}}
  {{- end -}}
  {{- $kinds := dict "configMapRef" "ConfigMap" "configMapKeyRef" "ConfigMap" "persistentVolumeClaim" "PersistentVolumeClaim" -}}
  {{- range $field, $value := .node -}}
    {{- if or (hasKey $kinds $field) (eq $field "scaleTargetRef") -}}
      {{- $kind := get $kinds $field | default $value.kind -}}
      {{- $which := ternary "claimName" "name" (hasKey $value "claimName") -}}
      {{- $_ := set $value $which (get $.names (printf "%s/%s" $kind (get $value $which)) | default (get $value $which)) -}}
    {{- else if and (has $field (list "image" "reference")) (kindIs "string" $value) -}}
      {{- $image := splitn ":" 2 $value -}}
      {{- $wanted := get $.images $image._0 | default $image._0 -}}
      {{- $_ := set $.node $field (ternary $wanted (printf "%s:%s" $wanted $image._1) (contains ":" (base $wanted))) -}}
    {{- else -}}
      {{- include "clipserve.finish" (merge (dict "node" $value) (omit $ "node")) -}}
    {{- end -}}
  {{- end -}}
{{- end -}}
{{- end -}}
