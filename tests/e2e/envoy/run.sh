#!/usr/bin/env bash
# breakerd behind real Envoys, with dependencies that count what reaches them.
#
#   tests/e2e/envoy/run.sh                       every case
#   tests/e2e/envoy/run.sh [FLAGS] CASE...       only these, by the names in main.go; -v prints the logs of what failed
#   tests/e2e/envoy/run.sh -seconds 60 load      a minute at 1,000 requests a second
#   tests/e2e/envoy/run.sh cost                  what checks and the log cost, as ratios; BREAKERD names a breakerd of another profile
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../../.."
# shellcheck source=scripts/lib.sh
. scripts/lib.sh

if [ -z "${BREAKERD_TEST_POSTGRES_URL:-}" ]; then
  exec scripts/with-postgres.sh tests/e2e/envoy/run.sh "$@"
fi
scripts/tools.sh envoy jq
have go || die 'the suite is written in Go: install Go 1.25 or later from https://go.dev/dl'
cargo build --quiet --bin breakerd
target=$(cargo metadata --format-version 1 --no-deps | jq -r .target_directory)

flags=()
while [[ ${1:-} == -* ]]; do
  flags+=("$1")
  [ "$1" = -v ] || { flags+=("$2"); shift; }
  shift
done
mkdir -p "$target/e2e"
GOFLAGS='' go build -C tests/e2e/envoy -o "$target/e2e/envoy-suite" .
exec "$target/e2e/envoy-suite" "${flags[@]}" "${BREAKERD:-$target/debug/breakerd}" "$PWD/.tools/bin/envoy" "$PWD/examples/envoy" "$@"
