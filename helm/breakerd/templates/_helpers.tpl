{{- define "breakerd.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" }}
{{- end }}

{{/* The release's name, with the chart's behind it unless it holds it already. 63 is DNS's limit; a StatefulSet puts a number and a
     hash behind the name of its pods, in a label of 63 bytes, and the headless service has a suffix. Names are written by toYaml: 123
     and true are names too. */}}
{{- define "breakerd.fullname" -}}
{{- if .Values.fullnameOverride }}
{{- .Values.fullnameOverride | trunc 52 | regexFind "^.*[^-]" }}
{{- else if contains (include "breakerd.name" .) .Release.Name }}
{{- .Release.Name | trunc 52 | regexFind "^.*[^-]" }}
{{- else }}
{{- printf "%s-%s" .Release.Name (include "breakerd.name" .) | trunc 52 | regexFind "^.*[^-]" }}
{{- end }}
{{- end }}

{{- define "breakerd.headlessName" -}}
{{ include "breakerd.fullname" . }}-headless
{{- end }}

{{- define "breakerd.selectorLabels" -}}
app.kubernetes.io/name: {{ include "breakerd.name" . | toYaml }}
app.kubernetes.io/instance: {{ .Release.Name | toYaml }}
{{- end }}

{{- define "breakerd.labels" -}}
{{ include "breakerd.selectorLabels" . }}
app.kubernetes.io/version: {{ .Values.image.tag | default .Chart.AppVersion | trunc 63 | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" | trunc 63 | trimSuffix "-" }}
{{- with .Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{/* The labels of pods: none that changes with a version, which would restart them. */}}
{{- define "breakerd.podLabels" -}}
{{ include "breakerd.selectorLabels" . }}
{{- with merge (dict) (.Values.podLabels | default dict) (.Values.commonLabels | default dict) }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{/* The metadata of a resource: dict "root" $ "name" its name "labels" "annotations" more of them. */}}
{{- define "breakerd.metadata" -}}
name: {{ .name | toYaml }}
namespace: {{ .root.Release.Namespace | toYaml }}
labels:
  {{- include "breakerd.labels" .root | nindent 2 }}
  {{- with .labels }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- with merge (dict) (.annotations | default dict) (.root.Values.commonAnnotations | default dict) }}
annotations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{- define "breakerd.serviceAccountName" -}}
{{- if .Values.serviceAccount.create }}
{{- default (include "breakerd.fullname" .) .Values.serviceAccount.name }}
{{- else }}
{{- default "default" .Values.serviceAccount.name }}
{{- end }}
{{- end }}

{{/* "true" when breakerd keeps its state in a Postgres; nothing on SQLite. */}}
{{- define "breakerd.onPostgres" -}}
{{- with .Values.database }}{{ if or .existingSecret .url .host }}true{{ end }}{{ end }}
{{- end }}

{{/* "true" when there may be more pods than one. */}}
{{- define "breakerd.hasSeveralPods" -}}
{{- if and (include "breakerd.onPostgres" .) (or .Values.autoscaling.enabled (gt (int .Values.replicaCount) 1)) }}true{{ end }}
{{- end }}

{{- define "breakerd.hasHeadlessService" -}}
{{- if or .Values.headlessService.enabled (include "breakerd.onPostgres" .) }}true{{ end }}
{{- end }}

{{/* What the pages and the probes speak. */}}
{{- define "breakerd.httpScheme" -}}
{{- if and .Values.tls.existingSecret .Values.tls.http }}https{{ else }}http{{ end }}
{{- end }}

{{- define "breakerd.claimName" -}}
{{- default (include "breakerd.fullname" .) .Values.persistence.existingClaim }}
{{- end }}

{{/* Of the claim of a volume. */}}
{{- define "breakerd.claimSpec" -}}
accessModes:
  {{- toYaml .Values.persistence.accessModes | nindent 2 }}
{{- with .Values.persistence.storageClass }}
storageClassName: {{ . | quote }}
{{- end }}
resources:
  requests:
    storage: {{ .Values.persistence.size }}
{{- end }}

{{- define "breakerd.image" -}}
{{- with .Values.image -}}
{{ .repository }}{{ if .digest }}@{{ .digest }}{{ else }}:{{ .tag | default $.Chart.AppVersion }}{{ end }}
{{- end }}
{{- end }}

{{/* The URL of a database that is given in parts. User and password come from the environment, where no character needs an escape. */}}
{{- define "breakerd.databaseUrl" -}}
{{- with .Values.database -}}
{{- if .url }}{{ .url }}
{{- else -}}
{{- $hosts := list }}
{{- range splitList "," .host }}
{{- $host := trim . }}
{{- /* An IPv6 address has colons of its own. */}}
{{- if and (contains ":" $host) (not (hasPrefix "[" $host)) (gt (len (splitList ":" $host)) 2) }}{{ $host = printf "[%s]" $host }}{{ end }}
{{- if not (regexMatch "(^[^:\\[]+|\\]):[0-9]+$" $host) }}{{ $host = printf "%s:%d" $host (int $.Values.database.port) }}{{ end }}
{{- $hosts = append $hosts $host }}
{{- end -}}
postgres://{{ join "," $hosts }}/{{ .name | urlquery | replace "+" "%20" }}?sslmode={{ .sslMode }}{{ with .sslRootCert }}&sslrootcert={{ . | urlquery }}{{ end }}
{{- end }}
{{- end }}
{{- end }}

{{/* What of the file needs a restart to take effect. */}}
{{- define "breakerd.configChecksum" -}}
{{ printf "%s%s" .Values.config (.Values.notify | empty | ternary "" (toJson .Values.notify)) | sha256sum }}
{{- end }}

{{/* breakerd.toml. JSON of a number, a text, a boolean and a list of texts is TOML too. */}}
{{- define "breakerd.toml" -}}
{{- $defaults := dict }}
{{- $services := dict }}
{{- range $key, $value := .Values.circuitBreaker }}
{{- if kindIs "map" $value }}{{ $_ := set $services $key $value }}{{ else if not (kindIs "invalid" $value) }}{{ $_ := set $defaults $key $value }}{{ end }}
{{- end }}
{{- with .Values.config }}{{ . | trimSuffix "\n" }}{{ "\n" }}{{ end }}
{{- range $target := .Values.notify }}
{{- "\n[[notify]]\n" }}
{{- range $key, $name := dict "name" "name" "url" "url" "format" "format" "services" "services" "names" "names" "states" "states" "reopened" "reopened" "timeout" "timeout" "giveUpAfter" "give_up_after" "queueMax" "queue_max" }}
{{- if hasKey $target $key }}{{ $name }} = {{ get $target $key | toJson }}{{ "\n" }}{{ end }}
{{- end }}
{{- range $key, $name := dict "urlKey" "url_file" "secretKey" "secret_file" "caKey" "ca_file" }}
{{- with get $target $key }}{{ $name }} = {{ printf "/etc/breakerd-notify/%s/%s" $target.name . | toJson }}{{ "\n" }}{{ end }}
{{- end }}
{{- end }}
{{- if .Values.circuitBreaker }}
{{- "\n[circuit_breaker]\n" }}
{{- range $key, $value := $defaults }}{{ $key | toJson }} = {{ toJson $value }}{{ "\n" }}{{ end }}
{{- range $service, $fields := $services }}
{{- printf "\n[circuit_breaker.%s]\n" (toJson $service) }}
{{- range $key, $value := $fields }}{{ if not (kindIs "invalid" $value) }}{{ $key | toJson }} = {{ toJson $value }}{{ "\n" }}{{ end }}{{ end }}
{{- end }}
{{- end }}
{{- end }}

{{/* The number that a quantity of Kubernetes stands for: 500m, 1.5Gi. */}}
{{- define "breakerd.amount" -}}
{{- if not (kindIs "string" .) }}{{ float64 . }}
{{- else }}
{{- $number := regexFind "^[0-9.]+" . }}
{{- $units := dict "" 1 "m" 0.001 "k" 1e3 "M" 1e6 "G" 1e9 "T" 1e12 "P" 1e15 "E" 1e18 }}
{{- $units = merge $units (dict "Ki" 1024 "Mi" 1048576 "Gi" 1073741824 "Ti" 1099511627776 "Pi" 1125899906842624 "Ei" 1152921504606846976) }}
{{- mulf (float64 $number) (get $units (trimPrefix $number .) | float64) }}
{{- end }}
{{- end }}

{{/* Milliseconds of a duration of Prometheus. */}}
{{- define "breakerd.milliseconds" -}}
{{- $sum := 0 }}
{{- range regexFindAll "[0-9]+(ms|s|m|h)" . -1 }}
{{- $number := regexFind "^[0-9]+" . | int }}
{{- $unit := trimPrefix (toString $number) . }}
{{- $sum = add $sum (mul $number (get (dict "ms" 1 "s" 1000 "m" 60000 "h" 3600000) $unit)) }}
{{- end }}
{{- $sum }}
{{- end }}

{{/* The endpoint of a ServiceMonitor or PodMonitor: dict "root" $ "monitor" its values "name" of it. */}}
{{- define "breakerd.scrapeEndpoint" -}}
{{- $root := .root -}}
- port: http
  path: /metrics
  scheme: {{ include "breakerd.httpScheme" $root }}
  {{- with .monitor }}
  {{- if .authorization }}
  authorization:
    {{- toYaml .authorization | nindent 4 }}
  {{- else if .tokenSecret }}
  authorization:
    type: Bearer
    credentials:
      {{- toYaml .tokenSecret | nindent 6 }}
  {{- end }}
  {{- if .tlsConfig }}
  tlsConfig:
    {{- toYaml .tlsConfig | nindent 4 }}
  {{- else if eq (include "breakerd.httpScheme" $root) "https" }}
  tlsConfig:
    ca:
      secret:
        name: {{ $root.Values.tls.existingSecret | toYaml }}
        key: ca.crt
    serverName: {{ include "breakerd.fullname" $root }}.{{ $root.Release.Namespace }}.svc
  {{- end }}
  interval: {{ .interval }}
  scrapeTimeout: {{ .scrapeTimeout }}
  # The metrics have a label `service` of their own, the breaker's; Prometheus must not rename it.
  honorLabels: true
  {{- with .relabelings }}
  relabelings:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with .metricRelabelings }}
  metricRelabelings:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- end }}
{{- end }}
