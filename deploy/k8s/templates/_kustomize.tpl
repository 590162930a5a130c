{{- /*
What the kustomizations of this folder use of kustomize, so that both make the same objects of the same files. Objects are maps,
which `set` changes in place; these templates print nothing. `.all.made` is the list of objects, `.all.fixed` has the ConfigMaps
without a hash. Not read: `transformers`, `configurations`, and `replacements` of parts of a text; objects.yaml does their work.
*/ -}}

{{- /* Adds what `.folder` of `.files` makes, and patches: a component all that there is, a kustomization its own. */ -}}
{{- define "kustomize.add" -}}
{{- $read := .files.Get (printf "%s/kustomization.yaml" .folder) | fromYaml -}}
{{- $scope := .all -}}
{{- if ne $read.kind "Component" -}}
  {{- $scope = dict "made" list "fixed" .all.fixed -}}
{{- end -}}
{{- range concat ($read.resources | default list) ($read.components | default list) -}}
  {{- $path := clean (printf "%s/%s" $.folder .) -}}
  {{- if hasSuffix ".yaml" . -}}
    {{- range regexSplit "(?m)^---$" ($.files.Get $path) -1 -}}
      {{- $_ := set $scope "made" (append $scope.made (fromYaml .)) -}}
    {{- end -}}
  {{- else -}}
    {{- include "kustomize.add" (dict "files" $.files "folder" $path "all" $scope) -}}
  {{- end -}}
{{- end -}}
{{- range $read.configMapGenerator -}}
  {{- $name := .name -}}
  {{- $data := dict -}}
  {{- range .literals -}}
    {{- $pair := splitn "=" 2 . -}}
    {{- $_ := set $data $pair._0 $pair._1 -}}
  {{- end -}}
  {{- range .files -}}
    {{- $_ := set $data (base .) ($.files.Get (printf "%s/%s" $.folder .)) -}}
  {{- end -}}
  {{- if eq (.behavior | default "create") "merge" -}}
    {{- include "kustomize.patch" (dict "all" $scope "target" (dict "kind" "ConfigMap" "name" $name) "patch" (dict "data" $data)) -}}
  {{- else -}}
    {{- $metadata := dict "name" $name "labels" (dig "options" "labels" dict .) -}}
    {{- $made := dict "apiVersion" "v1" "kind" "ConfigMap" "metadata" $metadata "data" $data -}}
    {{- $_ := set $scope "made" (append $scope.made $made) -}}
    {{- $_ := set $.all.fixed $name (dig "options" "disableNameSuffixHash" false .) -}}
  {{- end -}}
{{- end -}}
{{- range $read.patches -}}
  {{- $patch := .patch | default "" -}}
  {{- if .path -}}
    {{- $patch = $.files.Get (printf "%s/%s" $.folder .path) -}}
  {{- end -}}
  {{- include "kustomize.patch" (dict "all" $scope "target" .target "patch" $patch "who" (base $.folder)) -}}
{{- end -}}
{{- range $read.replacements -}}
  {{- include "kustomize.replacement" (dict "all" $scope "replacement" .) -}}
{{- end -}}
{{- range $read.labels -}}
  {{- $pairs := .pairs -}}
  {{- range $scope.made -}}
    {{- $_ := set .metadata "labels" (merge dict $pairs (.metadata.labels | default dict)) -}}
  {{- end -}}
{{- end -}}
{{- range $image := $read.images -}}
  {{- range $scope.made -}}
    {{- $pod := dig "spec" "template" "spec" dict . -}}
    {{- range concat ($pod.initContainers | default list) ($pod.containers | default list) -}}
      {{- if eq (splitList ":" .image | first) $image.name -}}
        {{- $_ := set . "image" (printf "%s:%s" $image.name $image.newTag) -}}
      {{- end -}}
    {{- end -}}
  {{- end -}}
{{- end -}}
{{- if ne $read.kind "Component" -}}
  {{- $_ := set .all "made" (concat .all.made $scope.made) -}}
{{- end -}}
{{- end -}}

{{- /* Whether labels or annotations have NAME, or NAME=VALUE. */ -}}
{{- define "kustomize.selects" -}}
{{- $wanted := splitn "=" 2 .selector -}}
{{- if or (not .selector) (and (hasKey (.pairs | default dict) $wanted._0) (or (not (contains "=" .selector)) (eq (get .pairs $wanted._0) $wanted._1))) -}}yes{{- end -}}
{{- end -}}

{{- /* Changes what `.target` selects by `.patch`, text or YAML: operations of RFC 6902, or fields to merge, which name their object. */ -}}
{{- define "kustomize.patch" -}}
{{- $patch := .patch -}}
{{- if kindIs "string" $patch -}}
  {{- $patch = get (fromYaml (printf "it:\n%s" ($patch | trim | nindent 2))) "it" -}}
{{- end -}}
{{- $target := .target | default dict -}}
{{- if and (kindIs "map" $patch) (not .target) -}}
  {{- $target = dict "kind" $patch.kind "name" $patch.metadata.name -}}
{{- else if not .target -}}
  {{- fail (printf "%s: operations need a target" .who) -}}
{{- end -}}
{{- $kept := list -}}
{{- $found := false -}}
{{- range $object := .all.made -}}
  {{- $named := and (regexMatch (printf "^(%s)$" ($target.kind | default ".*")) .kind) (regexMatch (printf "^(%s)$" ($target.name | default ".*")) .metadata.name) -}}
  {{- $labelled := include "kustomize.selects" (dict "selector" ($target.labelSelector | default "") "pairs" .metadata.labels) -}}
  {{- $annotated := include "kustomize.selects" (dict "selector" ($target.annotationSelector | default "") "pairs" .metadata.annotations) -}}
  {{- $selected := and $named $labelled $annotated -}}
  {{- $delete := false -}}
  {{- if $selected -}}
    {{- $found = true -}}
    {{- if kindIs "map" $patch -}}
      {{- $delete = eq (get $patch "$patch") "delete" -}}
      {{- include "kustomize.merge" (dict "into" $object "from" (omit (deepCopy $patch) "apiVersion" "kind" "$patch")) -}}
    {{- else -}}
      {{- range $patch -}}
        {{- include "kustomize.operation" (dict "object" $object "operation" . "who" $.who) -}}
      {{- end -}}
    {{- end -}}
  {{- end -}}
  {{- if not $delete -}}
    {{- $kept = append $kept $object -}}
  {{- end -}}
{{- end -}}
{{- $_ := set .all "made" $kept -}}
{{- if and .needed (not $found) -}}
  {{- fail (printf "%s: no object of this release is %s" .who (toJson $target)) -}}
{{- end -}}
{{- end -}}

{{- /* Lists of maps are merged by name, mounts by their path and ports by their number; null removes a field. */ -}}
{{- define "kustomize.merge" -}}
{{- range $key, $new := .from -}}
  {{- $old := get $.into $key -}}
  {{- if kindIs "invalid" $new -}}
    {{- $_ := unset $.into $key -}}
  {{- else if and (kindIs "map" $new) (kindIs "map" $old) -}}
    {{- include "kustomize.merge" (dict "into" $old "from" $new) -}}
  {{- else if and (kindIs "slice" $new) (kindIs "slice" $old) (kindIs "map" (first $new)) -}}
    {{- $added := list -}}
    {{- range $item := $new -}}
      {{- $id := coalesce .mountPath .containerPort .name -}}
      {{- $known := false -}}
      {{- range $old -}}
        {{- if eq (coalesce .mountPath .containerPort .name) $id -}}
          {{- $known = true -}}
          {{- include "kustomize.merge" (dict "into" . "from" $item) -}}
        {{- end -}}
      {{- end -}}
      {{- if not $known -}}
        {{- $added = append $added $item -}}
      {{- end -}}
    {{- end -}}
    {{- $_ := set $.into $key (concat $old $added) -}}
  {{- else -}}
    {{- $_ := set $.into $key $new -}}
  {{- end -}}
{{- end -}}
{{- end -}}

{{- /* `.steps` of a path, below `.at`: the map or list of the last one becomes `.found.at`, that before it `.found.holder`, a map whose
`.found.key` it is. Maps that are missing are made. */ -}}
{{- define "kustomize.find" -}}
{{- $at := .at -}}
{{- range initial .steps -}}
  {{- if kindIs "slice" $at -}}
    {{- $item := dict -}}
    {{- $step := . -}}
    {{- range $number, $value := $at -}}
      {{- if or (eq (toString $number) $step) (and (kindIs "map" $value) (eq (printf "[name=%s]" (toString $value.name)) $step)) -}}
        {{- $item = $value -}}
      {{- end -}}
    {{- end -}}
    {{- $at = $item -}}
  {{- else -}}
    {{- if not (hasKey $at .) -}}
      {{- $_ := set $at . dict -}}
    {{- end -}}
    {{- $_ := set $.found "holder" $at -}}
    {{- $_ := set $.found "key" . -}}
    {{- $at = get $at . -}}
  {{- end -}}
{{- end -}}
{{- $_ := set .found "at" $at -}}
{{- end -}}

{{- /* Puts `.value` at the last of `.steps` below `.at`: for a list a number, a name, or `-` for one more. */ -}}
{{- define "kustomize.set" -}}
{{- $found := dict -}}
{{- include "kustomize.find" (dict "at" .at "steps" .steps "found" $found) -}}
{{- $last := last .steps -}}
{{- if kindIs "map" $found.at -}}
  {{- $_ := set $found.at $last .value -}}
{{- else -}}
  {{- $changed := list -}}
  {{- range $number, $item := $found.at -}}
    {{- $here := or (eq (toString $number) $last) (and (kindIs "map" $item) (eq (printf "[name=%s]" (toString $item.name)) $last)) -}}
    {{- $changed = append $changed (ternary $.value $item $here) -}}
  {{- end -}}
  {{- if eq $last "-" -}}
    {{- $changed = append $changed .value -}}
  {{- end -}}
  {{- $_ := set $found.holder $found.key $changed -}}
{{- end -}}
{{- end -}}

{{- /* One of RFC 6902; `replace` needs no value before it. */ -}}
{{- define "kustomize.operation" -}}
{{- $where := printf "%s: %s/%s: %s %s" .who .object.kind .object.metadata.name .operation.op .operation.path -}}
{{- $paths := list -}}
{{- range list .operation.path (.operation.from | default .operation.path) -}}
  {{- $steps := list -}}
  {{- range splitList "/" (trimPrefix "/" .) -}}
    {{- $steps = append $steps (. | replace "~1" "/" | replace "~0" "~") -}}
  {{- end -}}
  {{- $paths = append $paths $steps -}}
{{- end -}}
{{- $value := get (deepCopy .operation) "value" -}}
{{- if has .operation.op (list "move" "remove" "test") -}}
  {{- $found := dict -}}
  {{- include "kustomize.find" (dict "at" .object "steps" (last $paths) "found" $found) -}}
  {{- $key := last (last $paths) -}}
  {{- if eq .operation.op "test" -}}
    {{- if ne (get $found.at $key | toJson) (toJson $value) -}}
      {{- fail (printf "%s failed" $where) -}}
    {{- end -}}
  {{- else if not (hasKey $found.at $key) -}}
    {{- fail (printf "%s: it is not there" $where) -}}
  {{- else -}}
    {{- $value = get $found.at $key -}}
    {{- $_ := unset $found.at $key -}}
  {{- end -}}
{{- else if not (has .operation.op (list "add" "replace")) -}}
  {{- fail (printf "%s: the operations are test, move, remove, add and replace" $where) -}}
{{- end -}}
{{- if has .operation.op (list "add" "move" "replace") -}}
  {{- include "kustomize.set" (dict "at" .object "steps" (first $paths) "value" $value) -}}
{{- end -}}
{{- end -}}

{{- /* Copies a field of one object, if it is there, to those of others. */ -}}
{{- define "kustomize.replacement" -}}
{{- $from := .replacement.source -}}
{{- range $source := .all.made -}}
  {{- if and (eq .kind $from.kind) (eq .metadata.name $from.name) -}}
    {{- $found := dict -}}
    {{- include "kustomize.find" (dict "at" $source "steps" (append (splitList "." $from.fieldPath) "-") "found" $found) -}}
    {{- range $target := $.replacement.targets -}}
      {{- range $object := $.all.made -}}
        {{- if and (not $target.options) (eq .kind $target.select.kind) (eq .metadata.name $target.select.name) -}}
          {{- range $target.fieldPaths -}}
            {{- include "kustomize.set" (dict "at" $object "steps" (splitList "." .) "value" (deepCopy $found.at)) -}}
          {{- end -}}
        {{- end -}}
      {{- end -}}
    {{- end -}}
  {{- end -}}
{{- end -}}
{{- end -}}
