#!/usr/bin/env bash
# Ten replicas of breakerd as processes on one Postgres, and what can happen to them: the test of tests/it/replicas/ten.rs. The wall
# clocks of two are a minute wrong, by libfaketime.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../../.."
# shellcheck source=scripts/lib.sh
. scripts/lib.sh
# shellcheck source=scripts/it.sh
. scripts/it.sh

if [ "$(uname -s)" != Linux ]; then
  printf 'skip - replicas: libfaketime sets no clock of this system'"'"'s programs\n'
  exit 0
fi

faketime() { find /usr/lib /usr/lib64 -name libfaketime.so.1 2>/dev/null | sed -n 1p; }
library=$(faketime)
[ -n "$library" ] || { install_package libfaketime libfaketime libfaketime && library=$(faketime); }
[ -n "$library" ] || die "libfaketime.so.1 was not found"

run=$(mktemp -d "${TMPDIR:-/tmp}/breakerd-replicas.XXXXXX")
trap 'rm -rf "$run"' EXIT
trap 'exit 130' INT
trap 'exit 143' TERM
build_tests "$run"
BREAKERD_TEST_FAKETIME=$library run_tests replicas "$run" scripts/with-postgres.sh "$program" --ignored --show-output replicas::ten::
grep -E 'breakers open|all closed|states that' "$run/log" >&2 || true
[ "$failed" = no ]
