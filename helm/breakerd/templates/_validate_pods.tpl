{{/* What a schema cannot say of the pods: what they run as, their volumes, their containers. */}}
{{- define "breakerd.validatePods" -}}
{{- $pod := .Values.podSecurityContext | default dict }}
{{- $container := .Values.securityContext | default dict }}
{{- $own := merge (dict) $container $pod }}
{{- if and $own.runAsNonRoot (hasKey $own "runAsUser") (eq (int64 $own.runAsUser) 0) }}
{{- fail (printf "%s.runAsUser: 0 is root, and runAsNonRoot is set" (hasKey $container "runAsUser" | ternary "securityContext" "podSecurityContext")) }}
{{- end }}
{{- $claimed := list }}
{{- range .Values.extraVolumes }}
{{- if has .name $claimed }}{{ fail (printf "extraVolumes: two are named %s" .name) }}{{ end }}
{{- $claimed = append $claimed .name }}
{{- end }}
{{- $ours := list "config" "data" "tmp" }}
{{- range $name := list "auth" "tls" "database" }}{{ if (get $.Values $name).existingSecret }}{{ $ours = append $ours $name }}{{ end }}{{ end }}
{{- if include "breakerd.tracingFile" (dict "root" . "secret" "headersSecret") }}{{ $ours = append $ours "tracing-headers" }}{{ end }}
{{- if include "breakerd.tracingFile" (dict "root" . "secret" "caSecret") }}{{ $ours = append $ours "tracing-ca" }}{{ end }}
{{- range .Values.notify }}{{ if .existingSecret }}{{ $ours = append $ours (printf "notify-%s" .name) }}{{ end }}{{ end }}
{{- $paths := list }}
{{- range .Values.extraVolumeMounts }}
{{- if not (has .name (concat $claimed $ours)) }}
{{- fail (printf "extraVolumeMounts: there is no volume %s in extraVolumes" .name) }}
{{- end }}
{{- if and (eq (.mountPropagation | default "") "Bidirectional") (not $container.privileged) }}
{{- fail (printf "extraVolumeMounts: mountPropagation=Bidirectional of %s needs securityContext.privileged" .name) }}
{{- end }}
{{- if has .mountPath $paths }}{{ fail (printf "extraVolumeMounts: two are at %s" .mountPath) }}{{ end }}
{{- $paths = append $paths .mountPath }}
{{- end }}
{{- $containers := list }}
{{- range concat (.Values.initContainers | default list) (.Values.sidecars | default list) }}
{{- if has .name $containers }}{{ fail (printf "initContainers, sidecars: two are named %s" .name) }}{{ end }}
{{- $containers = append $containers .name }}
{{- $name := .name }}
{{- range .volumeMounts }}
{{- if not (has .name (concat $claimed $ours)) }}
{{- fail (printf "initContainers, sidecars: %s mounts the volume %s, which is not in extraVolumes" $name .name) }}
{{- end }}
{{- end }}
{{- end }}
{{- $variables := list }}
{{- range .Values.extraEnv }}
{{- if has .name $variables }}{{ fail (printf "extraEnv: %s is there twice" .name) }}{{ end }}
{{- $variables = append $variables .name }}
{{- end }}
{{- end }}
