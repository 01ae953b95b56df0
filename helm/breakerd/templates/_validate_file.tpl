{{/* What a schema cannot say of breakerd.toml: names of services, and what config has that a value contradicts. */}}
{{- define "breakerd.validateFile" -}}
{{- range $service, $_ := .Values.circuitBreaker }}
{{- if not (regexMatch "^[A-Za-z0-9._:-]{1,128}$" $service) }}
{{- fail (printf "circuitBreaker: %q is no service: must have 1 to 128 letters, digits and . _ : -" $service) }}
{{- end }}
{{- end }}
{{- $tables := include "breakerd.configTables" . | fromYaml }}
{{- $grace := get $tables "shutdown_grace" | default "" }}
{{- range .Values.extraEnv }}{{ if and (eq .name "BREAKERD_SHUTDOWN_GRACE") .value }}{{ $grace = .value }}{{ end }}{{ end }}
{{- if $grace }}
{{- $milliseconds := regexMatch "^[0-9.]+$" $grace | ternary (mulf 1000 (float64 $grace)) (include "breakerd.milliseconds" $grace) | int }}
{{- if ge $milliseconds (mul 1000 .Values.terminationGracePeriodSeconds | int) }}
{{- fail (printf "terminationGracePeriodSeconds: %d is not more than shutdown_grace (%s): the pod would be killed first" (int .Values.terminationGracePeriodSeconds) $grace) }}
{{- end }}
{{- end }}
{{- if and (eq (get $tables "auth.health_needs_token" | default "") "true") (ne .Values.probes.protocol "http") (not .Values.tls.existingSecret) }}
{{- fail "probes.protocol: config sets auth.health_needs_token, and a gRPC probe has no token: set http" }}
{{- end }}
{{- $names := splitList "," (get $tables "notify.name" | default "") | compact }}
{{- if gt (add (len $names) (len (.Values.notify | default list))) 16 }}
{{- fail (printf "notify: %d targets and %d in config are more than 16" (len (.Values.notify | default list)) (len $names)) }}
{{- end }}
{{- range .Values.notify }}
{{- if has .name $names }}{{ fail (printf "notify: config has a target %s too" .name) }}{{ end }}
{{- end }}
{{- end }}
