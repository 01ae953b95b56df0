{{/* The labels that tell the series of this installation from those of others, as matchers of PromQL: its namespace, and the job that the Prometheus operator
     names after a Service or a PodMonitor. Who scrapes it otherwise names the job otherwise. */}}
{{- define "breakerd.installationMatchers" -}}
{{- $labels := dict "namespace" .Release.Namespace }}
{{- if .Values.serviceMonitor.enabled }}{{ $_ := set $labels "job" (include "breakerd.fullname" .) }}{{ end }}
{{- if .Values.podMonitor.enabled }}{{ $_ := set $labels "job" (printf "%s/%s" .Release.Namespace (include "breakerd.fullname" .)) }}{{ end }}
{{- range $label, $value := .Values.prometheusRule.selector }}{{ $_ := set $labels $label $value }}{{ end }}
{{- $matchers := list }}
{{- range $label, $value := $labels }}{{ if $value }}{{ $matchers = append $matchers (printf "%s=%q" $label $value) }}{{ end }}{{ end }}
{{- join ", " $matchers }}
{{- end }}

{{/* An expression of files/alerts.yaml, about this installation: dict "root" $ "expr" it. Every metric gets the matchers, beside those that it has. */}}
{{- define "breakerd.alertExpression" -}}
{{- $expr := .expr }}
{{- $matchers := include "breakerd.installationMatchers" .root }}
{{- if $matchers }}
{{- $expr = regexReplaceAll "\\b(llm_incident_manager|process)_\\w+" $expr "${0}{INSTALLATION}" | replace "{INSTALLATION}{" "{INSTALLATION, " }}
{{- end }}
{{- $expr | replace "llm_incident_manager" .root.Values.metrics.namespace | replace "INSTALLATION" $matchers }}
{{- end }}
