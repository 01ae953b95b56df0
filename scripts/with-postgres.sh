#!/usr/bin/env bash
# Run a command with a throw-away Postgres: scripts/with-postgres.sh [--fsync off] CMD...
#
# The command finds it in BREAKERD_TEST_POSTGRES_URL (a superuser, so that tests may create databases) and its folder, for
# scripts/postgres.sh, in BREAKERD_TEST_POSTGRES_DIR. Ends with the command's exit code, and the server with it.
# A BREAKERD_TEST_POSTGRES_URL that is already set is used as it is and nothing is started.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=scripts/lib.sh
. "$here/lib.sh"

options=()
if [ "${1:-}" = --fsync ]; then
  options=(--fsync "${2:?--fsync needs on or off}")
  shift 2
fi
[ $# -gt 0 ] || die "what shall run? scripts/with-postgres.sh [--fsync off] CMD..."
[ -z "${BREAKERD_TEST_POSTGRES_URL:-}" ] || exec "$@"

dir=$(mktemp -d "${TMPDIR:-/tmp}/breakerd-pg.XXXXXX")
# shellcheck disable=SC2329 # called by the trap
clean_up() {
  "$here/postgres.sh" stop "$dir" || say "could not stop Postgres in $dir"
  rm -rf "$dir"
}
# Bash runs the trap on EXIT after INT and TERM too, once these are turned into an exit.
trap clean_up EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

BREAKERD_TEST_POSTGRES_URL=$("$here/postgres.sh" start "$dir" ${options[@]+"${options[@]}"})
BREAKERD_TEST_POSTGRES_DIR=$dir
export BREAKERD_TEST_POSTGRES_URL BREAKERD_TEST_POSTGRES_DIR
say "Postgres at $BREAKERD_TEST_POSTGRES_URL"
"$@"
