#!/usr/bin/env bash
# Runs the simulation of replicas from many seeds, optimized, in some processes at once.
#
#   scripts/simulate.sh FIRST SEEDS JOBS [TEST]   SEEDS of them, from FIRST on, of each test, in JOBS processes of one thread each;
#                                                 TEST: what the names of the tests begin with, behind replica::simulation::;
#                                                 default: replicas, which is all but those of ten replicas
#
# What fails is told of at once, and the other seeds are run all the same. Exit code 0 only when nothing failed.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

first=$1 seeds=$2 jobs=$3 tests=replica::simulation::${4:-replicas}

# The one executable that is built is named in what cargo says for programs.
binary=$(cargo test --profile simulate --lib --no-run --message-format json-render-diagnostics |
  sed -n 's/.*"executable":"\([^"]*\)".*/\1/p')
if [[ $("$binary" "$tests" --list) != *': test'* ]]; then
  echo "no test has a name that begins with $tests" >&2
  exit 2
fi

each=$(((seeds + jobs - 1) / jobs))
processes=()
# Processes in the background do not notice that somebody interrupts the script.
trap 'kill "${processes[@]}" 2>/dev/null || true' EXIT
for ((begin = 0; begin < seeds; begin += each)); do
  count=$((seeds - begin < each ? seeds - begin : each))
  BREAKERD_FIRST_SEED=$((first + begin)) BREAKERD_SEEDS=$count "$binary" "$tests" --nocapture --test-threads 1 &
  processes+=($!)
done
failed=0
for process in "${processes[@]}"; do
  wait "$process" || failed=1
done
trap - EXIT
exit $failed
