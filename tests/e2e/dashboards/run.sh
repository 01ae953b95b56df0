#!/usr/bin/env bash
# Dashboards and alerts in a real Prometheus: it scrapes three replicas on one Postgres whose callers' dependencies are dead, flapping, slow and
# well. Every query of every panel returns a series; the alerts fire for what is dead, flapping or forced open, are silent about what is well,
# and resolve once the dependency is back. So do those about breakerd, while its database, its file, or the target of its webhooks is in trouble,
# and on a fourth breakerd, on SQLite, those about its disk, its clients, its certificate and its limits (alerts_of_one.sh). The stories that
# promtool is told have the series of these four (stories.py). The dashboards agree with Grafana's types. Sampled calls are exemplars in Prometheus.
# The three replicas are the installation "production" and the fourth breakerd is "staging": the job is the same, and only the namespace tells them
# apart. Beside the alerts as they are, Prometheus has those that the chart renders for each of the two.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../../.."
# shellcheck source=scripts/lib.sh
. scripts/lib.sh
# shellcheck source=tests/e2e/dashboards/alerts_of_one.sh
. tests/e2e/dashboards/alerts_of_one.sh

if ! have prlimit || ! have openssl; then
  if [ "${CI:-}" = true ]; then die "prlimit (util-linux) or openssl is missing"; fi
  printf 'skip - dashboards: prlimit (util-linux) or openssl is missing\n'
  exit 0
fi
scripts/tools.sh grpcurl jq prometheus helm
export PATH=$PWD/.tools/bin:$PATH
if [ -z "${BREAKERD_TEST_POSTGRES_URL:-}" ]; then
  exec scripts/with-postgres.sh "$0"
fi
if scripts/dashboards.sh --check; then
  echo 'ok - dashboards: they agree with the types of Grafana, and are what dashboards/src says'
else
  echo "not ok - dashboards: they agree with the types of Grafana, and are what dashboards/src says: see above"
fi
cargo build --quiet --bin breakerd
program=$(cargo metadata --format-version 1 --no-deps | jq -r .target_directory)/debug/breakerd

work=$(mktemp -d "${TMPDIR:-/tmp}/breakerd-dashboards.XXXXXX")
processes=()
# shellcheck disable=SC2329 # called by the trap
clean_up() {
  local process
  for process in "${processes[@]}"; do kill -KILL "$process" 2>/dev/null || true; done
  wait 2>/dev/null
  rm -rf "$work"
}
trap clean_up EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

# eventually COMMAND...: until it succeeds, for two minutes at most
eventually() {
  local end=$((SECONDS + 120))
  until "$@"; do
    [ $SECONDS -lt $end ] || return 1
    sleep 0.2
  done
}

# said NAME COMMAND...: whether it succeeds in the end. If an alert does not fire, or not end, what it asks for is shown.
said() {
  local name=$1
  shift
  if eventually "$@"; then
    echo "ok - $name"
  else
    echo "not ok - $name: still not so after two minutes"
    case $1 in fires | is_silent) python3 tests/e2e/dashboards/seen.py "http://$prometheus" "$work/alerts.yaml" "$2" 120 || true ;; esac
  fi
}

# The service, three times.
database=dashboards_$RANDOM$RANDOM
psql "$BREAKERD_TEST_POSTGRES_URL" -qc "CREATE DATABASE $database"
export DATABASE_URL=${BREAKERD_TEST_POSTGRES_URL%/*}/$database
cat >"$work/breakerd.toml" <<'T'
[circuit_breaker]
failure_threshold = 4
success_threshold = 1
timeout_seconds = 1
failure_rate_threshold = 60
failure_count_threshold = 50
slow_call_rate_threshold = 90
slow_call_duration_threshold = "1s"
minimum_number_of_calls = 10
half_open_permit_timeout = "2s"
T
# A target of webhooks that accepts everything, but while there is a file.
python3 - "$work/receiver" "$work/receiver-is-busy" <<'P' &
import http.server, os, sys
class Receiver(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        self.rfile.read(int(self.headers["content-length"]))
        self.send_response(503 if os.path.exists(sys.argv[2]) else 204)
        self.end_headers()
    def log_message(self, *_):
        pass
server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Receiver)
with open(sys.argv[1], "w") as port:
    port.write(f"{server.server_address[1]}\n")
server.serve_forever()
P
processes+=($!)
eventually grep -q . "$work/receiver" 2>/dev/null || die 'the receiver of the webhooks does not start'
cat >>"$work/breakerd.toml" <<T
[[notify]]
name = "chat"
url = "http://127.0.0.1:$(cat "$work/receiver")/"
T
# Every call is sampled. Nobody listens where the spans go: what counts is what /metrics says of them.
cat >>"$work/breakerd.toml" <<'T'
[tracing]
endpoint = "http://127.0.0.1:1"
sample_ratio = 1
T
grpc=() http=() replicas=()
for replica in 0 1 2; do
  mkdir "$work/$replica"
  BREAKERD_REPLICA=breakerd-$replica "$program" serve --config "$work/breakerd.toml" --data-dir "$work/$replica/data" --grpc-listen 127.0.0.1:0 \
    --http-listen 127.0.0.1:0 --log-format json >"$work/$replica/log" 2>&1 &
  processes+=($!)
  replicas+=($!)
done
port() { jq -r --arg of "$2" 'select(.message == "starting") | .[$of] | sub(".*:"; "")' "$work/$1/log" 2>/dev/null | grep .; }
ready() { curl --silent --fail --output /dev/null "http://127.0.0.1:$(port "$1" http)/readyz"; }
for replica in 0 1 2; do
  eventually ready "$replica" || { tail -n 5 "$work/$replica/log" >&2; die "replica $replica is not ready"; }
  grpc+=("127.0.0.1:$(port "$replica" grpc)")
  http+=("127.0.0.1:$(port "$replica" http)")
done

start_one

# The Prometheus, with the alerts in a hurry: what they wait for is tried by promtool, with a clock of its own. Minutes that they look back are
# seconds, and a lag of a minute is one of two seconds. Those that are about an hour stay, as what they ask for is there within seconds.
sed -E 's/^( +for:) .*/\1 3s/; s/interval: 30s/interval: 1s/; s/\[[0-9]+m\]/[20s]/g; s/(lag_seconds) > [0-9]+/\1 > 2/g' \
  helm/breakerd/files/alerts.yaml >"$work/alerts.yaml"
# Those of the chart wait as long, and carry the name of their release.
cp -R helm/breakerd "$work/chart"
cp "$work/alerts.yaml" "$work/chart/files/alerts.yaml"
for namespace in production staging; do
  helm template breakerd "$work/chart" --namespace "$namespace" --kube-version 1.34.0 --show-only templates/prometheusrule.yaml \
    --set "prometheusRule.enabled=true,serviceMonitor.enabled=true,prometheusRule.alertLabels.release=$namespace" |
    sed '1,/^spec:/d; s/^  //' >"$work/alerts-$namespace.yaml"
  promtool check rules "$work/alerts-$namespace.yaml" >/dev/null || die "the chart renders rules for $namespace that promtool refuses"
done
cat >"$work/prometheus.yml" <<Y
global: { scrape_interval: 1s, evaluation_interval: 1s }
rule_files: [alerts.yaml, alerts-production.yaml, alerts-staging.yaml]
scrape_configs:
  - job_name: production
    honor_labels: true
    static_configs: [{ targets: [$(IFS=,; echo "${http[*]}")], labels: { job: breakerd, namespace: production } }]
  - job_name: staging
    authorization: { credentials_file: one/token }
    static_configs: [{ targets: ["127.0.0.1:$(port one http)"], labels: { job: breakerd, namespace: staging } }]
Y
prometheus=127.0.0.1:$(python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
prometheus --config.file="$work/prometheus.yml" --storage.tsdb.path="$work/tsdb" --web.listen-address="$prometheus" \
  --storage.tsdb.retention.time=1d --enable-feature=exemplar-storage >"$work/prometheus.log" 2>&1 &
processes+=($!)
eventually curl --silent --fail --output /dev/null "http://$prometheus/-/ready" || { tail -n 5 "$work/prometheus.log" >&2; die "Prometheus is not ready"; }
ask() { curl --silent --get "http://$prometheus/api/v1/query" --data-urlencode "query=$1"; }
has_series() { ask "$1" | jq -e '.data.result | length > 0' >/dev/null; }
exemplars() {
  curl --silent --get "http://$prometheus/api/v1/query_exemplars" --data-urlencode "query=$1" --data-urlencode "start=$(($(date +%s) - 600))" \
    --data-urlencode "end=$(($(date +%s) + 60))"
}
has_no_series() { ask "$1" | jq -e '.data.result | length == 0' >/dev/null; }

# of_chart ALERT: the chart's rules have fired as those of the file, each for its own release and once
of_chart() {
  local firing="ALERTS{alertname=\"$1\", alertstate=\"firing\""
  has_series "$firing, release!=\"\"}" &&
    has_no_series "$firing, release=\"\"} unless ignoring (release) $firing, release!=\"\"}" &&
    has_no_series "$firing, release=\"production\", namespace!=\"production\"}" &&
    has_no_series "$firing, release=\"staging\", namespace!=\"staging\"}"
}

# fires ALERT [LABELS], is_silent ALERT [LABELS]
# shellcheck disable=SC2329 # called by said
fires() { has_series "ALERTS{alertname=\"$1\", alertstate=\"firing\"${2:+, $2}}" && of_chart "$1"; }
# shellcheck disable=SC2329 # called by said
is_silent() { has_no_series "ALERTS{alertname=\"$1\"${2:+, $2}}"; }

# The callers, through any replica.
touch "$work/payments-are-dead" "$work/probes-are-lost" "$work/forced-is-called-often"
jq -n '{requests: [range(500) | {service: "shop", name: "forced"}]}' >"$work/500-calls"
callers() {
  local round=0 address permit
  # A call that is rejected, or fails, is no end.
  set +e
  while :; do
    round=$((round + 1))
    address=${grpc[$((round % 3))]}
    if [ -e "$work/payments-are-dead" ]; then
      "$program" run shop/payments --address "$address" -- false
    else
      "$program" run shop/payments --address "$address" -- true
    fi
    "$program" run shop/search --address "$address" -- true
    "$program" record shop/search ignored --address "$address"
    "$program" record shop/maps success --duration $((round % 2 * 3))s --address "$address"
    # It recovers for the probe, and fails under what follows.
    if permit=$("$program" allow shop/mail --json --address "$address" | jq -r '.permit // empty') && [ -n "$permit" ]; then
      "$program" record --permit "$permit" success --address "$address"
      for _ in 1 2 3 4; do "$program" record shop/mail failure --address "$address"; done
      # Once more, and too late: the breaker has opened since.
      "$program" record --permit "$permit" success --address "$address"
    fi
    # Who gets a probe of it says no more.
    if [ -e "$work/probes-are-lost" ]; then
      "$program" allow shop/lost --address "$address"
    else
      "$program" run shop/lost --address "$address" -- true
    fi
    "$program" run shop/forced --address "$address" -- true
    if [ -e "$work/forced-is-called-often" ]; then
      grpcurl -plaintext -d @ "$address" breakerd.v1.BreakerService/AllowRequests <"$work/500-calls"
    fi
    "$program" run shop/observed --address "$address" -- false
    "$program" get shop/unknown --address "$address"
  done >/dev/null 2>&1
}
"$program" override set shop/forced forced-open --create --reason test --address "${grpc[0]}" >/dev/null
"$program" override set shop/observed metrics-only --create --reason test --address "${grpc[0]}" >/dev/null
"$program" watch --address "${grpc[1]}" >/dev/null 2>&1 &
processes+=($!)
for _ in 1 2 3 4; do "$program" record shop/lost failure --address "${grpc[0]}" >/dev/null; done
callers &
processes+=($!)

said 'alerts: CircuitBreakerOpen fires on a dependency that stays dead' \
  fires CircuitBreakerOpen 'name="payments", namespace="production"'
said 'alerts: CircuitBreakerFlapping fires on one that recovers for its probes only' \
  fires CircuitBreakerFlapping 'name="mail", namespace="production"'
said 'alerts: CircuitBreakerForcedOpen fires on what an operator left open' \
  fires CircuitBreakerForcedOpen 'name="forced", namespace="production"'
said 'alerts: CircuitBreakerSwitchedOff fires on what is observed only' \
  fires CircuitBreakerSwitchedOff 'name="observed", namespace="production"'
said 'alerts: CircuitBreakerHighRejectionRate fires on one that rejects hundreds of calls a second' fires CircuitBreakerHighRejectionRate 'name="forced", namespace="production"'
said 'alerts: CircuitBreakerProbesMissing fires on one whose probes are not reported' fires CircuitBreakerProbesMissing 'name="lost", namespace="production"'
said 'alerts: nothing fires about the installation that is well' has_no_series 'ALERTS{namespace="staging", alertstate="firing"}'
said 'alerts: nothing fires about what is well' has_no_series 'ALERTS{name=~"search|maps"}'
said 'alerts: nothing fires about breakerd, or about many breakers' has_no_series 'ALERTS{alertname=~"Breakerd.*|CircuitBreakersOpen", alertstate="firing"}'

# Every panel, with Grafana's variables filled in.
for dashboard in helm/breakerd/files/dashboards/*.json; do
  while IFS=$'\t' read -r title query; do
    # shellcheck disable=SC2016 # Grafana's variables
    query=$(sed 's/\$cluster//g; s/\$job/breakerd/g; s/\$service/.*/g; s/"\$name"/".*"/g; s/\$instance/.*/g; s/\$__rate_interval/30s/g; s/\$__range/10m/g' \
      <<<"$query")
    # shellcheck disable=SC2016 # Grafana's variables
    said "$(basename "$dashboard" .json): $title: $query" has_series "${query//'$namespace'/production}"
    # shellcheck disable=SC2016 # Grafana's variables
    other=${query//'$namespace'/nowhere}
    said "$(basename "$dashboard" .json): $title: nothing of an installation that is not there" has_no_series "${other% or vector(0)}"
  done < <(jq -r '.panels[] | .title as $title | .targets[]? | [$title, .expr] | @tsv' "$dashboard" | sed 's/\\\\/\\/g')
done

# Exemplars: one of a call whose trace is known, and those that panels ask for. The call is refused without a look into the store, so that it
# fails alike however busy that is.
trace=0af7651916cd43dd8448eb211c80319c
for _ in 1 2 3; do
  refused=$(grpcurl -plaintext -H "traceparent: 00-$trace-b7ad6b7169203331-01" -d '{"service": "no body"}' "${grpc[0]}" \
    breakerd.v1.OperationsService/GetBreaker 2>&1) || true
  [[ $refused == *InvalidArgument* ]] || die "GetBreaker with a wrong name said: $refused"
  sleep 0.1
done
# shellcheck disable=SC2329 # called by said
has_trace() { exemplars "$1" | jq -e --arg trace "$trace" 'any(.data[].exemplars[]; .labels == {trace_id: $trace})' >/dev/null; }
said 'exemplars: Prometheus has the trace of a call with its duration' \
  has_trace 'llm_incident_manager_breakerd_grpc_call_duration_seconds_bucket{method="GetBreaker"}'
said 'exemplars: Prometheus has the trace of a call with its failure' \
  has_trace 'llm_incident_manager_breakerd_grpc_calls_total{method="GetBreaker", code="INVALID_ARGUMENT"}'
# shellcheck disable=SC2329 # called by said
has_exemplars() { exemplars "$1" | jq -e 'any(.data[].exemplars[]; .labels.trace_id | test("^[0-9a-f]{32}$"))' >/dev/null; }
while IFS=$'\t' read -r title query; do
  # shellcheck disable=SC2016 # Grafana's variables
  query=$(sed 's/\$cluster//g; s/\$namespace/production/g; s/\$job/breakerd/g; s/\$instance/.*/g; s/\$__rate_interval/30s/g' <<<"$query")
  said "exemplars: $title" has_exemplars "$query"
done < <(jq -r '.panels[] | .title as $title | .targets[]? | select(.exemplar) | [$title, .expr] | @tsv' helm/breakerd/files/dashboards/*.json | sed 's/\\\\/\\/g')
refuses_none() {
  curl --silent "http://$prometheus/metrics" | awk '/^prometheus_.*exemplar.*out_of_order.*_total / { sum += $2; seen = 1 } END { exit !(seen && sum == 0) }'
}
said 'exemplars: Prometheus refuses none' refuses_none

rules_are_evaluated() {
  curl --silent "http://$prometheus/api/v1/rules" | jq -e '[.data.groups[].rules[]] | length > 60 and all(.health == "ok")' >/dev/null
}
said 'alerts: Prometheus evaluates every one of them' rules_are_evaluated
said 'metrics: Prometheus takes what breakerd sends' has_series 'sum(up) == 4'

# The file that all three read: it is wrong, then it has settings that only a restart takes, then it is as it was.
cp "$work/breakerd.toml" "$work/good.toml"
printf '[circuit_breaker.payments]\nfailure_threshold = -1\n' >>"$work/breakerd.toml"
said 'alerts: BreakerdConfigRefused fires on a file that is wrong' fires BreakerdConfigRefused
{ cat "$work/good.toml"; printf '[grpc]\nin_flight_max = 999\n'; } >"$work/breakerd.toml"
said 'alerts: BreakerdSettingsWaitForRestart fires on a setting that only a restart takes' fires BreakerdSettingsWaitForRestart
said 'alerts: BreakerdConfigRefused resolves with a file that is right' is_silent BreakerdConfigRefused
cp "$work/good.toml" "$work/breakerd.toml"
said 'alerts: BreakerdSettingsWaitForRestart resolves with the file of before' is_silent BreakerdSettingsWaitForRestart

touch "$work/receiver-is-busy"
said 'alerts: BreakerdNotifyFails fires on a target that takes nothing' fires BreakerdNotifyFails 'target="chat"'
rm "$work/receiver-is-busy"
said 'alerts: BreakerdNotifyFails resolves once the target takes them' is_silent BreakerdNotifyFails

# The database lets nobody in, and whoever is in goes.
of_the_store=(BreakerdStoreUnreachable BreakerdStoreNotWritable BreakerdJournalLags BreakerdReplicaAlone BreakerdReplicaBehind)
psql "$BREAKERD_TEST_POSTGRES_URL" -qAtc "ALTER DATABASE $database ALLOW_CONNECTIONS false" \
  -c "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '$database'" >/dev/null
for alert in "${of_the_store[@]}"; do said "alerts: $alert fires while the database is away" fires "$alert"; done
said 'alerts: nothing else fires about breakerd meanwhile' \
  has_no_series "ALERTS{alertname=~\"Breakerd.*\", alertname!~\"$(IFS='|'; echo "${of_the_store[*]}")\", alertstate=\"firing\"}"
psql "$BREAKERD_TEST_POSTGRES_URL" -qc "ALTER DATABASE $database ALLOW_CONNECTIONS true"
for alert in "${of_the_store[@]}"; do said "alerts: $alert resolves once the database is back" is_silent "$alert"; done

rm "$work/payments-are-dead" "$work/probes-are-lost" "$work/forced-is-called-often"
said 'alerts: CircuitBreakerOpen resolves once the dependency is back' \
  is_silent CircuitBreakerOpen 'name="payments"'
said 'alerts: CircuitBreakerProbesMissing resolves once its probes are reported' is_silent CircuitBreakerProbesMissing
said 'alerts: CircuitBreakerHighRejectionRate resolves once few calls come' is_silent CircuitBreakerHighRejectionRate

alerts_of_one
told='alerts: the stories of tests/it/alerts have the series of these breakerds'
if python3 tests/e2e/dashboards/stories.py "http://$prometheus" tests/it/alerts/*.rs; then echo "ok - $told"; else echo "not ok - $told: see above"; fi

# One installation after the other.
kill "$one"
said 'alerts: BreakerdDown fires for the installation without any replica' fires BreakerdDown 'namespace="staging"'
said 'alerts: BreakerdDown is silent about the one that is up' is_silent BreakerdDown 'namespace="production"'
kill "${replicas[0]}"
said 'alerts: Prometheus has lost one replica of three' has_series 'sum(up{namespace="production"}) == 2'
said 'alerts: BreakerdDown is silent about the one that has replicas' is_silent BreakerdDown 'namespace="production"'
kill "${replicas[@]:1}"
said 'alerts: BreakerdDown fires for the other installation' fires BreakerdDown 'namespace="production"'
said 'alerts: BreakerdDown fires once for each' has_series 'count(ALERTS{alertname="BreakerdDown", alertstate="firing", release=""}) == 2'
