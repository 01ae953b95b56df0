#!/usr/bin/env bash
# The heavy suites: the demo, those that need other toolchains, other versions of Postgres; the last line is the total: "N passed, N failed".
#
#   scripts/e2e.sh            every suite: tests/e2e/SUITE/run.sh
#   scripts/e2e.sh SUITE...   only these
#
# A suite says what became of each of its tests in a line: "ok - NAME", "not ok - NAME: WHY" or "skip - NAME: WHY". Each
# suite runs to its end even when an earlier one failed. One that ends badly without a failed test, or that ran no test
# and skipped none, counts as one failure. Exit code 0 only when nothing failed.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

log=$(mktemp "${TMPDIR:-/tmp}/breakerd-e2e.XXXXXX")
trap 'rm -f "$log"' EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

# tally WORD: in how many tests that was the word, over everything in the log
tally() { grep -c "^$1 - " "$log" || true; }

# total: of tests that said anything
total() { grep -cE '^(ok|not ok|skip) - ' "$log" || true; }

# fail NAME: what the suite itself could not say
fail() { printf 'not ok - %s\n' "$1" | tee -a "$log"; }

if [ $# -eq 0 ]; then
  for script in tests/e2e/*/run.sh; do
    set -- "$@" "$(basename "$(dirname "$script")")"
  done
fi
for suite in "$@"; do
  printf '\n== %s\n' "$suite"
  began=$SECONDS failed=$(tally 'not ok') before=$(total) code=0
  "tests/e2e/$suite/run.sh" </dev/null 2>&1 | tee -a "$log" || code=$?
  if [ "$code" -ne 0 ] && [ "$(tally 'not ok')" -eq "$failed" ]; then
    fail "$suite: exit code $code without a failed test"
  elif [ "$(total)" -eq "$before" ]; then
    fail "$suite: ran no test"
  fi
  printf '== %s: took %s s\n' "$suite" $((SECONDS - began))
done

failed=$(tally 'not ok') skipped=$(tally skip)
printf '\n%s passed, %s failed' "$(tally ok)" "$failed"
if [ "$skipped" -gt 0 ]; then
  printf ', %s skipped' "$skipped"
fi
printf '\n'
[ "$failed" -eq 0 ]
