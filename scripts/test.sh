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

# step NAME CMD...
step() {
  local name=$1 passed failed code=0
  shift
  passed=$(tally passed) failed=$(tally failed)
  printf '\n== %s\n' "$name"
  "$@" </dev/null 2>&1 | tee -a "$log" || code=$?
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

step "workspace" scripts/with-postgres.sh cargo test --workspace --no-fail-fast
step "schedules (shuttle)" env RUSTFLAGS="--cfg shuttle" cargo test --lib shuttle --target-dir target/shuttle

passed=$(tally passed)
failed=$(($(tally failed) + broken))
printf '\n%s passed, %s failed\n' "$passed" "$failed"
[ "$failed" -eq 0 ]
