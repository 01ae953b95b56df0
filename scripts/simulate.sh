#!/usr/bin/env bash
# Runs the simulation of replicas from many seeds, optimized, in some processes at once.
#
#   scripts/simulate.sh FIRST SEEDS JOBS [TEST]   SEEDS of them, from FIRST on, in JOBS processes; TEST: what the names of the tests
#                                                 begin with, behind replica::simulation::; default: replicas, which is all of them
#
# What fails is told of at once, and the other seeds are run all the same. Exit code 0 only when nothing failed.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

first=$1 seeds=$2 jobs=$3 tests=replica::simulation::${4:-replicas}

cargo test --profile simulate --lib --no-run
binary=$(cargo test --profile simulate --lib --no-run 2>&1 | sed -n 's/^ *Executable.*(\(.*\))$/\1/p')

each=$(((seeds + jobs - 1) / jobs))
processes=()
for ((begin = 0; begin < seeds; begin += each)); do
  count=$((seeds - begin < each ? seeds - begin : each))
  BREAKERD_FIRST_SEED=$((first + begin)) BREAKERD_SEEDS=$count "$binary" "$tests" --nocapture &
  processes+=($!)
done
failed=0
for process in "${processes[@]}"; do
  wait "$process" || failed=1
done
exit $failed
