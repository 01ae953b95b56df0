# Alerts about what one breakerd has for itself, or what its clients do to it: its disk, its SQLite file, its tokens and certificate, its
# limits. For run.sh, which has the functions that ask Prometheus: source this, do not run it.
# shellcheck shell=bash
# shellcheck disable=SC2154 # run.sh sets work, program, processes, grpc

# start_one: a breakerd with TLS and tokens on SQLite, with small limits. Nothing is wrong with it yet.
start_one() {
  mkdir "$work/one"
  openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 90 -subj "/CN=CA of the test" \
    -keyout "$work/one/ca.key" -out "$work/one/ca.crt" 2>/dev/null
  openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj "/CN=breakerd" -keyout "$work/one/tls.key" -out "$work/one/tls.csr" 2>/dev/null
  printf 'subjectAltName=DNS:localhost' >"$work/one/tls.ext"
  certificate_of_one 60
  "$program" token new --name test --role admin --role caller --append "$work/one/tokens.toml" >"$work/one/token" 2>/dev/null
  # A breaker half-opens by itself, and opens again by itself after a probe: callers that go on make as many transitions as they like.
  cat >"$work/one/breakerd.toml" <<T
[circuit_breaker]
failure_threshold = 1
wait_duration_in_open_state = "1ms"
max_wait_duration_in_half_open_state = "1ms"
[grpc]
write_timeout = "1s"
[http]
tls = false
[auth]
tokens_file = "$work/one/tokens.toml"
[tls]
certificate = "$work/one/tls.crt"
key = "$work/one/tls.key"
[journal]
bytes_max = "1MiB"
[limits]
breakers_max = 60
breakers_per_service_max = 60
breakers_per_caller_max = 60
T
  serve_one 0 0
  jq -n '{requests: [range(52) | {service: "many", name: "dependency-\(.)"}]}' >"$work/one/calls"
  jq '.requests[].outcome = "OUTCOME_FAILURE"' "$work/one/calls" >"$work/one/failures"
}

# serve_one GRPC HTTP: runs it on these ports
serve_one() {
  # Its log is a pipe, as it is to be left without files that can be written. A program that ignores this signal gets an error instead.
  (
    unset DATABASE_URL
    trap '' XFSZ
    exec "$program" serve --config "$work/one/breakerd.toml" --data-dir "$work/one/data" --grpc-listen "127.0.0.1:$1" --http-listen "127.0.0.1:$2" \
      --log-format json > >(exec cat >"$work/one/log") 2>&1
  ) &
  one=$!
  processes+=("$one")
  eventually ready one || { tail -n 5 "$work/one/log" >&2; die "the breakerd on SQLite is not ready"; }
  one_grpc=localhost:$(port one grpc)
}

# certificate_of_one DAYS: its certificate, valid for so long
certificate_of_one() {
  openssl x509 -req -in "$work/one/tls.csr" -CA "$work/one/ca.crt" -CAkey "$work/one/ca.key" -CAcreateserial -days "$1" \
    -extfile "$work/one/tls.ext" -out "$work/one/tls.new" 2>/dev/null
  mv "$work/one/tls.new" "$work/one/tls.crt"
}

# of_one ARGS...: the command line against it
of_one() { "$program" "$@" --address "https://$one_grpc" --ca "$work/one/ca.crt" --token-file "$work/one/token"; }

# call_one METHOD [ARGS...]: a method of its API; the request is read
call_one() {
  local method=$1
  shift
  grpcurl -cacert "$work/one/ca.crt" -H "authorization: Bearer $(cat "$work/one/token")" "$@" -d @ "$one_grpc" "breakerd.v1.$method"
}

# while_there FILE COMMAND...: again and again, in the background, while the file is there. A command that fails is no end.
while_there() {
  local file=$1
  shift
  touch "$file"
  while [ -e "$file" ]; do "$@" || sleep 0.1; done >/dev/null 2>&1 &
  processes+=($!)
}

# A client whose windows are shut: it takes no message of a watch, and watches again when its stream is reset.
deaf_watcher() {
  python3 - "$work/one/ca.crt" "$work/one/token" "${one_grpc##*:}" <<'P'
import socket, ssl, struct, sys
ca, token, port = sys.argv[1], open(sys.argv[2]).read().strip(), int(sys.argv[3])
tls = ssl.create_default_context(cafile=ca)
tls.set_alpn_protocols(["h2"])
text = lambda text: bytes([len(text)]) + text.encode()
frame = lambda kind, flags, stream, body: struct.pack(">I", len(body))[1:] + struct.pack(">BBI", kind, flags, stream) + body
headers = {":method": "POST", ":scheme": "https", ":path": "/breakerd.v1.BreakerService/WatchBreakers", ":authority": "localhost",
           "content-type": "application/grpc", "te": "trailers", "authorization": "Bearer " + token}
SETTINGS, HEADERS, DATA, RESET, WINDOW_OF_A_STREAM = 4, 1, 0, 3, 4
with tls.wrap_socket(socket.create_connection(("localhost", port), timeout=10), server_hostname="localhost") as stream:
    stream.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + frame(SETTINGS, 0, 0, struct.pack(">HI", WINDOW_OF_A_STREAM, 0))
                   + frame(HEADERS, 4, 1, b"".join(b"\0" + text(name) + text(value) for name, value in headers.items()))
                   + frame(DATA, 1, 1, bytes(5)))
    answers = stream.makefile("rb")
    while head := answers.read(9):
        answers.read(int.from_bytes(head[:3], "big"))
        if head[3] == RESET:
            break
P
}

# A watcher that resumes after a change of another store.
lost_watcher() { jq -n --arg token "$token_of_another" '{resume_token: $token}' | call_one OperationsService/WatchTransitions -max-time 1; }

callers_of_one() { call_one BreakerService/AllowRequests <"$work/one/calls"; }

stranger() { "$program" ls --address "https://$one_grpc" --ca "$work/one/ca.crt"; }

# Another program has the SQLite file for itself, while there is a file.
hold_the_store() {
  touch "$work/one/store-is-held"
  python3 - "$work/one/data/breakerd.db" "$work/one/store-is-held" <<'P' &
import os, sqlite3, sys, time
store = sqlite3.connect(sys.argv[1], timeout=60, isolation_level=None)
store.execute("BEGIN IMMEDIATE")
while os.path.exists(sys.argv[2]):
    time.sleep(0.1)
P
  processes+=($!)
}

alerts_of_one() {
  # Its files.
  cp "$work/one/tokens.toml" "$work/one/tokens.good"
  printf '[[token]]\nname = 1\n' >>"$work/one/tokens.toml"
  certificate_of_one 2
  said 'alerts: BreakerdAccessFilesRefused fires on a tokens file that is wrong' fires BreakerdAccessFilesRefused
  said 'alerts: BreakerdCertificateExpires fires on a certificate that ends in two days' fires BreakerdCertificateExpires
  cp "$work/one/tokens.good" "$work/one/tokens.toml"
  certificate_of_one 60
  said 'alerts: BreakerdAccessFilesRefused resolves with a tokens file that is right' is_silent BreakerdAccessFilesRefused
  said 'alerts: BreakerdCertificateExpires resolves with a new certificate' is_silent BreakerdCertificateExpires
  echo 'no certificate' >"$work/one/tls.crt"

  # Its clients, and its limits: 52 of 60 breakers.
  token_of_another=$(grpcurl -plaintext -max-time 1 "${grpc[0]}" breakerd.v1.OperationsService/WatchTransitions 2>/dev/null |
    jq -rn '[inputs.resumeToken // empty] | last') || true
  while_there "$work/one/has-deaf-watcher" deaf_watcher
  while_there "$work/one/has-lost-watcher" lost_watcher
  while_there "$work/one/has-stranger" stranger
  call_one BreakerService/RecordOutcomes <"$work/one/failures" >/dev/null
  said 'alerts: BreakerdAccessFilesRefused fires on a certificate that is none' fires BreakerdAccessFilesRefused
  certificate_of_one 60
  said 'alerts: CircuitBreakersOpen fires on dozens that fail together' fires CircuitBreakersOpen 'namespace="staging"'
  said 'alerts: BreakerdBreakersNearLimit fires on 52 of 60 breakers' fires BreakerdBreakersNearLimit
  said 'alerts: BreakerdRefusesClients fires on a client without a token' fires BreakerdRefusesClients 'reason="unauthenticated"'
  said 'alerts: BreakerdWatchersResync fires on a watcher that is from another store' fires BreakerdWatchersResync 'method="WatchTransitions"'
  said 'alerts: BreakerdWatchersDropped fires on a watcher that does not read' fires BreakerdWatchersDropped
  said 'alerts: a watcher that does not read is no client that is refused' has_no_series 'ALERTS{alertname="BreakerdRefusesClients", reason="stalled"}'
  said 'alerts: nothing fires about the other installation' has_no_series 'ALERTS{alertname=~"CircuitBreakersOpen|Breakerd.*", namespace="production", alertstate="firing"}'
  rm "$work/one"/has-*

  # Its journal: the store takes nothing, while callers go on.
  hold_the_store
  while_there "$work/one/is-called" callers_of_one
  said 'alerts: BreakerdJournalFull fires while the store takes nothing and transitions go on' fires BreakerdJournalFull
  said 'alerts: BreakerdHistoryLost fires once the journal is at its limit' fires BreakerdHistoryLost
  rm "$work/one/store-is-held" "$work/one/is-called"
  said 'alerts: BreakerdJournalFull resolves once the store takes them' is_silent BreakerdJournalFull

  # Its disk: no file of it may be longer than nothing.
  prlimit --pid "$one" --fsize=0:
  callers_of_one >/dev/null
  said 'alerts: BreakerdJournalFails fires while no file can be written' fires BreakerdJournalFails
  prlimit --pid "$one" --fsize=unlimited:

  # An operator closes them all.
  of_one override set many disabled --service-wide --reason test >/dev/null
  of_one override clear many --service-wide --reason test >/dev/null
  said 'alerts: CircuitBreakersOpen resolves once they are closed' is_silent CircuitBreakersOpen
  for alert in BreakerdJournalFails BreakerdHistoryLost; do
    said "alerts: $alert resolves once nothing is lost any more" is_silent "$alert"
  done
  for alert in BreakerdRefusesClients BreakerdWatchersResync BreakerdWatchersDropped; do
    said "alerts: $alert resolves without that client" is_silent "$alert"
  done
  kill "$one"
  wait "$one" || die "the breakerd on SQLite did not end well: $(tail -n 3 "$work/one/log")"
  BREAKERD_LIMITS_BREAKERS_MAX=100 serve_one "${one_grpc##*:}" "$(port one http)"
  said 'alerts: BreakerdBreakersNearLimit resolves with a higher limit' is_silent BreakerdBreakersNearLimit
  said 'alerts: BreakerdRestarts is silent about one restart' is_silent BreakerdRestarts
  local restarts=1

  # Something ends it again and again, and it is started again where it was.
  for _ in 1 2 3 4; do
    # Starts are told in whole seconds.
    eventually has_series 'time() - process_start_time_seconds{namespace="staging"} > 2' || die 'Prometheus does not see when breakerd started'
    kill -KILL "$one"
    { wait "$one" || true; } 2>/dev/null
    serve_one "${one_grpc##*:}" "$(port one http)"
    eventually has_series "changes(process_start_time_seconds{namespace=\"staging\"}[1h]) >= $((++restarts))" || die 'Prometheus does not see a restart'
  done
  said 'alerts: BreakerdRestarts fires on one that is killed four times' fires BreakerdRestarts 'namespace="staging"'
  said 'alerts: BreakerdRestarts is silent about replicas that go on' is_silent BreakerdRestarts 'namespace="production"'
  # BreakerdTaskFails: no file, client, disk or store ends a task that is started again, so only promtool sees it fire. The counter of another
  # task ends with the process.
}
