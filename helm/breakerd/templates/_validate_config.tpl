{{/* What config, the text of breakerd.toml, cannot have: no TOML, and settings that the chart sets itself. The environment wins over the
     file, so they would have no effect, or the chart would not know of them. */}}
{{- define "breakerd.validateConfig" -}}
{{- with include "breakerd.tomlError" (dict "root" . "text" .Values.config) }}{{ fail (printf "config is no TOML: %s" .) }}{{ end }}
{{- $tables := include "breakerd.configTables" . | fromYaml }}
{{- $database := "the chart runs one pod on SQLite without a database" }}
{{- $instead := dict
  "data_dir" "leave it out: the volume of persistence is at /var/lib/breakerd"
  "replica" "leave it out: a replica has the name of its pod"
  "grpc.listen" "set listenAddress, and service.grpcPort for clients: pods listen on port 50051"
  "http.listen" "set listenAddress, and service.httpPort for clients: pods listen on port 8080"
  "metrics.namespace" "set the value metrics.namespace, which the alerts follow"
  "store.url" (printf "set database.existingSecret, url or host: %s" $database)
  "store.url_file" (printf "set database.existingSecret: %s" $database)
  "store.listen_url" "set database.listen.existingSecret or url"
  "tls.certificate" "set tls.existingSecret, which the probes follow"
  "tls.key" "set tls.existingSecret, which the probes follow"
  "tls.client_ca" "set tls.clientCaKey"
  "tls.client_certificate" "set tls.clientCertificate"
  "http.tls" "set tls.http, which the probes follow"
}}
{{- range $key, $fix := $instead }}
{{- if hasKey $tables $key }}{{ fail (printf "config sets %s: %s" $key $fix) }}{{ end }}
{{- end }}
{{- /* These have an effect in config, as long as the value is not set. */}}
{{- $environment := include "breakerd.environment" . }}
{{- $values := dict "auth.tokens_file" "auth.existingSecret" "tracing.endpoint" "tracing.endpoint" "tracing.protocol" "tracing.protocol" "tracing.sample_ratio" "tracing.sampleRatio" "tracing.service_name" "tracing.serviceName" "tracing.resource_attributes" "tracing.resourceAttributes" "tracing.headers_file" "tracing.headersSecret" "tracing.ca" "tracing.caSecret" }}
{{- range $key, $value := $values }}
{{- if and (hasKey $tables $key) (contains (printf "- name: BREAKERD_%s\n" ($key | replace "." "_" | upper)) $environment) }}
{{- fail (printf "config sets %s, and the value %s, which takes precedence, does too: leave it out of config" $key $value) }}
{{- end }}
{{- end }}
{{- $shared := get $tables "store.shared" | default "" }}
{{- if and (eq $shared "false") (include "breakerd.hasSeveralPods" .) }}
{{- fail "config sets store.shared = false: several pods share the database: leave it out, or set replicaCount=1 without autoscaling" }}
{{- end }}
{{- if not (include "breakerd.onPostgres" .) }}
{{- range $key, $value := dict "store.shared" "true" "store.start_without_store" "true" "store.half_open_without_store" "hold" }}
{{- if eq (get $tables $key | default "") $value }}{{ fail (printf "config sets %s = %s: set database, which this needs" $key $value) }}{{ end }}
{{- end }}
{{- end }}
{{- end }}

{{/* "true" if Helm reads TOML: it does since 3.17. An older one does not parse a template that names the function. */}}
{{- define "breakerd.readsToml" -}}
{{- if semverCompare ">=3.17.0-0" .Capabilities.HelmVersion.Version }}true{{ end }}
{{- end }}

{{/* Why a text is no TOML, as far as Helm can tell: dict "root" $ "text" the text. */}}
{{- define "breakerd.tomlError" -}}
{{- if include "breakerd.readsToml" .root }}
{{- tpl "{{ get (fromToml .text) \"Error\" }}" (dict "text" (toString (.text | default ""))) }}
{{- end }}
{{- end }}

{{/* The keys of config with their values as YAML, table.key: value. Of several tables of one name, with commas. By a Helm that does not read
     TOML, strings over lines, and tables in braces are not looked into: what is missed here is for breakerd to judge. */}}
{{- define "breakerd.configTables" -}}
{{- $found := dict }}
{{- $config := toString (.Values.config | default "") }}
{{- if include "breakerd.readsToml" . }}
{{- range $key, $value := tpl "{{ fromToml .text | toJson }}" (dict "text" $config) | fromJson }}
{{- if kindIs "map" $value }}
{{- range $name, $within := $value }}{{ $_ := set $found (printf "%s.%s" $key $name) (toString $within) }}{{ end }}
{{- else if kindIs "slice" $value }}
{{- range $value }}{{ if kindIs "map" . }}{{ range $name, $within := . }}
{{- $name = printf "%s.%s" $key $name }}
{{- $_ := set $found $name (compact (list (get $found $name) (toString $within)) | join ",") }}
{{- end }}{{ end }}{{ end }}
{{- else }}{{ $_ := set $found $key (toString $value) }}
{{- end }}
{{- end }}
{{- else }}
{{- $table := "" }}
{{- range splitList "\n" $config }}
{{- $line := trim . }}
{{- if regexMatch "^\\[" $line }}
{{- $table = printf "%s." (regexReplaceAll "[\\[\\]\\s\"']|#.*" $line "") }}
{{- else if regexMatch "^[A-Za-z0-9_.-]+\\s*=" $line }}
{{- $key := printf "%s%s" $table (regexFind "^[A-Za-z0-9_.-]+" $line) }}
{{- $value := regexReplaceAll "^[^=]*=\\s*" $line "" }}
{{- $value = regexMatch "^\"" $value | ternary (regexFind "^\"[^\"]*" $value | trimPrefix "\"") (regexFind "^[^\\s#]*" $value) }}
{{- $_ := set $found $key (compact (list (get $found $key) $value) | join ",") }}
{{- end }}
{{- end }}
{{- end }}
{{- toYaml $found }}
{{- end }}
