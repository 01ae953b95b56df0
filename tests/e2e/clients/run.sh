#!/usr/bin/env bash
# The programs of docs/clients.md, taken out of the document, compiled, and run against a real breakerd.
#
#   tests/e2e/clients/run.sh              every language
#   tests/e2e/clients/run.sh LANGUAGE...  only these: python, go, node, java, rust
#
# tests/e2e/clients/LANGUAGE/ holds what a project of that language needs beside the document: the versions of what it
# depends on, and a program that puts the document's Guard to the test. That program says "ok - NAME" and "not ok - NAME: WHY"
# of what a caller sees; afterwards breakerd itself is asked what it counted. The projects are put together in
# target/e2e/LANGUAGE and kept there, so that the next run finds what it depends on.
#
# Two things of the document are replaced: the port, by one that is free, and the 50 ms, by $deadline_ms. A machine that is
# busy compiling may well be silent for 50 ms: breakerd would then, rightly, hear nothing, and count nothing.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../../.."
# shellcheck source=scripts/lib.sh
. scripts/lib.sh

root=$PWD
here=$root/tests/e2e/clients
deadline_ms=3000
breakerd=$root/target/debug/breakerd

ok() { printf 'ok - %s\n' "$1"; }
failed=no
not_ok() {
  printf 'not ok - %s: %s\n' "$1" "$2"
  failed=yes
}

# has LANGUAGE PROGRAM INSTALL: whether the program is there. Without it the language is skipped, but in CI, where every
# language has to run.
has() {
  ! have "$2" || return 0
  if [ "${CI:-}" = true ]; then
    not_ok "$1" "$2 is missing: install $3"
  else
    printf 'skip - %s: %s is missing: install %s\n' "$1" "$2" "$3"
  fi
  return 1
}

# --- The document

# block FENCE SECTION [N]: the Nth code block of that kind below the heading "## SECTION" of the document
block() {
  awk -v fence="\`\`\`$1" -v heading="## $2" -v wanted="${3:-1}" '
    inside && $0 == "```" { found = 1; exit }
    inside { print; next }
    /^```./ { if (here && $0 == fence && ++seen == wanted) inside = 1; else other = 1; next }
    /^```$/ { other = 0; next }
    !other && /^## / { here = $0 == heading }
    END { exit !found }
  ' "${4:-$root/docs/clients.md}" || die "the document has no block $1 below \"$2\" (the number ${3:-1})"
}

# addressed PORT: stdin with the port in place of the document's
addressed() { sed "s/localhost:50051/localhost:$1/"; }

# program FENCE SECTION [N]: a client of the document, with our port and deadline
program() {
  local text changed
  text=$(block "$@" | addressed "$port")
  changed=$(sed -E "s/^(SECONDS_MAX = )0\.05 /\1$((deadline_ms / 1000)) /
    s/^(const heldUpMax = )50 /\1$deadline_ms /
    s/( MS_MAX = )50;/\1$deadline_ms;/
    s/(HELD_UP_MAX: Duration = Duration::from_millis\()50\)/\1$deadline_ms)/" <<<"$text")
  [ "$text" != "$changed" ] || die "the client of $2 has no deadline of 50 ms where it is looked for"
  printf '%s\n' "$changed"
}

# with_blocks FENCE FILE: the file, with each line "// document: SECTION" replaced by that section's block, as far
# in as that line
with_blocks() {
  local line
  while IFS= read -r line; do
    if [[ $line =~ ^([[:space:]]*)(//|#)\ document:\ (.*)$ ]]; then
      block "$1" "${BASH_REMATCH[3]}" | addressed "$tls_port" | sed "s/^./${BASH_REMATCH[1]}&/"
    else
      printf '%s\n' "$line"
    fi
  done <"$2"
}

# command_of START: the command of "Generate the code" that begins so
command_of() {
  block sh "Generate the code" | sed -e ':more' -e '/\\$/{' -e N -e 's/\\\n *//' -e 'b more' -e '}' -e 's/  *# .*//' |
    grep "^$1 " || die "the document has no command $1"
}

# --- Servers: one that serves, one with TLS and tokens, one that is silent, and one that is gone

pids=()
run=$(mktemp -d "${TMPDIR:-/tmp}/breakerd-clients.XXXXXX")
# shellcheck disable=SC2329 # called by the trap
clean_up() {
  local pid
  for pid in ${pids[@]+"${pids[@]}"}; do
    kill -KILL "$pid" 2>/dev/null || true
    wait "$pid" 2>/dev/null || true
  done
  rm -rf "$run"
}
trap clean_up EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

# start NAME: a breakerd in a folder of that name, with the breakerd.toml that may be there; sets pid, and listens to the
# port of gRPC
start() {
  local folder=$run/$1 tries
  mkdir -p "$folder"
  (
    cd "$folder"
    # The line that says where it listens is there in the text format alone.
    exec env -i "$breakerd" serve --data-dir data --grpc-listen 127.0.0.1:0 --http-listen 127.0.0.1:0 --log-format text \
      >out 2>log
  ) &
  pid=$!
  pids+=("$pid")
  for tries in $(seq 300); do
    listens=$(sed -n 's/^breakerd is listening: gRPC on .*:\([0-9]*\), HTTP.*/\1/p' "$folder/out" 2>/dev/null) || true
    [ -z "$listens" ] || return 0
    kill -0 "$pid" 2>/dev/null || break
    sleep 0.1
  done
  die "breakerd does not start, after $tries tries: $(cat "$folder/log")"
}

# serving CMD...: waits until the breakerd that the command asks says that it serves
serving() {
  local tries
  for tries in $(seq 300); do
    ! "$@" healthcheck >/dev/null 2>&1 || return 0
    sleep 0.1
  done
  die "breakerd does not serve after $tries tries"
}

# As docs/security.md has it.
authority() {
  mkdir -p "$run/tls"
  (
    cd "$run/tls"
    security=$root/docs/security.md
    eval "$(block sh TLS 1 "$security")" >openssl.log 2>&1 || die "openssl: $(cat openssl.log)"
    { block toml TLS 1 "$security"; printf '[auth]\ntokens_file = "tokens.toml"\n'; } >breakerd.toml
    "$breakerd" token new --name e2e --role caller --role reader --append tokens.toml >"$run/token"
  )
}

servers() {
  start silent
  kill -STOP "$pid"
  export E2E_SILENT=localhost:$listens
  start gone
  kill -KILL "$pid"
  wait "$pid" 2>/dev/null || true
  export E2E_GONE=localhost:$listens
  # An open breaker stays so until we have looked at it.
  mkdir "$run/plain"
  printf '[circuit_breaker]\ndefault_timeout_seconds = 3600\n' >"$run/plain/breakerd.toml"
  start plain
  port=$listens
  export E2E_PLAIN=localhost:$port
  serving plain
  authority
  start tls
  tls_port=$listens
  BREAKERD_TOKEN=$(cat "$run/token")
  export BREAKERD_TOKEN
  serving secured
}

# plain ARGS..., secured ARGS...: asks the server of that name
plain() { env -u BREAKERD_TOKEN "$breakerd" "$@" --address "127.0.0.1:$port"; }
secured() { "$breakerd" "$@" --address "localhost:$tls_port" --ca "$run/tls/ca.crt"; }

# --- What breakerd counted

# counted SERVER SERVICE COUNTERS: exactly these, which may take until the last report has come
counted() {
  local seen tries
  for tries in $(seq 100); do
    seen=$("$1" get "$2" --json 2>&1 | tr -d ' \n') || true
    [[ $seen != *"\"counters\":{$3}"* ]] || { ok "$2: breakerd counted $3"; return; }
    sleep 0.1
  done
  not_ok "$2: breakerd counted $3" "after $tries tries it says $seen"
}

# successes: of the service of the document's examples
successes() {
  local seen
  seen=$(plain get payments --json 2>/dev/null | tr -d ' \n' | sed -n 's/.*"successful":"\([0-9]*\)".*/\1/p') || true
  echo "${seen:-0}"
}

# state_is SERVICE STATE
state_is() {
  local seen
  seen=$(plain get "$1" --json 2>&1 | tr -d ' \n') || true
  if [[ $seen == *"\"state\":\"$2\""* ]]; then ok "$1: breakerd says $2"; else not_ok "$1: breakerd says $2" "$seen"; fi
}

# --- One language

# bounded SECONDS CMD...: what hangs is ended
bounded() { if have timeout; then timeout -k 5 "$@"; else "${@:2}"; fi; }

# client LANGUAGE COUNTERS...: builds it, runs the document's example, then the checks; COUNTERS as SERVICE=COUNTERS.
# The functions LANGUAGE_build, LANGUAGE_example and LANGUAGE_checks say how.
client() {
  local language=$1 began=$SECONDS code before after pair
  work=$root/target/e2e/$1
  shift
  mkdir -p "$work"
  ln -sfn "$root/proto" "$work/proto"
  cp "$run/tls/ca.crt" "$work/"
  say "$language: building"
  # `set -e` has no force in what a condition runs: hence the codes.
  code=0
  set +e
  (set -e; cd "$work"; "${language}_build") >"$work/build.log" 2>&1
  code=$?
  set -e
  if [ "$code" -ne 0 ]; then
    tail -n 60 "$work/build.log" >&2
    not_ok "$language: the document's code builds" "exit code $code (all of it: target/e2e/$language/build.log)"
    return
  fi
  ok "$language: the document's code builds"
  say "$language: built in $((SECONDS - began)) s"

  before=$(successes) code=0
  (cd "$work" && "${language}_example") >"$work/example.log" 2>&1 || code=$?
  # Go's example says nothing but that there was no error.
  if [ "$code" -eq 0 ] && grep -qE '^(paid|Ok\("paid"\)|.* <nil>)$' "$work/example.log"; then
    ok "$language: the document's example runs"
  else
    not_ok "$language: the document's example runs" "exit code $code: $(tail -n 20 "$work/example.log")"
  fi
  after=$(successes)
  if [ "$after" -gt "$before" ]; then
    ok "$language: breakerd counted the example's call"
  else
    not_ok "$language: breakerd counted the example's call" "$before before, $after after"
  fi

  code=0
  (cd "$work" && "${language}_checks" 2>"$work/checks.log") >"$work/checks.out" || code=$?
  grep -E '^(ok|not ok) - ' "$work/checks.out" | sed "s/ - / - $language: /" || not_ok "$language: checks" "none ran"
  if [ "$code" -ne 0 ]; then
    tail -n 60 "$work/checks.log" >&2
    grep -q '^not ok' "$work/checks.out" || not_ok "$language: checks" "exit code $code (target/e2e/$language/checks.log)"
    failed=yes
  fi

  for pair in "$@"; do
    counted plain "$language.${pair%%=*}" "${pair#*=}"
  done
  state_is "$language.opens" STATE_OPEN
  counted secured "$language.tls" '"successful":"1"'
  say "$language: took $((SECONDS - began)) s"
}

# fresh FILE: whether what the file pins is what was installed in this folder
fresh() { cmp -s "$1" installed; }

# Go takes its protoc from there too.
venv() {
  mkdir -p "$root/target/e2e/python"
  cd "$root/target/e2e/python"
  if ! fresh "$here/python/requirements.txt" || [ ! -x venv/bin/python ]; then
    rm -rf venv installed
    python3 -m venv venv
    venv/bin/python -m pip install --disable-pip-version-check -r "$here/python/requirements.txt"
    cp "$here/python/requirements.txt" installed
  fi
}

python_build() {
  venv
  rm -rf gen
  mkdir gen
  PATH=$PWD/venv/bin:$PATH eval "$(command_of 'python -m grpc_tools.protoc')"
  program python Python >client.py
  with_blocks python "$here/python/checks.py" >checks.py
}
python_example() { PYTHONPATH=gen bounded 60 venv/bin/python client.py; }
python_checks() { PYTHONPATH=gen bounded 120 venv/bin/python checks.py; }

go_build() {
  (venv)
  export GOBIN=$PWD/bin GOFLAGS=-mod=readonly
  cp "$here/go/go.mod" "$here/go/go.sum" .
  go install google.golang.org/protobuf/cmd/protoc-gen-go google.golang.org/grpc/cmd/protoc-gen-go-grpc
  # shellcheck disable=SC2016 # for the script that is written
  printf '#!/bin/sh\nexec "%s" -m grpc_tools.protoc "$@"\n' "$root/target/e2e/python/venv/bin/python" >bin/protoc
  chmod +x bin/protoc
  rm -rf gen
  mkdir gen
  PATH=$PWD/bin:$PATH eval "$(command_of protoc)"
  program go Go >main.go
  with_blocks go "$here/go/checks_test.go" >checks_test.go
  with_blocks go "$here/go/replicas_test.go" >replicas_test.go
  go build -o example .
  go test -c -o checks .
}
go_example() { bounded 60 ./example; }
# Replicas share a Postgres.
go_checks() { E2E_BREAKERD=$breakerd "$root/scripts/with-postgres.sh" --fsync off timeout -k 5 180 ./checks; }

node_build() {
  if ! fresh "$here/node/package-lock.json" || [ ! -d node_modules ]; then
    rm -f installed
    cp "$here/node/package.json" "$here/node/package-lock.json" .
    npm ci --no-audit --no-fund
    cp package-lock.json installed
  fi
  program js Node >client.js
  block js Errors >errors.js
  with_blocks js "$here/node/tls.js" >tls.js
  cp "$here/node/checks.js" .
  node --check client.js
}
node_example() { bounded 60 node client.js; }
node_checks() { bounded 120 node checks.js; }

java_build() {
  local sources=shop/src/main/java/org/example
  mkdir -p "$sources"
  ln -sfn "$root/proto" shop/proto
  cp "$here/java/pom.xml" .
  # The document's part of a pom.xml, below the parent that has the versions.
  {
    cat <<'POM'
<project xmlns="http://maven.apache.org/POM/4.0.0">
  <modelVersion>4.0.0</modelVersion>
  <parent><groupId>org.example</groupId><artifactId>versions</artifactId><version>1</version></parent>
  <artifactId>shop</artifactId>
POM
    block xml Java
    echo '</project>'
  } >shop/pom.xml
  program java Java >"$sources/Guard.java"
  with_blocks java "$here/java/Checks.java" >"$sources/Checks.java"
  mvn --batch-mode --no-transfer-progress compile dependency:copy-dependencies -DincludeScope=runtime
}
java_run() { bounded 120 java -cp "shop/target/classes:shop/target/dependency/*" "$@"; }
java_example() { java_run org.example.Guard; }
java_checks() { java_run org.example.Checks; }

rust_build() {
  mkdir -p src/bin
  cp "$here/rust/Cargo.lock" .
  # The document's dependencies, behind what else a package needs.
  { cat "$here/rust/package.toml"; block toml Rust; } >Cargo.toml
  block rust Rust 1 >build.rs
  program rust Rust 2 >src/main.rs
  with_blocks rust "$here/rust/checks.rs" >src/bin/checks.rs
  CARGO_TARGET_DIR=$PWD/target cargo build --locked
}
rust_example() { bounded 60 target/debug/shop; }
rust_checks() { bounded 120 target/debug/checks; }

# --- All of them

[ $# -gt 0 ] || set -- python go node java rust
if ! has clients cargo "Rust from https://rustup.rs (it builds breakerd)" || ! has clients openssl "openssl"; then
  exit 0
fi
say "building breakerd"
CARGO_TARGET_DIR=$root/target cargo build --quiet --bin breakerd
servers

all=('success="successful":"1"' 'failure="failed":"1"' 'opens="failed":"5","rejected":"1"' 'cancelled="ignored":"1"')
for language in "$@"; do
  case $language in
    python)
      ! has python python3 "Python 3" || client python "${all[@]}" 'interrupted="ignored":"1"'
      ;;
    go)
      if has go go "Go from https://go.dev/dl" && has go python3 "Python 3, whose package of protoc is used"; then
        client go "${all[@]}" 'panic="failed":"1"'
      fi
      ;;
    node)
      if has node node "Node.js" && has node npm "npm"; then
        client node "${all[@]}"
      fi
      ;;
    java)
      if has java javac "a JDK, 17 or newer" && has java mvn "Maven"; then
        client java "${all[@]}" 'interrupted="ignored":"1"'
      fi
      ;;
    rust) client rust "${all[@]}" 'panic="failed":"1"' ;;
    *) die "no such language: $language" ;;
  esac
done
[ "$failed" = no ]
