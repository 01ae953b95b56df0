{{- define "breakerd.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" }}
{{- end }}

{{/* The release's name, with the chart's behind it unless it holds it already; 63 is DNS's limit. */}}
{{- define "breakerd.fullname" -}}
{{- if .Values.fullnameOverride }}
{{- .Values.fullnameOverride | trunc 63 | trimSuffix "-" }}
{{- else if contains (include "breakerd.name" .) .Release.Name }}
{{- .Release.Name | trunc 63 | trimSuffix "-" }}
{{- else }}
{{- printf "%s-%s" .Release.Name (include "breakerd.name" .) | trunc 63 | trimSuffix "-" }}
{{- end }}
{{- end }}

{{- define "breakerd.selectorLabels" -}}
app.kubernetes.io/name: {{ include "breakerd.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "breakerd.labels" -}}
{{ include "breakerd.selectorLabels" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" | trunc 63 | trimSuffix "-" }}
{{- end }}

{{- define "breakerd.serviceAccountName" -}}
{{- if .Values.serviceAccount.create }}
{{- default (include "breakerd.fullname" .) .Values.serviceAccount.name }}
{{- else }}
{{- default "default" .Values.serviceAccount.name }}
{{- end }}
{{- end }}

{{/* What the pages and the probes speak. */}}
{{- define "breakerd.httpScheme" -}}
{{- if and .Values.tls.existingSecret .Values.tls.http }}https{{ else }}http{{ end }}
{{- end }}

{{- define "breakerd.claimName" -}}
{{- default (include "breakerd.fullname" .) .Values.persistence.existingClaim }}
{{- end }}
