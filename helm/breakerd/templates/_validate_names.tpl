{{/* What a schema cannot say of names, labels and addresses. */}}
{{- define "breakerd.validateNames" -}}
{{- $fullname := include "breakerd.fullname" . }}
{{- if contains "." $fullname }}
{{- fail (printf "%s cannot be the name of a Service, which has no dots: set fullnameOverride" $fullname) }}
{{- end }}
{{- if and (regexMatch "^[0-9]" $fullname) (semverCompare "<1.36-0" .Capabilities.KubeVersion.Version) }}
{{- fail (printf "%s cannot be the name of a Service, which begins with a letter before Kubernetes 1.36: set fullnameOverride" $fullname) }}
{{- end }}
{{- if hasKey (.Values.podAnnotations | default dict) "checksum/config" }}{{ fail "podAnnotations: the chart sets checksum/config" }}{{ end }}
{{- $labels := dict "commonLabels" .Values.commonLabels "podLabels" .Values.podLabels "service.labels" .Values.service.labels }}
{{- range $name := list "grpcRoute" "serviceMonitor" "podMonitor" "prometheusRule" "dashboards" }}
{{- $_ := set $labels (printf "%s.labels" $name) (get $.Values $name).labels }}
{{- end }}
{{- $ours := list "app.kubernetes.io/name" "app.kubernetes.io/instance" "app.kubernetes.io/version" "app.kubernetes.io/managed-by" "helm.sh/chart" "breakerd/headless" }}
{{- range $value, $given := $labels }}{{ range $label, $_ := $given }}
{{- if has $label $ours }}{{ fail (printf "%s: the chart sets %s" $value $label) }}{{ end }}
{{- end }}{{ end }}
{{- with .Values.image.repository }}
{{- if contains "://" . }}{{ fail (printf "image.repository: %s has a scheme: leave it out" .) }}{{ end }}
{{- if regexMatch ":[^/]*$" . }}{{ fail (printf "image.repository: %s has a tag: set image.tag" .) }}{{ end }}
{{- if not (regexMatch "^([a-z0-9.-]+(:[0-9]+)?/)?[a-z0-9]+([._-]+[a-z0-9]+)*(/[a-z0-9]+([._-]+[a-z0-9]+)*)*$" .) }}
{{- fail (printf "image.repository: %s is none: must be such as registry.example.org:5000/platform/breakerd" .) }}
{{- end }}
{{- end }}
{{- if regexMatch "^(127\\.|\\[::1\\]$)" .Values.listenAddress }}
{{- fail (printf "listenAddress: %s is not reached by the probes, nor by the service: set 0.0.0.0 or \"[::]\"" .Values.listenAddress) }}
{{- end }}
{{- end }}
