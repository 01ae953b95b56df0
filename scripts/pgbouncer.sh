#!/usr/bin/env bash
# A throw-away PgBouncer in a folder of its own, on 127.0.0.1, in front of the Postgres at a URL.
#
#   scripts/pgbouncer.sh start DIR URL MODE [SETTING...]   start it with pool_mode MODE (session, transaction, statement),
#                                                          print its URL; a SETTING is a line of its file: "a = b"
#   scripts/pgbouncer.sh stop DIR                          stop it; DIR stays
#
# Nothing else is set: this is how its packages ship it. Like PostgreSQL it refuses to run as root, and is run as `postgres`,
# or as `nobody`. BREAKERD_TEST_PGBOUNCER is the program to use; without it the one that is installed.
set -euo pipefail
# shellcheck source=scripts/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

usage() { sed -n '2,9s/^# \{0,1\}//p' "$0" >&2; exit 2; }

# The system's, and not the one that scripts/tools.sh builds for a suite that asks for it: its user may not be let into this folder.
find_pooler() {
  [ -z "${BREAKERD_TEST_PGBOUNCER:-}" ] || { echo "$BREAKERD_TEST_PGBOUNCER"; return; }
  PATH=/usr/sbin:/usr/local/sbin:${PATH//"$PWD/.tools/bin:"/} command -v pgbouncer
}

# install_pooler: one at a time, as several tests want it at once. Its package would also start one for the whole machine,
# which nobody asked for.
install_pooler() {
  if have flock; then
    exec 9>"${TMPDIR:-/tmp}/breakerd-pgbouncer.lock"
    flock 9
  fi
  find_pooler >/dev/null || install_it
  # What is started from here on must not hold the lock.
  exec 9>&-
}

install_it() {
  local policy=/usr/sbin/policy-rc.d made=''
  if have apt-get && [ ! -e "$policy" ] && [ "$(id -u)" -eq 0 ]; then
    printf '#!/bin/sh\nexit 101\n' >"$policy" && chmod +x "$policy" && made=yes
  fi
  install_package pgbouncer pgbouncer pgbouncer
  [ -z "$made" ] || rm -f "$policy"
}

start() {
  local dir=$1 url=$2 mode=$3 bin host port user tries=10
  shift 3
  bin=$(find_pooler) || { install_pooler; bin=$(find_pooler); } || die "pgbouncer was not found"
  [[ $url =~ ^postgres://([^@]+)@([^:/]+):([0-9]+)/(.+)$ ]] || die "not a URL that this understands: $url"
  user=${BASH_REMATCH[1]} host=${BASH_REMATCH[2]} port=${BASH_REMATCH[3]} database=${BASH_REMATCH[4]}
  mkdir -p "$dir"
  dir=$(cd "$dir" && pwd)
  until
    listen=$((20000 + RANDOM % 10000))
    cat >"$dir/pgbouncer.ini" <<INI
[databases]
* = host=$host port=$port
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = $listen
unix_socket_dir =
auth_type = any
auth_file = $dir/users
pool_mode = $mode
logfile = $dir/pgbouncer.log
pidfile = $dir/pgbouncer.pid
$(printf '%s\n' "$@")
INI
    printf '"%s" ""\n' "$user" >"$dir/users"
    # With auth_type any, PgBouncer logs in as the user that the database names.
    sed -i "s/^\* = .*/& user=$user/" "$dir/pgbouncer.ini"
    if [ "$(id -u)" -eq 0 ]; then
      chown -R "$(server_owner)" "$dir"
      runuser -u "$(server_owner)" -- "$bin" -q -d "$dir/pgbouncer.ini" >"$dir/start.log" 2>&1
    else
      "$bin" -q -d "$dir/pgbouncer.ini" >"$dir/start.log" 2>&1
    fi && wait_for "$listen"
  do
    # The port may be taken.
    tries=$((tries - 1))
    [ "$tries" -gt 0 ] || { tail -n 20 "$dir"/*.log >&2; die "PgBouncer does not start in $dir"; }
  done
  echo "postgres://$user@127.0.0.1:$listen/$database"
}

wait_for() {
  for _ in $(seq 50); do
    (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null && return 0
    sleep 0.1
  done
  return 1
}

stop() {
  local pid
  pid=$(cat "$1/pgbouncer.pid" 2>/dev/null) || return 0
  # At once: SIGTERM is its immediate shutdown.
  kill -TERM "$pid" 2>/dev/null || return 0
}

case ${1:-} in
  start) [ $# -ge 4 ] || usage; start "${@:2}" ;;
  stop) [ $# -eq 2 ] || usage; stop "$2" ;;
  *) usage ;;
esac
