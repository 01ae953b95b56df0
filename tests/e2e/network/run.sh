#!/usr/bin/env bash
# Replicas of breakerd as processes, each in a network of its own, and Postgres: the tests of tests/it/replicas/network.rs. The
# network between one of them and Postgres is cut, so that packets are lost and nobody is told that a connection has ended.
#
# All of it runs in namespaces of the kernel, made by `unshare` for this suite. So it needs no root, where users may make
# namespaces, changes nothing on this machine, and leaves no network behind. It needs Linux, util-linux, and `ip` of iproute2.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../../.."
# shellcheck source=scripts/lib.sh
. scripts/lib.sh
# shellcheck source=scripts/it.sh
. scripts/it.sh

unshared() { unshare --user --map-root-user --net --mount "$@"; }

# inside DIR CMD...: runs a command beside a Postgres that all networks in here reach. We are root here, but of this namespace alone.
inside() {
  local dir=$1
  # Where `ip netns` keeps the names of networks.
  mount -t tmpfs tmpfs /run
  ip link set lo up
  # Postgres refuses to run as root, so here it is another user, whom these namespaces have not: in one more namespace.
  local owner server
  owner=$(server_owner)
  server=(unshare --user --map-user="$(id -u "$owner")" --map-group="$(id -g "$owner")" scripts/postgres.sh)
  # shellcheck disable=SC2064 # what it is now
  trap "${server[*]} stop '$dir/postgres'" EXIT
  BREAKERD_TEST_POSTGRES_URL=$("${server[@]}" start "$dir/postgres" --fsync off --listen 0.0.0.0)
  export BREAKERD_TEST_POSTGRES_URL BREAKERD_TEST_IN_NAMESPACES=yes NO_PROXY='*' no_proxy='*'
  "${@:2}"
}

trap 'exit 130' INT
trap 'exit 143' TERM
if [ "${1:-}" = inside ]; then
  inside "${@:2}"
  exit
fi

if [ "$(uname -s)" != Linux ]; then
  printf 'skip - network: this system has no network namespaces\n'
  exit 0
fi
have ip || install_package iproute2 iproute iproute2
if ! why=$(unshared sh -c 'mount -t tmpfs tmpfs /run && ip link add one type veth peer name other' 2>&1); then
  why="this machine lets this user make no namespaces ($(tail -n 1 <<<"$why")): set sysctl kernel.apparmor_restrict_unprivileged_userns=0 \
on Ubuntu, or start the container with --security-opt seccomp=unconfined"
  if [ "${CI:-}" = true ]; then die "$why"; fi
  printf 'skip - network: %s\n' "$why"
  exit 0
fi

run=$(mktemp -d "${TMPDIR:-/tmp}/breakerd-network.XXXXXX")
trap 'rm -rf "$run"' EXIT
build_tests "$run"
# Inside nobody can install Postgres: here it is, if it is missing.
scripts/with-postgres.sh --fsync off true
run_tests network "$run" unshared "$PWD/tests/e2e/network/run.sh" inside "$run" "$program" --ignored --test-threads 1 \
  replicas::network::
[ "$failed" = no ]
