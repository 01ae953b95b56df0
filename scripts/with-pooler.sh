#!/usr/bin/env bash
# Run a command with PgBouncer in transaction mode before the Postgres of scripts/with-postgres.sh: scripts/with-pooler.sh CMD...
#
# The command finds the pooler in BREAKERD_TEST_POSTGRES_URL. It follows prepared statements, so it has to be 1.21 or later.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)

dir=$(mktemp -d "${TMPDIR:-/tmp}/breakerd-pooler.XXXXXX")
# It runs as another user, when this runs as root.
chmod 755 "$dir"
trap '"$here/pgbouncer.sh" stop "$dir"; rm -rf "$dir"' EXIT
trap 'exit 130' INT
trap 'exit 143' TERM
# The tests' own connections send extra_float_digits; each test has a database, and processes that connect to it. Connections to the database
# of a test that is over are closed soon: kept as long as they are by default, those of all tests are more than Postgres accepts.
BREAKERD_TEST_POSTGRES_URL=$("$here/pgbouncer.sh" start "$dir" "$BREAKERD_TEST_POSTGRES_URL" transaction \
  "max_prepared_statements = 200" "max_client_conn = 2000" "server_idle_timeout = 5" "ignore_startup_parameters = extra_float_digits")
export BREAKERD_TEST_POSTGRES_URL
"$@"
