#!/usr/bin/env bash
# make demo: builds breakerd and the incident manager, and plays examples/incident-manager/src/bin/demo, which says what
# happens. PAUSE=1 waits for Enter between the acts. Exit code 1 if something does not come true.
#
#   scripts/demo.sh [PROFILE]   built so; default: quick, as `make run`
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

profile=${1:-quick}
cargo build --profile "$profile" -p breakerd -p incident-manager --bins
exec cargo run --quiet --profile "$profile" -p incident-manager --bin demo
