#!/usr/bin/env bash
# Change the code in small ways, one at a time, and see whether a test fails each time (cargo-mutants).
#
#   scripts/mutants.sh                    AREA is breaker
#   scripts/mutants.sh AREA [OPTION...]   options of `cargo mutants`: --iterate, --in-diff FILE, --re NAME ...
#
# Each area is tried with the tests that are about it and run in seconds, since they run once for each change:
#
#   breaker   the state machine; all tests of the crate `breaker`
#   judge     which proposals win, and what of the history is kept as it happens; the unit tests of src/store
#   journal   the write-ahead log; its unit tests
#   engine    the breakers of a process; its unit tests
#
# A mutant that no test notices is "missed": add the test, or simplify the code, or name the mutant and the reason in
# .cargo/mutants.toml. Exit code 0 only when none is missed. The results are in target/mutants/AREA/mutants.out.
# The code is changed in a copy, never here.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
# shellcheck source=scripts/lib.sh
. scripts/lib.sh

area=${1:-breaker}
[ $# -eq 0 ] || shift

# server FILES TEST-FILTER [OPTION...]: mutants of these files, tried with the unit tests of the server whose path has TEST-FILTER.
server() {
  mutate --package breakerd --file "$1" --cargo-arg=--lib "${@:3}" -- -- "$2"
}

# What to build stands as --cargo-arg: what follows `--` is used to run the tests, and all of them would be built.
mutate() {
  local code=0
  mkdir -p "target/mutants/$area"
  # At a low priority: it takes long, and somebody works on the same machine.
  nice -n 10 cargo mutants --colors never --output "target/mutants/$area" "$@" || code=$?
  # 3: tests did not end for some, and all others were noticed. A test that hangs is noticed too.
  [ "$code" -eq 3 ] || return "$code"
}

case $area in
  # The quick tests first, then the model's random stories for what they missed.
  breaker)
    mutate --package breakerd-machine --cargo-arg=--lib --cargo-arg=--test=stories "$@" || {
      options=()
      for option in "$@"; do
        [ "$option" = --iterate ] || options+=("$option")
      done
      mutate --package breakerd-machine --cargo-arg=--tests --iterate ${options[@]+"${options[@]}"}
    }
    ;;
  judge) server 'src/store/{judge.rs,judge/**,episode.rs,open_time.rs}' store:: "$@" ;;
  journal) server 'src/journal/**' journal:: "$@" ;;
  engine) server 'src/engine/**' engine:: "$@" ;;
  *) die "no such area: $area (breaker, judge, journal or engine)" ;;
esac
