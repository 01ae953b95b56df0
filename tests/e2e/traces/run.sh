#!/usr/bin/env bash
# A trace through a client and breakerd, in a collector of OpenTelemetry that is built from its modules: by gRPC and by HTTP, the span
# of breakerd is below the client's, the transition below the call that caused it, and the store below the transition.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../../.."
# shellcheck source=scripts/lib.sh
. scripts/lib.sh

scripts/tools.sh grpcurl jq otelcol
export PATH=$PWD/.tools/bin:$PATH
cargo build --quiet --bin breakerd
target=$(cargo metadata --format-version 1 --no-deps | jq -r .target_directory)
program=$target/debug/breakerd

work=$(mktemp -d "${TMPDIR:-/tmp}/breakerd-traces.XXXXXX")
collector='' server=''
# shellcheck disable=SC2329 # called by the trap
clean_up() {
  for process in $server $collector; do
    kill -KILL "$process" 2>/dev/null || true
  done
  rm -rf "$work"
}
trap clean_up EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

# until_so WHAT CMD...: waits until it is so; only a hang can be the reason that it is not
until_so() {
  local what=$1 waited=0
  shift
  until "$@"; do
    if [ $((waited += 1)) -gt 300 ]; then
      say "not so: $what"
      return 1
    fi
    sleep 0.1
  done
}

free_port() { python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'; }

# start_collector PROTOCOL FOLDER: a collector that logs what it receives over it
start_collector() {
  local protocol=$1 folder=$2
  cat >"$folder/collector.yaml" <<Y
receivers:
  otlp:
    protocols:
      grpc: { endpoint: "127.0.0.1:$grpc_port" }
      http: { endpoint: "127.0.0.1:$http_port" }
exporters:
  debug: { verbosity: detailed, use_internal_logger: false }
service:
  pipelines:
    traces: { receivers: [otlp], exporters: [debug] }
Y
  otelcol --config "$folder/collector.yaml" >"$folder/collected" 2>"$folder/collector.log" &
  collector=$!
  until_so "the collector listens ($protocol)" nc_open "$http_port"
}

nc_open() { (: >"/dev/tcp/127.0.0.1/$1") 2>/dev/null; }

# spans FILE: name, trace, id and parent of each span that the collector logged, a line each
spans() {
  awk '
    /^ *Trace ID *:/ { trace = $NF }
    /^ *Parent ID *:/ { parent = ($NF == ":" ? "-" : $NF) }
    /^ *ID *:/ { id = $NF }
    /^ *Name *:/ { name = $0; sub(/^ *Name *: */, "", name); printf "%s\t%s\t%s\t%s\n", name, trace, id, parent }
  ' "$1"
}

# span NAME: the id of the newest span of that name in the trace, and its parent
span() { spans "$folder/collected" | awk -F '\t' -v name="$1" -v trace="$trace" '$1 == name && $2 == trace { found = $3 " " $4 } END { print found }'; }
has_span() { [ -n "$(span "$1")" ]; }

call() { # call METHOD JSON HEADER...
  local method=$1 json=$2
  shift 2
  grpcurl -plaintext "$@" -d "$json" "$address" "breakerd.v1.BreakerService/$method"
}

# try PROTOCOL PORT: nothing when all is well, else what is not
try() {
  local protocol=$1
  folder=$work/${protocol%%/*}
  mkdir -p "$folder"
  grpc_port=$(free_port) http_port=$(free_port)
  start_collector "$protocol" "$folder" || { tail -n 3 "$folder/collector.log"; return; }
  local port=$grpc_port
  [ "$protocol" = grpc ] || port=$http_port
  : >"$folder/log"
  env -i HOME="$folder" OTEL_EXPORTER_OTLP_ENDPOINT="http://127.0.0.1:$port" OTEL_EXPORTER_OTLP_PROTOCOL="$protocol" \
    OTEL_RESOURCE_ATTRIBUTES=deployment.environment.name=test BREAKERD_TRACING_SAMPLE_RATIO=0 BREAKERD_REPLICA=one \
    "$program" serve --data-dir "$folder/data" --grpc-listen 127.0.0.1:0 --http-listen 127.0.0.1:0 --log-format json \
    --config /dev/null >"$folder/log" 2>&1 &
  server=$!
  until_so "breakerd is ready" grep -q '"message":"ready"' "$folder/log" || { tail -n 3 "$folder/log"; return; }
  address=$(jq -r 'select(.message == "starting") | .grpc' "$folder/log")

  # The client: its span is sent to the same collector, and its traceparent to breakerd.
  trace=$(openssl rand -hex 16)
  local client permit outcome
  client=$(openssl rand -hex 8)
  curl --silent --fail --output /dev/null -H 'content-type: application/json' "http://127.0.0.1:$http_port/v1/traces" -d '{"resourceSpans": [{
    "resource": {"attributes": [{"key": "service.name", "value": {"stringValue": "shop"}}]},
    "scopeSpans": [{"spans": [{"traceId": "'"$trace"'", "spanId": "'"$client"'", "name": "checkout", "kind": 3,
      "startTimeUnixNano": "'"$(date +%s)"'000000000", "endTimeUnixNano": "'"$(date +%s)"'900000000"}]}]}]}'
  local sampled=(-H "traceparent: 00-$trace-$client-01")
  call AllowRequest '{"service": "payments"}' "${sampled[@]}" >"$folder/allowed"
  for _ in 1 2 3 4 5; do
    permit=$(call AllowRequest '{"service": "payments"}' | jq -r .permit)
    outcome=$(jq -n --arg permit "$permit" '{permit: $permit, outcome: "OUTCOME_FAILURE"}')
    call RecordOutcome "$outcome" "${sampled[@]}" >"$folder/recorded"
  done
  call AllowRequest '{"service": "payments"}' "${sampled[@]}" >"$folder/rejected"
  until_so "all spans are there" has_span 'store propose' || { echo "spans are missing: $(spans "$folder/collected" | tr '\n\t' ';,')"; return; }

  local of_call of_transition of_store
  [ -n "$(span checkout)" ] || { echo "the client's span is not in the collector"; return; }
  for name in AllowRequest RecordOutcome; do
    of_call=$(span "breakerd.v1.BreakerService/$name")
    [ "${of_call#* }" = "$client" ] || { echo "$name is below ${of_call#* }, and not below the client's $client"; return; }
  done
  of_transition=$(span 'transition to OPEN')
  [ "${of_transition#* }" = "${of_call%% *}" ] || { echo "the transition is below ${of_transition#* }, and not below ${of_call%% *}"; return; }
  of_store=$(span 'store propose')
  [ "${of_store#* }" = "${of_transition%% *}" ] || { echo "the store is below ${of_store#* }, and not below ${of_transition%% *}"; return; }
  for attribute in 'service.name: Str(breakerd)' 'service.instance.id: Str(one)' 'deployment.environment.name: Str(test)' \
    'rpc.system.name: Str(grpc)' 'breakerd.allowed: Bool(true)' 'breakerd.allowed: Bool(false)' 'breakerd.state: Str(OPEN)' \
    'breakerd.reason: Str(OPEN)'; do
    grep -qF -- "$attribute" "$folder/collected" || { echo "the collector has no $attribute"; return; }
  done
  jq -es --arg trace "$trace" --arg span "${of_transition%% *}" 'any(.[]; .message == "circuit opened" and .trace_id == $trace and .span_id == $span)' \
    "$folder/log" >/dev/null || { echo "the log's line of the transition does not name its span: $(grep 'circuit opened' "$folder/log")"; return; }
  kill -TERM "$server"
  wait "$server" || echo "breakerd ended with exit code $?"
  server=''
  kill -TERM "$collector"
  wait "$collector" || true
  collector=''
}

bad=no
for protocol in grpc http/protobuf; do
  try "$protocol" >"$work/problem"
  problem=$(cat "$work/problem")
  if [ -z "$problem" ]; then
    echo "ok - traces: a client's trace goes on in breakerd, by $protocol"
  else
    echo "not ok - traces: a client's trace goes on in breakerd, by $protocol: $problem"
    bad=yes
  fi
  for process in $server $collector; do
    kill -KILL "$process" 2>/dev/null || true
    wait "$process" 2>/dev/null || true
  done
  server='' collector=''
done
[ "$bad" = no ]
