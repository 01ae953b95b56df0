#!/usr/bin/env bash
# The state machine is pure: cargo itself shows that the breaker crate depends on nothing.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
# shellcheck source=scripts/lib.sh
. scripts/lib.sh

tree=$(cargo tree -p breakerd-machine -e normal,build --target all --prefix depth)
[ "$(wc -l <<<"$tree")" -eq 1 ] || die "the breaker crate must depend on nothing, but it has:"$'\n'"$tree"
echo "breaker: no dependency"
