#!/usr/bin/env bash
# An earlier version of breakerd beside this one, as during an upgrade: replicas of both on one Postgres, and a rolling upgrade.
#
# The earlier version is built from a commit, and kept in target/e2e/upgrade: that of BREAKERD_E2E_EARLIER, or else of the newest
# release before this one (a tag vX.Y.Z), or else, before there is a release, the one that the file `earlier` beside this names.
# A shallow clone may not have it; then the suite is skipped.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../../.."
# shellcheck source=scripts/lib.sh
. scripts/lib.sh
# shellcheck source=scripts/it.sh
. scripts/it.sh

root=$PWD
work=$root/target/e2e/upgrade

earlier=${BREAKERD_E2E_EARLIER:-$(git describe --tags --abbrev=0 --match 'v[0-9]*' HEAD^ 2>/dev/null || cat tests/e2e/upgrade/earlier)}
if ! commit=$(git rev-parse --quiet --verify "$earlier^{commit}"); then
  printf 'skip - upgrade: the earlier version %s is not in this clone: git fetch --unshallow --tags\n' "$earlier"
  exit 0
fi
say "the earlier version is $(git log -1 --format='%h of %cs, %s' "$commit")"

# What the build of this version has compiled of other crates is the same for the earlier one. Cargo writes no such file twice, so
# that links will do; what it does write again is copied.
share_dependencies() {
  local file
  mkdir -p "$work/target/debug/deps"
  cp -R -p target/debug/build target/debug/.fingerprint "$work/target/debug/"
  for file in target/debug/deps/*; do
    case $(basename "$file") in
      *breakerd* | it-* | *incident_manager*) ;;
      *) ln "$file" "$work/target/debug/deps/" ;;
    esac
  done
}

if [ ! -x "$work/$commit/breakerd" ]; then
  began=$SECONDS
  rm -rf "$work"
  mkdir -p "$work/source" "$work/$commit"
  git archive "$commit" | tar -x -C "$work/source"
  cargo build --quiet --bin breakerd
  share_dependencies
  (cd "$work/source" && CARGO_TARGET_DIR=$work/target cargo build --quiet --locked --bin breakerd)
  cp "$work/target/debug/breakerd" "$work/$commit/"
  rm -rf "$work/target" "$work/source"
  say "built it in $((SECONDS - began)) s"
fi

run=$(mktemp -d "${TMPDIR:-/tmp}/breakerd-upgrade.XXXXXX")
trap 'rm -rf "$run"' EXIT
trap 'exit 130' INT
trap 'exit 143' TERM
build_tests "$run"
BREAKERD_TEST_EARLIER=$work/$commit/breakerd \
  run_tests upgrade "$run" scripts/with-postgres.sh "$program" --ignored replicas::upgrade::
[ "$failed" = no ]
