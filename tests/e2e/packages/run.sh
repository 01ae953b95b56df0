#!/usr/bin/env bash
# The crates that a user of the Rust client gets: packaged as for a registry, built from their packages without protoc, and used by
# a small project outside of this workspace against a real breakerd.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../../.."
# shellcheck source=scripts/lib.sh
. scripts/lib.sh

root=$PWD
work=$root/target/e2e/packages
mkdir -p "$work"
crates=(breakerd-machine breakerd-api breakerd-client)
failed=no

# check NAME CMD...: one test, with its output if it fails
check() {
  local name=$1 log
  shift
  log=$(mktemp "$work/log.XXXXXX")
  if "$@" >"$log" 2>&1; then
    printf 'ok - %s\n' "$name"
  else
    tail -30 "$log"
    printf 'not ok - %s: see above\n' "$name"
    failed=yes
  fi
  rm -f "$log"
}

# Without protoc, wherever it may be installed.
export PROTOC=/nonexistent

package() {
  local arguments=(--no-verify --allow-dirty --target-dir "$work/package")
  for crate in "${crates[@]}"; do arguments+=(-p "$crate"); done
  cargo package "${arguments[@]}"
}

# The packages, unpacked side by side, in place of a registry.
unpack() {
  rm -rf "$work/crates" && mkdir -p "$work/crates"
  for crate in "${crates[@]}"; do
    tar -xzf "$work/package/package/$crate-"*.crate -C "$work/crates"
    mv "$work/crates/$crate-"* "$work/crates/$crate"
  done
  cp -R "$root/tests/e2e/packages/project" "$work/crates/"
  cp "$root/Cargo.lock" "$work/crates/project/"
}

pulls_in_nothing_of_the_server() {
  local tree
  tree=$(cd "$work/crates/project" && cargo tree -e normal)
  ! grep -E ' (sqlx|axum|breakerd|breakerd-common|protox|clap) v' <<<"$tree"
}

build_project() { (cd "$work/crates/project" && cargo build --target-dir "$work/target"); }

use_it() {
  local folder pid address
  cargo build --quiet --bin breakerd
  folder=$(mktemp -d)
  (cd "$folder" && exec "$root/target/debug/breakerd" serve --data-dir data --log-format text \
    --grpc-listen 127.0.0.1:0 --http-listen 127.0.0.1:0 >out 2>log) &
  pid=$!
  # shellcheck disable=SC2064
  trap "kill $pid 2>/dev/null; rm -rf '$folder'" EXIT
  for _ in $(seq 300); do
    address=$(sed -n 's/.*gRPC on \([^,]*\),.*/\1/p' "$folder/out" | head -1)
    [ -z "$address" ] || break
    sleep 0.1
  done
  [ -n "$address" ] || { cat "$folder/log"; return 1; }
  "$work/target/debug/project" "http://$address"
}

check "the crates of the client can be packaged" package
check "their packages unpack" unpack
check "the client pulls in nothing of the server" pulls_in_nothing_of_the_server
check "a project outside builds from them without protoc" build_project
check "the project opens a breaker and is rejected" use_it
[ "$failed" = no ]
