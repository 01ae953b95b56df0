#!/usr/bin/env bash
# Every test there is, on both stores; the last line is the total: "N passed, N failed".
#
# Each step runs to its end even when an earlier one failed, so that one run tells everything. The total is the sum of
# cargo's `test result:` lines; a step that ends badly without a failed test (it did not build, it crashed), or that ran
# none at all (its tests were renamed away), counts as one failure. Exit code 0 only when nothing failed.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

log=$(mktemp "${TMPDIR:-/tmp}/breakerd-test.XXXXXX")
trap 'rm -f "$log"' EXIT
trap 'exit 130' INT
trap 'exit 143' TERM
broken=0

# tally WORD: how many tests did so, over everything in the log
tally() {
  awk -v word="$1" '/test result: (ok|FAILED)/ { for (i = 2; i <= NF; i++) if ($i ~ "^" word) sum += $(i - 1) } END { print sum + 0 }' "$log"
}

# begin NAME: says what is being done, before the wait for it
begin() {
  began=$SECONDS
  printf '\n== %s\n' "$1"
}

# build NAME CARGO-ARGS...: what cannot be built fails the step that runs it, with the compiler's words; here it is the wait
# that is shown.
build() {
  begin "$1: build"
  cargo test "${@:2}" --no-run </dev/null 2>&1 | grep -v 'Executable' || true
  printf '== %s: built in %s s\n' "$1" $((SECONDS - began))
}

# step NAME CMD...
step() {
  local name=$1 passed failed code=0
  shift
  passed=$(tally passed) failed=$(tally failed)
  begin "$name"
  "$@" </dev/null 2>&1 | tee -a "$log" || code=$?
  printf '== %s: took %s s\n' "$name" $((SECONDS - began))
  [ "$(tally failed)" -eq "$failed" ] || return 0 # counted already
  if [ "$code" -ne 0 ]; then
    fail "$name: exit code $code without a failed test"
  elif [ "$(tally passed)" -eq "$passed" ]; then
    fail "$name: ran no test"
  fi
}

fail() {
  printf '== %s\n' "$1"
  broken=$((broken + 1))
}

build "workspace" --workspace
step "workspace" scripts/with-postgres.sh cargo test --workspace --no-fail-fast
# A feature in the same target folder: only breakerd itself is compiled again, and nothing when nothing changed.
build "schedules (shuttle)" --lib --features shuttle
step "schedules (shuttle)" cargo test --lib --features shuttle shuttle

passed=$(tally passed)
failed=$(($(tally failed) + broken))
printf '\n%s passed, %s failed\n' "$passed" "$failed"
[ "$failed" -eq 0 ]
