#!/usr/bin/env bash
# The Helm chart: lint it, render it in the shapes that people install, and see that its schema refuses nonsense.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
# shellcheck source=scripts/lib.sh
. scripts/lib.sh

chart=helm/breakerd
# helm built from its module takes itself for one of an old cluster.
render() { helm template try "$chart" --namespace try --kube-version 1.34.0 "$@"; }

# renders TEXT ARGS...: the rendered chart holds TEXT
renders() {
  local text=$1 out
  shift
  out=$(render "$@") || die "the chart does not render with: $*"
  grep -qF -- "$text" <<<"$out" || die "no \"$text\" in the chart rendered with: $*"
}

# lacks TEXT ARGS...: it does not
lacks() {
  local text=$1 out
  shift
  out=$(render "$@") || die "the chart does not render with: $*"
  ! grep -qF -- "$text" <<<"$out" || die "\"$text\" is in the chart rendered with: $*"
}

# refuses PATTERN ARGS...: these values are refused, with a reason that has the pattern in it
refuses() {
  local pattern=$1 out
  shift
  ! out=$(render "$@" 2>&1) || die "the chart took what it should refuse: $*"
  grep -qE -- "$pattern" <<<"$out" || die "the chart refuses $* without a word of $pattern: $out"
}

# pods ARGS...: the template of the pods
pods() { render "$@" | awk '/^kind: (Deployment|StatefulSet)$/ { on = 1 } /^---$/ { on = 0 } on' | sed -n '/^  template:$/,/^  [a-z]/p'; }

helm lint --strict --quiet --kube-version 1.34.0 "$chart"

# SQLite: one pod and its volume.
renders 'kind: Deployment'
renders 'type: Recreate'
renders 'claimName: try-breakerd'
renders 'emptyDir: {}' --set persistence.enabled=false
renders 'claimName: mine' --set persistence.existingClaim=mine
lacks 'kind: PersistentVolumeClaim' --set persistence.existingClaim=mine
renders 'helm.sh/resource-policy: keep'
lacks 'helm.sh/resource-policy' --set persistence.keep=false
refuses 'replicaCount: 2 pods cannot share one SQLite file' --set replicaCount=2
refuses 'cannot share one SQLite file' --set autoscaling.enabled=true

# Postgres: several, each with a journal of its own.
db=(--set database.existingSecret=breakerd-db-app)
renders 'kind: StatefulSet' "${db[@]}"
lacks 'kind: Deployment' "${db[@]}"
renders 'replicas: 3' "${db[@]}" --set replicaCount=3
renders 'key: uri' "${db[@]}"
renders 'value: /etc/breakerd-database/url' "${db[@]}"
renders 'whenDeleted: Retain' "${db[@]}"
renders 'whenDeleted: Delete' "${db[@]}" --set persistence.keep=false
renders 'clusterIP: None' "${db[@]}"
renders 'kind: PodDisruptionBudget' "${db[@]}" --set replicaCount=2
lacks 'kind: PodDisruptionBudget' "${db[@]}"
renders 'kind: HorizontalPodAutoscaler' "${db[@]}" --set autoscaling.enabled=true
lacks 'replicas: 1' "${db[@]}" --set autoscaling.enabled=true
renders 'topologyKey: kubernetes.io/hostname' "${db[@]}" --set replicaCount=2
renders 'postgres://a:5432,b:6432/my%20db?sslmode=verify-full&sslrootcert=%2Fca%2Fca.crt' --set 'database.host=a\,b:6432' \
  --set 'database.name=my db' --set database.sslMode=verify-full --set database.sslRootCert=/ca/ca.crt
renders 'postgres://[fd00::1]:5432/breakerd' --set 'database.host=fd00::1'
renders 'name: PGPASSWORD' --set database.host=db --set database.credentialsSecret=breakerd-db
renders 'name: BREAKERD_STORE_LISTEN_URL' "${db[@]}" --set database.listen.url=postgres://db/breakerd
refuses 'set one of existingSecret, url and host' "${db[@]}" --set database.host=db
refuses 'listen has no effect' --set database.listen.url=postgres://db/breakerd
refuses 'sslRootCert has no effect' --set database.host=db --set database.sslRootCert=/ca
refuses 'database/?.*host' --set database.host=user@db
refuses 'each pod has a claim of its own' "${db[@]}" --set persistence.existingClaim=mine
refuses 'is more than maxReplicas' "${db[@]}" --set autoscaling.enabled=true --set autoscaling.minReplicas=9

# The file: thresholds change while breakerd runs; all else restarts the pods, and so does nothing but what is in them.
renders 'default_failure_threshold = 7' --set-string config=$'[circuit_breaker]\ndefault_failure_threshold = 7\n'
renders '"failure_threshold" = 1000000' --set circuitBreaker.payments.failure_threshold=1000000
renders '[circuit_breaker."api.example.org"]' --set 'circuitBreaker.api\.example\.org.failure_threshold=3'
refuses 'move all of it to circuitBreaker' --set circuitBreaker.default_failure_threshold=3 \
  --set-string config=$'[ circuit_breaker ]\ndefault_failure_threshold = 7\n'
refuses 'config is no TOML: toml: line 1' --set-string config='[grpc'
refuses 'config is no TOML together with notify' --set 'notify[0].name=a,notify[0].url=https://a' --set-string config=$'notify = 1\n'
# What has a value: config cannot set it. An older Helm, which does not read TOML, finds it by lines.
copy=$(mktemp -d "${TMPDIR:-/tmp}/breakerd-chart.XXXXXX")
trap 'rm -rf "$copy"' EXIT
cp -R "$chart" "$copy/older"
sed 's/>=3\.17\.0-0/>=99.0.0-0/' "$chart/templates/_validate_config.tpl" >"$copy/older/templates/_validate_config.tpl"
for chart in "$chart" "$copy/older"; do
  for setting in 'data_dir = "/data"' 'replica = "a"' 'grpc.listen = "[::]:1"' 'http.listen = "[::]:1"' 'metrics.namespace = "shop"' \
    'store.url = "postgres://db/b"' 'store.url_file = "/url"' 'store.listen_url = "postgres://db/b"' 'tls.certificate = "/a"' 'tls.key = "/a"' \
    'tls.client_ca = "/a"' 'tls.client_certificate = "optional"' 'http.tls = false'; do
    refuses "config sets ${setting%% *}: (set|leave it out)" --set-string config="# as text"$'\n'"$setting"$'\n'
    table=${setting%%.*}
    [ "$table" = "$setting" ] || refuses "config sets ${setting%% *}: " --set-string config="[log]"$'\n\n'"[ $table ] # as text"$'\n'"${setting#*.}"$'\n'
  done
  refuses 'config sets auth.tokens_file, and the value auth.existingSecret' --set auth.existingSecret=a --set-string config=$'[auth]\ntokens_file = "/a"\n'
  refuses 'config sets tracing.protocol, and the value tracing.protocol' --set tracing.endpoint=http://a:4317 \
    --set-string config=$'[tracing]\nprotocol = "grpc"\n'
  renders 'endpoint = "http://a:4317"' --set-string config=$'[tracing]\nendpoint = "http://a:4317"\nprotocol = "grpc"\n'
  refuses 'several pods share the database' "${db[@]}" --set replicaCount=2 --set-string config=$'[store]\nshared = false\n'
  renders 'shared = false' "${db[@]}" --set-string config=$'[store]\nshared = false\n'
  refuses 'config sets store.shared = true: set database' --set-string config=$'[store]\nshared = true\n'
done
renders '[grpc' --set-string config='[grpc'
chart=helm/breakerd
[ "$(pods)" = "$(pods --set circuitBreaker.default_failure_threshold=9)" ] || die "changed thresholds restart the pods"
[ "$(pods)" != "$(pods --set-string config=$'[grpc]\nstreams_max = 7\n')" ] || die "a changed setting does not restart the pods"

# Webhooks: the tables of the file, and the secrets that they name.
hook=(--set 'notify[0].name=chat' --set 'notify[0].existingSecret=slack' --set 'notify[0].urlKey=url' --set 'notify[0].format=slack')
renders '[[notify]]' "${hook[@]}"
renders 'url_file = "/etc/breakerd-notify/chat/url"' "${hook[@]}"
renders 'secretName: slack' "${hook[@]}"
renders 'mountPath: /etc/breakerd-notify/chat' "${hook[@]}"
renders 'secret_file = "/etc/breakerd-notify/chat/key"' "${hook[@]}" --set 'notify[0].secretKey=key'
renders 'states = ["OPEN","CLOSED"]' "${hook[@]}" --set 'notify[0].states={OPEN,CLOSED}'
renders 'reopened = false' "${hook[@]}" --set 'notify[0].reopened=false'
renders 'queue_max = 10000' "${hook[@]}" --set 'notify[0].queueMax=10000'
[ "$(pods "${hook[@]}")" != "$(pods "${hook[@]}" --set 'notify[0].reopened=false')" ] || die "a changed webhook does not restart the pods"
refuses 'two targets are named chat' "${hook[@]}" --set 'notify[1].name=chat' --set 'notify[1].url=https://a'
refuses 'notify' "${hook[@]}" --set 'notify[0].url=https://a'
refuses 'notify' --set 'notify[0].name=chat'
refuses 'notify' --set 'notify[0].name=chat' --set 'notify[0].url=ftp://a'
refuses 'notify' --set 'notify[0].name=chat' --set 'notify[0].url=https://a' --set 'notify[0].secretKey=key'
refuses 'has no effect without urlKey' --set 'notify[0].name=chat' --set 'notify[0].url=https://a' --set 'notify[0].existingSecret=slack'
refuses 'notify' "${hook[@]}" --set 'notify[0].states={BROKEN}'
refuses 'extraVolumes' --set 'extraVolumes[0].name=notify-chat,extraVolumes[0].emptyDir.medium=Memory'
cp -R "$chart" "$copy/"
sed -i.before 's/^version: .*/version: 9.9.9/' "$copy/breakerd/Chart.yaml"
[ "$(pods)" = "$(chart=$copy/breakerd pods)" ] || die "another version of the chart alone restarts the pods"
[ "$(pods "${db[@]}")" = "$(chart=$copy/breakerd pods "${db[@]}")" ] || die "another version of the chart alone restarts the pods"

# What is secured, and probed.
renders 'service: liveness'
renders 'service: readiness'
renders 'path: /livez' --set probes.protocol=http
renders 'appProtocol: kubernetes.io/h2c'
tls=(--set tls.existingSecret=breakerd-tls)
renders 'scheme: HTTPS' "${tls[@]}"
lacks 'service: liveness' "${tls[@]}"
renders 'secretName: breakerd-tls' "${tls[@]}"
renders 'appProtocol: https' "${tls[@]}"
renders 'value: /etc/breakerd-tls/ca.crt' "${tls[@]}" --set tls.clientCaKey=ca.crt
renders 'value: "false"' "${tls[@]}" --set tls.http=false
renders 'value: /etc/breakerd-auth/tokens.toml' --set auth.existingSecret=breakerd-tokens
refuses 'clientCaKey has no effect' --set tls.clientCaKey=ca.crt
refuses 'needs auth.existingSecret' "${tls[@]}" --set tls.clientCaKey=ca.crt --set tls.clientCertificate=optional
refuses clientCertificate --set tls.clientCertificate=never
refuses 'a gRPC probe knows no TLS' "${tls[@]}" --set probes.protocol=grpc
refuses successThreshold --set probes.liveness.successThreshold=3
renders 'successThreshold: 3' --set probes.readiness.successThreshold=3
refuses httpGet --set probes.liveness.httpGet.path=/health/circuit-breakers

# What is around it.
renders 'value: "[::]:50051"' --set listenAddress='[::]'
renders 'value: 720h' --set 'extraEnv[0].name=BREAKERD_STORE_HISTORY_RETENTION,extraEnv[0].value=720h'
renders 'mountPath: /etc/database-ca' \
  --set 'extraVolumes[0].name=ca,extraVolumes[0].secret.secretName=database-ca' \
  --set 'extraVolumeMounts[0].name=ca,extraVolumeMounts[0].mountPath=/etc/database-ca'
renders 'breakerd@sha256:' --set image.digest=sha256:0000000000000000000000000000000000000000000000000000000000000000
renders 'nodePort: 30051' --set service.type=NodePort --set service.grpcNodePort=30051
renders 'kind: GRPCRoute' --set grpcRoute.enabled=true --set 'grpcRoute.parentRefs[0].name=gateway'
renders 'kind: NetworkPolicy' --set networkPolicy.enabled=true
renders 'policyTypes: [Ingress, Egress]' --set networkPolicy.enabled=true --set 'networkPolicy.egress[0].ports[0].port=5432'
renders 'team: payments' --set commonLabels.team=payments
cat >"$copy/extra.yaml" <<'V'
extraManifests:
  - { apiVersion: v1, kind: ConfigMap, metadata: { name: "{{ .Release.Name }}-cm" } }
V
renders try-cm -f "$copy/extra.yaml"
monitor=(--set serviceMonitor.enabled=true)
renders 'kind: ServiceMonitor' "${monitor[@]}"
renders 'honorLabels: true' "${monitor[@]}"
renders 'serverName: try-breakerd.try.svc' "${monitor[@]}" "${tls[@]}"
renders 'type: Bearer' "${monitor[@]}" --set serviceMonitor.tokenSecret.name=t --set serviceMonitor.tokenSecret.key=token
renders 'kind: PodMonitor' --set podMonitor.enabled=true
dashboards=(--set dashboards.enabled=true)
renders 'name: try-breakerd-dashboard-circuit-breakers' "${dashboards[@]}"
renders 'grafana_dashboard: "1"' "${dashboards[@]}"
renders 'acme_circuit_breaker_state' "${dashboards[@]}" --set metrics.namespace=acme
lacks 'llm_incident_manager' "${dashboards[@]}" --set metrics.namespace=acme
lacks 'grafana_dashboard'
rules=(--set prometheusRule.enabled=true)
renders 'alert: CircuitBreakerOpen' "${rules[@]}"
renders 'max by (cluster, namespace, job, service, name) (shop_circuit_breaker_state{namespace="try"})' "${rules[@]}" --set metrics.namespace=shop
renders 'shop_circuit_breaker_state{job="try-breakerd",' "${rules[@]}" "${monitor[@]}" --set metrics.namespace=shop
renders 'shop_circuit_breaker_state{job="try/try-breakerd",' "${rules[@]}" --set podMonitor.enabled=true --set metrics.namespace=shop
# Every metric of every expression is asked of this installation alone.
selected=$(render "${rules[@]}" "${monitor[@]}" --show-only templates/prometheusrule.yaml | tr -d '\n' | tr -s ' ')
[ "$(grep -oE '(llm_incident_manager|process)_[a-z_]+' <<<"$selected" | wc -l)" = \
  "$(grep -oE '(llm_incident_manager|process)_[a-z_]+\{job="try-breakerd", namespace="try"' <<<"$selected" | wc -l)" ] ||
  die "an alert asks for the series of other installations"
renamed=(--set 'serviceMonitor.relabelings[0].targetLabel=job,serviceMonitor.relabelings[0].replacement=mine')
refuses 'set prometheusRule.selector.job' "${rules[@]}" "${monitor[@]}" "${renamed[@]}"
renders 'shop_circuit_breaker_state{job="mine",' "${rules[@]}" "${monitor[@]}" "${renamed[@]}" --set prometheusRule.selector.job=mine --set metrics.namespace=shop
refuses 'prometheusRule/selector' "${rules[@]}" --set prometheusRule.selector.not-a-label=1
lacks llm_incident_manager "${rules[@]}" --set metrics.namespace=shop
lacks 'alert: CircuitBreakerFlapping' "${rules[@]}" --set 'prometheusRule.disabledAlerts={CircuitBreakerFlapping}'
renders 'team: payments' "${rules[@]}" --set prometheusRule.alertLabels.team=payments
refuses 'there is no alert CircuitOpen' "${rules[@]}" --set 'prometheusRule.disabledAlerts={CircuitOpen}'
refuses 'which the alerts follow' --set-string config=$'[metrics]\nnamespace = "shop"\n'
tokens=(--set auth.existingSecret=breakerd-tokens)
refuses 'a scrape needs a token' "${monitor[@]}" "${tokens[@]}"
refuses 'a scrape needs a token' "${monitor[@]}" "${tokens[@]}" --set-string config=$'[http]\nwrite_timeout = "9s"\n'
renders 'kind: ServiceMonitor' "${monitor[@]}" "${tokens[@]}" --set-string config=$'[http]\nauth = false\n'
refuses 'longer than the interval' "${monitor[@]}" --set serviceMonitor.scrapeTimeout=1m
renders 'scrapeTimeout: 1m' "${monitor[@]}" --set serviceMonitor.scrapeTimeout=1m,serviceMonitor.interval=60s
refuses 'enable one' "${monitor[@]}" --set podMonitor.enabled=true
refuses 'is grpcPort too' --set service.httpPort=50051
refuses 'need service.type' --set service.grpcNodePort=30051
# Which of them are for nodes is a setting of the API server.
for port in 0 -1 65536 30051.5; do
  refuses 'service/?.*grpcNodePort' --set service.type=NodePort --set-json service.grpcNodePort="$port"
  refuses 'service/?.*httpNodePort' --set service.type=NodePort --set-json service.httpNodePort="$port"
done
renders 'nodePort: 65535' --set service.type=NodePort,service.grpcNodePort=65535
refuses 'route needs a gateway' --set grpcRoute.enabled=true
refuses grpcPort --set service.grpcPort=http
refuses replicas --set replicas=2
refuses listenAddress --set listenAddress=localhost
refuses mountPath --set 'extraVolumeMounts[0].name=ca'
refuses 'there is no volume ca' --set 'extraVolumeMounts[0].name=ca,extraVolumeMounts[0].mountPath=/ca'
refuses extraVolumes --set 'extraVolumes[0].name=data,extraVolumes[0].emptyDir.medium=Memory'
# Traces.
tracing=(--set tracing.endpoint=http://collector:4317)
lacks BREAKERD_TRACING
renders 'value: "http://collector:4317"' "${tracing[@]}"
renders 'value: "0.000010"' "${tracing[@]}" --set-json tracing.sampleRatio=0.00001
renders 'value: "deployment.environment.name=test%20bed"' "${tracing[@]}" --set 'tracing.resourceAttributes.deployment\.environment\.name=test bed'
renders 'value: /etc/breakerd-tracing-headers/headers' "${tracing[@]}" --set tracing.headersSecret=headers
renders 'secretName: collector-ca' --set tracing.endpoint=https://collector:4317 --set tracing.caSecret=collector-ca
refuses 'needs an endpoint with https' "${tracing[@]}" --set tracing.caSecret=collector-ca
refuses 'tracing.caKey has no effect without tracing.caSecret' "${tracing[@]}" --set tracing.caKey=other.crt
refuses 'tracing.headersKey has no effect without tracing.headersSecret' "${tracing[@]}" --set tracing.headersKey=other
refuses 'has a path, which OTLP over gRPC does not have' --set tracing.endpoint=http://collector:4317/v1/traces
renders 'value: "http://collector:4318/otlp"' --set tracing.endpoint=http://collector:4318/otlp,tracing.protocol=http/protobuf
renders 'value: "https://collector:4317/"' --set tracing.endpoint=https://collector:4317/
refuses 'caKey of chat needs a url with https' --set 'notify[0].name=chat,notify[0].url=http://a,notify[0].existingSecret=a,notify[0].caKey=ca.crt'
refuses 'tracing.endpoint is not set' --set tracing.headersSecret=headers
refuses 'tracing/?.*endpoint' --set tracing.endpoint=collector:4317
refuses 'tracing/?.*endpoint' --set tracing.endpoint=http://user:secret@collector
refuses 'tracing/?.*sampleRatio' "${tracing[@]}" --set tracing.sampleRatio=2
refuses 'sampleRatio: 1e-07 has more than 6 decimals' "${tracing[@]}" --set-json tracing.sampleRatio=0.0000001
refuses 'tracing/?.*protocol' "${tracing[@]}" --set tracing.protocol=http/json
refuses extraEnv --set 'extraEnv[0].name=BREAKERD_TRACING_ENDPOINT,extraEnv[0].value=http://collector:4317'
refuses extraEnv --set 'extraEnv[0].name=DATABASE_URL,extraEnv[0].value=postgres://db'
refuses 'is there twice' --set 'extraEnv[0].name=A,extraEnv[0].value=x,extraEnv[1].name=A,extraEnv[1].value=y'
refuses 'app.kubernetes.io/name' --set 'podLabels.app\.kubernetes\.io/name=mine'
refuses commonLabels --set 'commonLabels.team=not a label'
refuses size --set persistence.size=0
refuses size --set persistence.size=0Gi
refuses limit --set resources.limit.memory=1Gi
refuses memory --set resources.limits.memory=lots
refuses nodes --set affinity.nodes.x=1
refuses digest --set image.digest=latest
lacks 'nodePort' --set service.type=NodePort "${db[@]}"
[ "$(render "${db[@]}" --set service.type=NodePort --set service.grpcNodePort=30051 | grep -c 'nodePort: 30051')" = 1 ] ||
  die "the headless service has a port of the nodes"

# What the API server takes, and breakerd or the kubelet would not.
threshold() { refuses "circuitBreaker/?.*$1" --set-json "circuitBreaker=$2"; }
renders 'kind: Deployment' --set-json circuitBreaker=null
threshold failure_rates_threshold '{"payments":{"failure_rates_threshold":50}}'
threshold default_failures_threshold '{"default_failures_threshold":5}'
threshold default_failure_threshold '{"default_failure_threshold":"5"}'
threshold failure_rate_threshold '{"payments":{"failure_rate_threshold":500}}'
threshold timeout_seconds '{"payments":{"timeout_seconds":"60"}}'
threshold payments '{"payments":5}'
threshold 'pay ments.*is no service' '{"pay ments":{"failure_threshold":5}}'
renders '"timeout_seconds" = "1h 30m"' --set 'circuitBreaker.payments.timeout_seconds=1h 30m'
refuses 'terminationGracePeriodSeconds: 60 is not more than shutdown_grace \(90s\)' --set-string config=$'shutdown_grace = "90s"\n'
refuses 'is not more than shutdown_grace' --set-string config=$'shutdown_grace = 60 # seconds\n'
refuses 'is not more than shutdown_grace' --set 'extraEnv[0].name=BREAKERD_SHUTDOWN_GRACE,extraEnv[0].value=1m 10s'
renders 'shutdown_grace = "90s"' --set-string config=$'shutdown_grace = "90s"\n' --set terminationGracePeriodSeconds=100
renders 'shutdown_grace = "90s"' --set-string config=$'[other]\nshutdown_grace = "90s"\n'
health=$'[auth]\nhealth_needs_token = true\n'
refuses 'a gRPC probe has no token' --set-string config="$health"
renders 'path: /livez' --set-string config="$health" --set probes.protocol=http
refuses 'config has a target chat too' "${hook[@]}" --set-string config=$'[[notify]]\nname = "chat"\nurl = "https://a"\n'
refuses 'are more than 16' "${hook[@]}" --set-string config="$(for i in {1..16}; do printf '[[notify]]\nname = "%s"\nurl = "https://a"\n' "$i"; done)"
refuses 'notify/0/giveUpAfter' "${hook[@]}" --set 'notify[0].giveUpAfter=0'
refuses 'has a tag' --set image.repository=registry.example.org/breakerd:0.1.0
refuses 'has a scheme' --set image.repository=https://registry.example.org/breakerd
refuses 'image.repository: a//b is none' --set image.repository=a//b
renders 'image: "localhost:5000/breakerd:0.1.0"' --set image.repository=localhost:5000/breakerd --set image.tag=0.1.0
refuses 'accepts no IPv6' --set 'service.ipFamilies={IPv6}'
refuses 'is not reached by the probes' --set listenAddress=127.0.0.1
refuses listenAddress --set listenAddress=0.0.0.256
refuses 'a share of resources.requests.cpu' "${db[@]}" --set autoscaling.enabled=true --set resources.requests.cpu=null
refuses '0 is root' --set podSecurityContext.runAsUser=0
renders 'runAsUser: 0' --set podSecurityContext.runAsUser=0 --set podSecurityContext.runAsNonRoot=false
refuses 'capabilities/drop' --set 'securityContext.capabilities.drop={all}'
refuses 'existingClaim has no effect' --set persistence.enabled=false --set persistence.existingClaim=mine
refuses 'clientCertificateSecret has no effect' --set tests.clientCertificateSecret=client
refuses 'the chart sets checksum/config' --set-string 'podAnnotations.checksum/config=1'
refuses 'alertLabels' "${rules[@]}" --set prometheusRule.alertLabels.not-a-label=1
refuses "missing property 'tls'" --set tls=null
# A name is a text, though it reads as a number, and no longer than a Service's.
name_of() { helm template "$@" "$chart" --namespace 10 --kube-version 1.34.0 2>&1 || true; }
grep -qF 'namespace: "10"' <<<"$(name_of try)" || die "the namespace 10 is a number"
grep -q 'has no dots: set fullnameOverride' <<<"$(name_of my.release)" || die "a release with a dot renders"
grep -q 'begins with a letter before Kubernetes 1.36' <<<"$(name_of 1st)" || die "a release with a digit first renders for 1.34"
grep -q 'name: a222222222222222222222222222222222222222222-breakerd$' <<<"$(name_of a222222222222222222222222222222222222222222-breakerd)" || die "a name that fits is cut"
! grep -q 'name: .*-$' <<<"$(name_of breakerd-22222222222222222222222222222222222222222--b)" || die "a name ends with a hyphen"
# As a dependency of another chart, which can be left out there.
mkdir -p "$copy/parent/charts"
cp -R "$chart" "$copy/parent/charts/"
cat >"$copy/parent/Chart.yaml" <<'V'
{ apiVersion: v2, name: parent, version: 0.0.0, dependencies: [{ name: breakerd, version: "*", condition: breakerd.enabled }] }
V
parent() { helm template try "$copy/parent" --kube-version 1.34.0 "$@"; }
printf '{ global: { team: a }, breakerd: { enabled: true, circuitBreaker: { default_failure_threshold: 3 } } }\n' >"$copy/parent/values.yaml"
grep -q 'name: try-breakerd' <<<"$(parent)" || die "the chart does not render as a dependency"
[ -z "$(parent --set breakerd.enabled=false)" ] || die "the chart renders as a dependency that is disabled"

# The file of values that the README shows is one that the chart takes.
shown=$copy/shown.yaml
# shellcheck disable=SC2016 # the backticks are those of the document
sed -n '/^```yaml$/,/^```$/{/^```/d;p;}' "$chart/README.md" >"$shown"
renders 'history_retention = "720h"' -f "$shown"
renders 'name: breakerd-prometheus' -f "$shown"
scripts/chart-values.sh --check

version=$(sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml | head -n 1)
grep -qF "appVersion: \"$version\"" "$chart/Chart.yaml" || die "Chart.yaml's appVersion is not Cargo.toml's $version"
echo "chart: ok"
