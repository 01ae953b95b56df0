#!/usr/bin/env bash
# A throw-away Postgres in a folder of its own, on 127.0.0.1 and a unix socket in that folder.
#
#   scripts/postgres.sh start DIR [--port N] [--fsync off]   create DIR's cluster if new, start it, print its URL
#   scripts/postgres.sh stop DIR                             stop it at once; DIR stays
#   scripts/postgres.sh crash DIR                            kill -9, as a test of recovery wants it; `start` again
#   scripts/postgres.sh standby DIR PRIMARY                  create DIR's as a standby of the running PRIMARY, start it
#   scripts/postgres.sh promote DIR                          make a primary of a standby
#
# The port is picked once and kept in DIR/port, so that a URL survives stop, crash and start.
# PostgreSQL refuses to run as root: there it runs as the packaged user `postgres`.
set -euo pipefail
# shellcheck source=scripts/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

usage() { sed -n '2,11s/^# \{0,1\}//p' "$0" >&2; exit 2; }

# The folder of initdb and pg_ctl: Debian keeps them off PATH, one folder a version; take the newest.
find_server() {
  local dir
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
    runuser -u postgres -- "$@"
  else
    die "PostgreSQL refuses to run as root and there is no runuser here: run this as another user"
  fi
}

# Below the range the kernel hands out to clients, so that no connection takes it between look and start.
random_port() { echo $((20000 + RANDOM % 10000)); }

# first line of postmaster.pid; empty when the server does not run
postmaster() { head -n 1 "$1/data/postmaster.pid" 2>/dev/null || true; }

create_cluster() {
  local dir=$1
  mkdir -p "$dir"
  [ "$(id -u)" -ne 0 ] || chown postgres "$dir"
  # C.UTF-8-like sorting on every machine; trust is fine for a server that listens on loopback and is thrown away.
  as_owner "$bin/initdb" -D "$dir/data" -U breakerd --auth=trust --encoding=UTF8 --locale=C \
    >"$dir/initdb.log" 2>&1 || { cat "$dir/initdb.log" >&2; die "initdb failed in $dir"; }
}

# A copy of the primary that follows it.
create_standby() {
  local dir=$1 primary=$2
  mkdir -p "$dir"
  [ "$(id -u)" -ne 0 ] || chown postgres "$dir"
  dir=$(cd "$dir" && pwd) primary=$(cd "$primary" && pwd)
  cd "$dir"
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
  [ "$(id -u)" -ne 0 ] || id postgres >/dev/null 2>&1 || die "running as root needs the user postgres of the package"
  [ -d "$dir/data" ] || create_cluster "$dir"
  dir=$(cd "$dir" && pwd)
  cd "$dir" # a folder that the owner may enter: ours may be closed to it
  [ -n "$port" ] || port=$(cat port 2>/dev/null) || true
  local fixed=$port
  until
    port=${fixed:-$(random_port)}
    as_owner "$bin/pg_ctl" start -w -t 60 -s -D "$dir/data" -l "$dir/postgres.log" \
      -o "-h 127.0.0.1 -p $port -k '$dir' -c fsync=$fsync -c max_connections=300" >"pg_ctl.log" 2>&1
  do
    # The port may be taken, or the processes of a crashed server not all gone yet.
    tries=$((tries - 1))
    [ "$tries" -gt 0 ] || { tail -n 20 postgres.log pg_ctl.log >&2; die "Postgres does not start in $dir"; }
    sleep 0.5
  done
  echo "$port" >port
  as_owner "$bin/psql" -h "$dir" -p "$port" -U breakerd -d postgres -Atqc \
    "SELECT 1 FROM pg_database WHERE datname = 'breakerd'" | grep -q 1 ||
    as_owner "$bin/createdb" -h "$dir" -p "$port" -U breakerd breakerd
  echo "postgres://breakerd@127.0.0.1:$port/breakerd"
}

# A process that ended but that nobody reaped, as under a container's bare init, counts as gone.
alive() { kill -0 "$1" 2>/dev/null && ! grep -qs '^State:[[:space:]]*Z' "/proc/$1/status"; }

# end DIR SIGNAL: QUIT is PostgreSQL's immediate shutdown. Waits until the postmaster is gone.
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
command=$1 dir=$2 port='' fsync=on primary=''
shift 2
if [ "$command" = standby ]; then
  primary=${1:?standby needs the folder of its primary}
  shift
fi
while [ $# -gt 0 ]; do
  case $1 in
    --port) port=${2:?--port needs a number} ;;
    --fsync) fsync=${2:?--fsync needs on or off} ;;
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
