#!/usr/bin/env bash
# A throw-away Postgres in a folder of its own, on 127.0.0.1 and a unix socket in that folder.
#
#   scripts/postgres.sh start DIR [--port N] [--fsync off] [--listen ADDRESS]   create DIR's cluster if new, start it, print its URL
#   scripts/postgres.sh stop DIR                             stop it at once; DIR stays
#   scripts/postgres.sh crash DIR                            kill -9, as a test of recovery wants it; `start` again
#   scripts/postgres.sh standby DIR PRIMARY                  create DIR's as a standby of the running PRIMARY, start it
#   scripts/postgres.sh promote DIR                          make a primary of a standby
#
# The port is picked once and kept in DIR/port, so that a URL survives stop, crash and start.
# PostgreSQL refuses to run as root: there it runs as the packaged user `postgres`, or as `nobody`.
# With --listen it listens on that address instead (0.0.0.0: on all), and trusts whoever is in one of the machine's networks.
# BREAKERD_TEST_POSTGRES_BIN is the folder of initdb and pg_ctl to use; without it the newest that is installed.
set -euo pipefail
# shellcheck source=scripts/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

usage() { sed -n '2,13s/^# \{0,1\}//p' "$0" >&2; exit 2; }

# The folder of initdb and pg_ctl: Debian keeps them off PATH, one folder a version; take the newest.
find_server() {
  local dir
  [ -z "${BREAKERD_TEST_POSTGRES_BIN:-}" ] || { echo "$BREAKERD_TEST_POSTGRES_BIN"; return; }
  for dir in $(pg_config --bindir 2>/dev/null) \
    $(printf '%s\n' /usr/lib/postgresql/*/bin | sort -rV) /usr/pgsql-*/bin \
    /opt/homebrew/opt/postgresql*/bin /usr/local/opt/postgresql*/bin; do
    [ -x "$dir/initdb" ] && [ -x "$dir/pg_ctl" ] && echo "$dir" && return
  done
  have initdb && dirname "$(command -v initdb)"
}

as_owner() {
  if [ "$(id -u)" -ne 0 ]; then
    "$@"
  elif have runuser; then
    runuser -u "$(server_owner)" -- "$@"
  else
    die "PostgreSQL refuses to run as root and there is no runuser here: run this as another user"
  fi
}

# own DIR: what the server writes to
own() { [ "$(id -u)" -ne 0 ] || chown "$(server_owner)" "$1"; }

# Below the range the kernel hands out to clients, so that no connection takes it between look and start.
random_port() { echo $((20000 + RANDOM % 10000)); }

# first line of postmaster.pid; empty when the server does not run
postmaster() { head -n 1 "$1/data/postmaster.pid" 2>/dev/null || true; }

create_cluster() {
  local dir=$1
  mkdir -p "$dir"
  own "$dir"
  # C.UTF-8-like sorting on every machine; trust is fine for a server that listens on loopback and is thrown away.
  as_owner "$bin/initdb" -D "$dir/data" -U breakerd --auth=trust --encoding=UTF8 --locale=C \
    >"$dir/initdb.log" 2>&1 || { cat "$dir/initdb.log" >&2; die "initdb failed in $dir"; }
  [ -z "$listen" ] || echo "host all all samenet trust" >>"$dir/data/pg_hba.conf"
  # Before it runs, as not every build of the server comes with createdb.
  (cd "$dir" && as_owner "$bin/postgres" --single -D "$dir/data" postgres <<<"CREATE DATABASE breakerd") \
    >"$dir/createdb.log" 2>&1 || { cat "$dir/createdb.log" >&2; die "CREATE DATABASE failed in $dir"; }
}

# A copy of the primary that follows it. A server that comes without pg_basebackup is stopped for the copy, and started again.
create_standby() {
  local dir=$1 primary=$2
  mkdir -p "$dir"
  own "$dir"
  dir=$(cd "$dir" && pwd) primary=$(cd "$primary" && pwd)
  cd "$dir"
  if [ ! -x "$bin/pg_basebackup" ]; then
    end "$primary" INT
    as_owner cp -R -p "$primary/data" "$dir/data"
    as_owner touch "$dir/data/standby.signal"
    echo "primary_conninfo = 'host=$primary port=$(cat "$primary/port") user=breakerd'" >>"$dir/data/postgresql.auto.conf"
    (start "$primary" '' "$fsync" >/dev/null)
    return
  fi
  as_owner "$bin/pg_basebackup" -h "$primary" -p "$(cat "$primary/port")" -U breakerd -D "$dir/data" -R -X stream \
    -c fast >"$dir/basebackup.log" 2>&1 || { cat "$dir/basebackup.log" >&2; die "pg_basebackup failed in $dir"; }
}

promote() {
  local dir
  dir=$(cd "$1" && pwd)
  cd "$dir"
  as_owner "$bin/pg_ctl" promote -w -t 60 -s -D "$dir/data" >promote.log 2>&1 || { cat promote.log >&2; die "promote failed"; }
}

need_server() {
  bin=$(find_server) || { install_package postgresql postgresql-server postgresql; bin=$(find_server); } ||
    die "the PostgreSQL server programs (initdb, pg_ctl) were not found"
}

start() {
  local dir=$1 port=$2 fsync=$3 tries=10
  need_server
  [ -d "$dir/data" ] || create_cluster "$dir"
  dir=$(cd "$dir" && pwd)
  cd "$dir" # a folder that the owner may enter: ours may be closed to it
  [ -n "$port" ] || port=$(cat port 2>/dev/null) || true
  local fixed=$port
  until
    port=${fixed:-$(random_port)}
    as_owner "$bin/pg_ctl" start -w -t 60 -s -D "$dir/data" -l "$dir/postgres.log" \
      -o "-h ${listen:-127.0.0.1} -p $port -k '$dir' -c fsync=$fsync -c max_connections=300" >"pg_ctl.log" 2>&1
  do
    # The port may be taken, or the processes of a crashed server not all gone yet.
    tries=$((tries - 1))
    [ "$tries" -gt 0 ] || { tail -n 20 postgres.log pg_ctl.log >&2; die "Postgres does not start in $dir"; }
    sleep 0.5
  done
  echo "$port" >port
  echo "postgres://breakerd@127.0.0.1:$port/breakerd"
}

# A process that ended but that nobody reaped, as under a container's bare init, counts as gone.
alive() { kill -0 "$1" 2>/dev/null && ! grep -qs '^State:[[:space:]]*Z' "/proc/$1/status"; }

# end DIR SIGNAL: INT is PostgreSQL's fast shutdown, QUIT the immediate one. Waits until the postmaster is gone.
end() {
  local dir=$1 signal=$2 pid
  pid=$(postmaster "$dir")
  [ -n "$pid" ] || return 0
  kill "-$signal" "$pid" 2>/dev/null || return 0
  for _ in $(seq 100); do
    alive "$pid" || return 0
    sleep 0.1
  done
  die "Postgres (pid $pid) is still there after 10 s"
}

[ $# -ge 2 ] || usage
command=$1 dir=$2 port='' fsync=on listen='' primary=''
shift 2
if [ "$command" = standby ]; then
  primary=${1:?standby needs the folder of its primary}
  shift
fi
while [ $# -gt 0 ]; do
  case $1 in
    --port) port=${2:?--port needs a number} ;;
    --fsync) fsync=${2:?--fsync needs on or off} ;;
    --listen) listen=${2:?--listen needs an address} ;;
    *) usage ;;
  esac
  shift 2
done
case $command in
  start) start "$dir" "$port" "$fsync" ;;
  standby)
    need_server
    (create_standby "$dir" "$primary")
    start "$dir" "$port" "$fsync"
    ;;
  promote)
    need_server
    promote "$dir"
    ;;
  stop) end "$dir" QUIT ;;
  crash) end "$dir" KILL ;;
  *) usage ;;
esac
