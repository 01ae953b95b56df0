{{/* What a schema cannot say: values that contradict each other. Each would render, and be refused by the API server, or not start. */}}
{{- define "breakerd.validate" -}}
{{- include "breakerd.validateNames" . }}
{{- include "breakerd.validateConfig" . }}
{{- include "breakerd.validateFile" . }}
{{- include "breakerd.validatePods" . }}
{{- $onPostgres := include "breakerd.onPostgres" . }}
{{- if not $onPostgres }}
{{- if gt (int .Values.replicaCount) 1 }}
{{- fail (printf "replicaCount: %d pods cannot share one SQLite file: set database, or replicaCount=1" (int .Values.replicaCount)) }}
{{- end }}
{{- if .Values.autoscaling.enabled }}
{{- fail "autoscaling.enabled: pods cannot share one SQLite file: set database" }}
{{- end }}
{{- if .Values.database.credentialsSecret }}
{{- fail "database.credentialsSecret has no effect without database.host or database.url" }}
{{- end }}
{{- if or .Values.database.listen.existingSecret .Values.database.listen.url }}
{{- fail "database.listen has no effect without a database" }}
{{- end }}
{{- end }}
{{- with .Values.database }}
{{- if gt (len (compact (list .existingSecret .url .host))) 1 }}
{{- fail "database: set one of existingSecret, url and host" }}
{{- end }}
{{- if and .sslRootCert (not (hasPrefix "verify-" .sslMode)) }}
{{- fail "database.sslRootCert has no effect without database.sslMode verify-ca or verify-full" }}
{{- end }}
{{- if and .existingSecret .credentialsSecret }}
{{- fail "database.credentialsSecret has no effect with database.existingSecret: that URL has the user and the password" }}
{{- end }}
{{- if and .listen.existingSecret .listen.url }}
{{- fail "database.listen: set one of existingSecret and url" }}
{{- end }}
{{- end }}
{{- if and .Values.persistence.existingClaim (not .Values.persistence.enabled) }}
{{- fail "persistence.existingClaim has no effect with persistence.enabled=false" }}
{{- end }}
{{- if and $onPostgres .Values.persistence.existingClaim }}
{{- fail "persistence.existingClaim: on Postgres each pod has a claim of its own" }}
{{- end }}
{{- with .Values.autoscaling }}
{{- if and .enabled (gt (int .minReplicas) (int .maxReplicas)) }}
{{- fail (printf "autoscaling.minReplicas: %d is more than maxReplicas (%d)" (int .minReplicas) (int .maxReplicas)) }}
{{- end }}
{{- end }}
{{- with .Values.autoscaling }}
{{- if and .enabled (not (or .targetCPUUtilizationPercentage .targetMemoryUtilizationPercentage)) }}
{{- fail "autoscaling.enabled: set targetCPUUtilizationPercentage or targetMemoryUtilizationPercentage" }}
{{- end }}
{{- if .enabled }}
{{- /* Kubernetes takes a limit for the request that is not set. */}}
{{- $resources := $.Values.resources | default dict }}
{{- $requests := merge (dict) ($resources.requests | default dict) ($resources.limits | default dict) }}
{{- if and .targetCPUUtilizationPercentage (not $requests.cpu) }}
{{- fail "autoscaling.targetCPUUtilizationPercentage is a share of resources.requests.cpu, which is not set" }}
{{- end }}
{{- if and .targetMemoryUtilizationPercentage (not $requests.memory) }}
{{- fail "autoscaling.targetMemoryUtilizationPercentage is a share of resources.requests.memory, which is not set" }}
{{- end }}
{{- end }}
{{- end }}
{{- $resources := .Values.resources | default dict }}
{{- $limits := $resources.limits | default dict }}
{{- range $resource, $requested := $resources.requests }}
{{- $limit := get $limits $resource }}
{{- if and (hasKey $limits $resource) (gt (include "breakerd.amount" $requested | float64) (include "breakerd.amount" $limit | float64)) }}
{{- fail (printf "resources.requests.%s: %v is more than the limit (%v)" $resource $requested $limit) }}
{{- end }}
{{- end }}
{{- with .Values.securityContext }}
{{- if and .privileged (not .allowPrivilegeEscalation) }}
{{- fail "securityContext.privileged needs allowPrivilegeEscalation" }}
{{- end }}
{{- end }}
{{- with .Values.lifecycle }}
{{- if and .preStop .preStop.sleep (ge (int .preStop.sleep.seconds) (int $.Values.terminationGracePeriodSeconds)) }}
{{- fail (printf "lifecycle.preStop.sleep: %d s are not less than terminationGracePeriodSeconds (%d)" (int .preStop.sleep.seconds) (int $.Values.terminationGracePeriodSeconds)) }}
{{- end }}
{{- end }}
{{- range $resource, $_ := merge (dict) ($resources.requests | default dict) $limits }}
{{- if contains "/" $resource }}
{{- $requested := get ($resources.requests | default dict) $resource | toString }}
{{- $limit := get $limits $resource | toString }}
{{- if not (hasKey $limits $resource) }}{{ fail (printf "resources.limits.%s is not set: a resource of this kind needs a limit" $resource) }}{{ end }}
{{- if and (hasKey ($resources.requests | default dict) $resource) (ne $requested $limit) }}
{{- fail (printf "resources.requests.%s: %s is not its limit (%s), as it must be for a resource of this kind" $resource $requested $limit) }}
{{- end }}
{{- if not (regexMatch "^[0-9]+$" $limit) }}{{ fail (printf "resources.limits.%s: %s is no whole number" $resource $limit) }}{{ end }}
{{- end }}
{{- end }}
{{- $spread := list }}
{{- range .Values.topologySpreadConstraints }}
{{- $pair := printf "%s, %s" .topologyKey .whenUnsatisfiable }}
{{- if has $pair $spread }}{{ fail (printf "topologySpreadConstraints: two for %s" $pair) }}{{ end }}
{{- $spread = append $spread $pair }}
{{- end }}
{{- with .Values.networkPolicy }}{{ range .egress }}{{ range .ports }}
{{- if and .endPort (lt (int .endPort) (int .port)) }}
{{- fail (printf "networkPolicy.egress: endPort %d is before port %d" (int .endPort) (int .port)) }}
{{- end }}
{{- end }}{{ end }}{{ end }}
{{- if .Values.tls.clientCaKey }}
{{- if not .Values.tls.existingSecret }}
{{- fail "tls.clientCaKey has no effect without tls.existingSecret" }}
{{- end }}
{{- if and (eq .Values.tls.clientCertificate "optional") (not .Values.auth.existingSecret) }}
{{- fail "tls.clientCertificate=optional needs auth.existingSecret: a client without a certificate has to send a token" }}
{{- end }}
{{- end }}
{{- if and .Values.tests.clientCertificateSecret (not .Values.tls.existingSecret) }}
{{- fail "tests.clientCertificateSecret has no effect without tls.existingSecret" }}
{{- end }}
{{- if eq (int .Values.service.grpcPort) (int .Values.service.httpPort) }}
{{- fail (printf "service.httpPort: %d is grpcPort too" (int .Values.service.httpPort)) }}
{{- end }}
{{- with .Values.service }}
{{- if and .grpcNodePort (eq (toString .grpcNodePort) (toString .httpNodePort)) }}
{{- fail (printf "service.httpNodePort: %v is grpcNodePort too" .httpNodePort) }}
{{- end }}
{{- if and (or .grpcNodePort .httpNodePort) (eq .type "ClusterIP") }}
{{- fail "service.grpcNodePort and httpNodePort need service.type NodePort or LoadBalancer" }}
{{- end }}
{{- if and (or .loadBalancerSourceRanges .loadBalancerClass) (ne .type "LoadBalancer") }}
{{- fail "service.loadBalancerSourceRanges and loadBalancerClass need service.type LoadBalancer" }}
{{- end }}
{{- if and (has "IPv6" (.ipFamilies | default list)) (not (hasPrefix "[" $.Values.listenAddress)) }}
{{- fail (printf "listenAddress: %s accepts no IPv6, and service.ipFamilies has it: set listenAddress to \"[::]\"" $.Values.listenAddress) }}
{{- end }}
{{- if and (gt (len (.ipFamilies | default list)) 1) (not (hasSuffix "DualStack" (.ipFamilyPolicy | default ""))) }}
{{- fail "service.ipFamilies: two need ipFamilyPolicy PreferDualStack or RequireDualStack" }}
{{- end }}
{{- if and .externalTrafficPolicy (eq .type "ClusterIP") }}
{{- fail "service.externalTrafficPolicy needs service.type NodePort or LoadBalancer" }}
{{- end }}
{{- end }}
{{- if and .Values.circuitBreaker (regexMatch "(?m)^\\s*\\[+\\s*[\"']?circuit_breaker\\b" (toString .Values.config)) }}
{{- fail "config has a table [circuit_breaker], and circuitBreaker is set too: move all of it to circuitBreaker" }}
{{- end }}
{{- with include "breakerd.tomlError" (dict "root" . "text" (include "breakerd.toml" .)) }}
{{- fail (printf "config is no TOML together with notify and circuitBreaker: %s" .) }}
{{- end }}
{{- $targets := list }}
{{- range .Values.notify }}
{{- if has .name $targets }}{{ fail (printf "notify: two targets are named %s" .name) }}{{ end }}
{{- $targets = append $targets .name }}
{{- if and .existingSecret (not (or .urlKey .secretKey .caKey)) }}
{{- fail (printf "notify: existingSecret of %s has no effect without urlKey, secretKey or caKey" .name) }}
{{- end }}
{{- if and .caKey (hasPrefix "http://" (.url | default "")) }}
{{- fail (printf "notify: caKey of %s needs a url with https://" .name) }}
{{- end }}
{{- end }}
{{- if .Values.prometheusRule.enabled }}
{{- $names := list }}
{{- range ((.Files.Get "files/alerts.yaml") | fromYaml).groups }}{{ range .rules }}{{ $names = append $names .alert }}{{ end }}{{ end }}
{{- range .Values.prometheusRule.disabledAlerts }}
{{- if not (has . $names) }}{{ fail (printf "prometheusRule.disabledAlerts: there is no alert %s: %s" . (join ", " $names)) }}{{ end }}
{{- end }}
{{- range $name := list "serviceMonitor" "podMonitor" }}
{{- $monitor := get $.Values $name }}
{{- range $monitor.enabled | ternary $monitor.relabelings list }}
{{- if and (has .targetLabel (list "job" "namespace")) (not (hasKey $.Values.prometheusRule.selector .targetLabel)) }}
{{- fail (printf "%s.relabelings change the label %s, by which prometheusRule selects: set prometheusRule.selector.%s" $name .targetLabel .targetLabel) }}
{{- end }}
{{- end }}
{{- end }}
{{- end }}
{{- with .Values.tracing }}
{{- if ne (float64 .sampleRatio) (printf "%.6f" (float64 .sampleRatio) | float64) }}
{{- fail (printf "tracing.sampleRatio: %v has more than 6 decimals" .sampleRatio) }}
{{- end }}
{{- if and (not .endpoint) (or .headersSecret .caSecret .serviceName .resourceAttributes) }}
{{- fail "tracing.endpoint is not set: the other values of tracing have no effect" }}
{{- end }}
{{- if and .caSecret (not (hasPrefix "https://" .endpoint)) }}
{{- fail "tracing.caSecret needs an endpoint with https://" }}
{{- end }}
{{- range $key, $secret := dict "headersKey" "headersSecret" "caKey" "caSecret" }}
{{- if and (not (get $.Values.tracing $secret)) (ne (get $.Values.tracing $key) (get (dict "headersKey" "headers" "caKey" "ca.crt") $key)) }}
{{- fail (printf "tracing.%s has no effect without tracing.%s" $key $secret) }}
{{- end }}
{{- end }}
{{- if and (eq .protocol "grpc") (regexMatch "^https?://[^/]+/." .endpoint) }}
{{- fail (printf "tracing.endpoint: %s has a path, which OTLP over gRPC does not have: leave it out, or set tracing.protocol=http/protobuf" .endpoint) }}
{{- end }}
{{- end }}
{{- if and (eq .Values.probes.protocol "grpc") .Values.tls.existingSecret }}
{{- fail "probes.protocol=grpc: a gRPC probe knows no TLS: set auto or http" }}
{{- end }}
{{- if and .Values.grpcRoute.enabled (not .Values.grpcRoute.parentRefs) }}
{{- fail "grpcRoute.parentRefs: a route needs a gateway, such as [{name: gateway}]" }}
{{- end }}
{{- if .Values.podMonitor.enabled }}{{ with .Values.podMonitor.tlsConfig }}
{{- if or .caFile .certFile .keyFile }}
{{- fail "podMonitor.tlsConfig: a PodMonitor takes ca, cert and keySecret, and no files" }}
{{- end }}
{{- end }}{{ end }}
{{- if and .Values.serviceMonitor.enabled .Values.podMonitor.enabled }}
{{- fail "serviceMonitor and podMonitor: each would scrape every pod: enable one" }}
{{- end }}
{{- $tables := include "breakerd.configTables" . | fromYaml }}
{{- range $name := list "serviceMonitor" "podMonitor" }}
{{- with get $.Values $name }}
{{- if .enabled }}
{{- if gt (include "breakerd.milliseconds" .scrapeTimeout | int) (include "breakerd.milliseconds" .interval | int) }}
{{- fail (printf "%s.scrapeTimeout: %s is longer than the interval (%s)" $name .scrapeTimeout .interval) }}
{{- end }}
{{- if and .tokenSecret .authorization }}
{{- fail (printf "%s: set one of tokenSecret and authorization" $name) }}
{{- end }}
{{- if and (or $.Values.auth.existingSecret (hasKey $tables "auth.tokens_file")) (not (or .tokenSecret .authorization)) (ne (get $tables "http.auth" | default "") "false") }}
{{- fail (printf "%s.tokenSecret: with authentication a scrape needs a token of a client with the role reader" $name) }}
{{- end }}
{{- end }}
{{- end }}
{{- end }}
{{- end }}
