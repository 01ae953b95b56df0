#!/usr/bin/env bash
# A trace through a client and breakerd, in a collector of OpenTelemetry that is built from its modules: by gRPC and by HTTP, the span
# of breakerd is below the client's, the transition below the call that caused it, and the store below the transition. And a trace
# through two services (services/, in Python with OpenTelemetry's own SDK), each of which asks breakerd before it calls another.
#
#   tests/e2e/traces/run.sh           all of it
#   tests/e2e/traces/run.sh PART...   only these: client, services
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../../.."
# shellcheck source=scripts/lib.sh
. scripts/lib.sh

[ $# -gt 0 ] || set -- client services
for part in "$@"; do
  case $part in client | services) ;; *) die "no such part: $part" ;; esac
done

scripts/tools.sh grpcurl jq otelcol
export PATH=$PWD/.tools/bin:$PATH
cargo build --quiet --bin breakerd
target=$(cargo metadata --format-version 1 --no-deps | jq -r .target_directory)
program=$target/debug/breakerd

root=$PWD
here=$root/tests/e2e/traces
work=$(mktemp -d "${TMPDIR:-/tmp}/breakerd-traces.XXXXXX")
collector='' server='' services=''
# shellcheck disable=SC2329 # called by the trap
clean_up() {
  for process in $server $collector $services; do
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

# --- Two services

# build_services: their venv and the code of the API, kept in target/e2e/traces so that the next run finds them
build_services() {
  mkdir -p "$target/e2e/traces"
  (
    cd "$target/e2e/traces"
    if ! cmp -s "$here/services/requirements.txt" installed || [ ! -x venv/bin/python ]; then
      rm -rf venv installed
      python3 -m venv venv
      venv/bin/python -m pip install --disable-pip-version-check --quiet -r "$here/services/requirements.txt"
      cp "$here/services/requirements.txt" installed
    fi
    rm -rf gen
    mkdir gen
    venv/bin/python -m grpc_tools.protoc -I "$root/proto" --python_out=gen --grpc_python_out=gen "$root"/proto/breakerd/v1/*.proto
  ) >"$work/build.log" 2>&1
}

# start_service NAME ARGS...: sets port
start_service() {
  local name=$1
  shift
  : >"$folder/$name.out"
  env -i HOME="$folder" PYTHONPATH="$target/e2e/traces/gen" PYTHONDONTWRITEBYTECODE=1 OTEL_SERVICE_NAME="$name" OTEL_BSP_SCHEDULE_DELAY=100 \
    OTEL_EXPORTER_OTLP_ENDPOINT="http://127.0.0.1:$grpc_port" \
    "$target/e2e/traces/venv/bin/python" "$here/services/$name.py" "$@" >"$folder/$name.out" 2>"$folder/$name.log" &
  services="$services $!"
  until_so "$name says its port" grep -q '^[0-9]' "$folder/$name.out" || { tail -n 3 "$folder/$name.log"; return 1; }
  port=$(head -n 1 "$folder/$name.out")
}

# checkout TRACE SAMPLED ORDER: sets answer. SAMPLED is 01 or 00, as the caller's caller says it.
checkout() {
  answer=$(curl --silent --max-time 60 -H "traceparent: 00-$1-b7ad6b7169203331-$2" -d "$3" "http://127.0.0.1:$shop_port/checkout")
}

# tree TRACE: what the collector has of it
tree() { python3 "$here/trace_tree.py" "$folder/collected" "$1"; }

# is_tree TRACE FILE: whether that is what is in the file
is_tree() { tree "$1" | cmp -s - "$2"; }

# has_tree WHAT TRACE: waits until the trace is as stdin says; says what it is instead
has_tree() {
  cat >"$folder/expected"
  until_so "$1" is_tree "$2" "$folder/expected" || {
    echo "$1: $(tree "$2" | diff "$folder/expected" - | grep '^[<>]' | tr '\n' ';')"
    return 1
  }
}

# allowed_spans: how many spans of AllowRequest the collector has
allowed_spans() { grep -c 'Name  *: breakerd.v1.BreakerService/AllowRequest' "$folder/collected" || true; }

# try_services: nothing when all is well, else what is not
try_services() {
  folder=$work/services
  mkdir -p "$folder"
  build_services || { echo "building the services failed: $(tail -n 3 "$work/build.log")"; return; }
  grpc_port=$(free_port) http_port=$(free_port)
  start_collector grpc "$folder" || { tail -n 3 "$folder/collector.log"; return; }
  # An open circuit stays open until we have looked at it.
  printf '[circuit_breaker]\ndefault_timeout_seconds = 3600\n' >"$folder/breakerd.toml"
  : >"$folder/log"
  # What has no caller is sampled, so that it is the caller's word alone that keeps a span away.
  env -i HOME="$folder" OTEL_EXPORTER_OTLP_TRACES_ENDPOINT="http://127.0.0.1:$grpc_port" OTEL_EXPORTER_OTLP_COMPRESSION=gzip \
    OTEL_TRACES_SAMPLER=parentbased_always_on \
    "$program" serve --data-dir "$folder/data" --grpc-listen 127.0.0.1:0 --http-listen 127.0.0.1:0 --log-format json \
    --config "$folder/breakerd.toml" >"$folder/log" 2>&1 &
  server=$!
  until_so "breakerd is ready" grep -q '"message":"ready"' "$folder/log" || { tail -n 3 "$folder/log"; return; }
  address=$(jq -r 'select(.message == "starting") | .grpc' "$folder/log")
  local port
  start_service billing "$address" || return
  start_service shop "$address" "127.0.0.1:$port" || return
  shop_port=$port

  local answer trace i
  trace=$(openssl rand -hex 16)
  checkout "$trace" 01 works
  [ "$answer" = paid ] || { echo "the checkout answered $answer"; return; }
  has_tree "a checkout that works" "$trace" <<'T' || return
shop: POST /checkout
  shop: /breakerd.v1.BreakerService/AllowRequest
    breakerd: breakerd.v1.BreakerService/AllowRequest billing true
  shop: /billing.Billing/Charge
    billing: /billing.Billing/Charge
      billing: /breakerd.v1.BreakerService/AllowRequest
        breakerd: breakerd.v1.BreakerService/AllowRequest bank true
      billing: /breakerd.v1.BreakerService/RecordOutcome
        breakerd: breakerd.v1.BreakerService/RecordOutcome bank SUCCESS
  shop: /breakerd.v1.BreakerService/RecordOutcome
    breakerd: breakerd.v1.BreakerService/RecordOutcome billing SUCCESS
T

  # The fifth failure opens both circuits: each transition is below the report that caused it.
  for i in 1 2 3 4 5; do
    trace=$(openssl rand -hex 16)
    checkout "$trace" 01 fails
    [ "$answer" = "ConnectionError('no bank')" ] || { echo "checkout $i that fails answered $answer"; return; }
  done
  has_tree "a checkout that opens the circuits" "$trace" <<'T' || return
shop: POST /checkout
  shop: /breakerd.v1.BreakerService/AllowRequest
    breakerd: breakerd.v1.BreakerService/AllowRequest billing true
  shop: /billing.Billing/Charge
    billing: /billing.Billing/Charge
      billing: /breakerd.v1.BreakerService/AllowRequest
        breakerd: breakerd.v1.BreakerService/AllowRequest bank true
      billing: /breakerd.v1.BreakerService/RecordOutcome
        breakerd: breakerd.v1.BreakerService/RecordOutcome bank FAILURE
          breakerd: transition to OPEN bank OPEN
  shop: /breakerd.v1.BreakerService/RecordOutcome
    breakerd: breakerd.v1.BreakerService/RecordOutcome billing FAILURE
      breakerd: transition to OPEN billing OPEN
T

  # Denied: there is no call of the second service.
  trace=$(openssl rand -hex 16)
  checkout "$trace" 01 works
  [ "$answer" = denied ] || { echo "the checkout with an open circuit answered $answer"; return; }
  has_tree "a checkout that is denied" "$trace" <<'T' || return
shop: POST /checkout
  shop: /breakerd.v1.BreakerService/AllowRequest
    breakerd: breakerd.v1.BreakerService/AllowRequest billing false
T
  cp "$folder/expected" "$folder/denied"

  # Who does not sample: nobody has a span of it. The one behind it, which is sampled, shows that there was time for one.
  local before unsampled
  before=$(allowed_spans) unsampled=$(openssl rand -hex 16) trace=$(openssl rand -hex 16)
  checkout "$unsampled" 00 works
  [ "$answer" = denied ] || { echo "the checkout that is not sampled answered $answer"; return; }
  checkout "$trace" 01 works
  has_tree "a checkout behind one that is not sampled" "$trace" <"$folder/denied" || return
  [ -z "$(tree "$unsampled")" ] || { echo "a trace that its caller did not sample has spans: $(tree "$unsampled" | tr '\n' ';')"; return; }
  [ "$(allowed_spans)" = $((before + 1)) ] || { echo "breakerd has $(allowed_spans) spans of AllowRequest, and $before before"; return; }
  local process
  for process in $services; do
    kill -TERM "$process"
    wait "$process" || echo "a service ended with exit code $?: $(tail -n 3 "$folder"/*.log)"
  done
  services=''
  kill -TERM "$server"
  wait "$server" || echo "breakerd ended with exit code $?"
  server=''
}

bad=no
# check WHAT CMD...: says what became of it, and ends what it left running
check() {
  local what=$1 problem process
  shift
  "$@" >"$work/problem"
  problem=$(cat "$work/problem")
  if [ -z "$problem" ]; then
    echo "ok - traces: $what"
  else
    echo "not ok - traces: $what: $problem"
    bad=yes
  fi
  for process in $server $collector $services; do
    kill -KILL "$process" 2>/dev/null || true
    wait "$process" 2>/dev/null || true
  done
  server='' collector='' services=''
}

for part in "$@"; do
  case $part in
    client)
      for protocol in grpc http/protobuf; do
        check "a client's trace goes on in breakerd, by $protocol" try "$protocol"
      done
      ;;
    services) check "a trace through two services has what breakerd decided for each" try_services ;;
  esac
done
[ "$bad" = no ]
