#!/usr/bin/env bash
# Writes the Grafana dashboards of the chart from dashboards/src, once they agree with Grafana's types. Needs Node.js.
#
#   scripts/dashboards.sh          write them
#   scripts/dashboards.sh --check  fail if they are not what dashboards/src says
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
# shellcheck source=scripts/lib.sh
. scripts/lib.sh

have npm || die "the dashboards are built with npm: install Node.js from https://nodejs.org"
target=$PWD/helm/breakerd/files/dashboards
work=$(mktemp -d "${TMPDIR:-/tmp}/breakerd-dashboards.XXXXXX")
trap 'rm -rf "$work"' EXIT
cp -R dashboards/package.json dashboards/package-lock.json dashboards/tsconfig.json dashboards/src "$work"
(cd "$work" && npm ci --no-audit --no-fund --silent && npx tsc && node out/write.js "$work/written") >&2
case ${1:-} in
  --check)
    diff -r "$work/written" "$target" >&2 ||
      die "helm/breakerd/files/dashboards is not what dashboards/src says: run make dashboards"
    ;;
  '')
    rm -rf "$target"
    cp -R "$work/written" "$target"
    ;;
  *) die "usage: scripts/dashboards.sh [--check]" ;;
esac
