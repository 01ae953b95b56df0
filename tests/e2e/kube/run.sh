#!/usr/bin/env bash
# The chart in a real Kubernetes: etcd, the API server and the controllers, without nodes (cluster.sh). By Helm 3 and by Helm 4:
# each value set is installed where pods are restricted, changed, rolled back and removed; the first release is upgraded. What the
# chart renders is compared with the schemas of the oldest and the newest Kubernetes, and what it refuses with what the API server
# does. Its unit tests run, and it goes to a registry and back.
#
#   tests/e2e/kube/run.sh            all of that
#   tests/e2e/kube/run.sh PART...    only these: units, registry, schemas, wrong, upgrade, releases
#
# The programs are built from their Go modules into .tools/, which takes minutes at first.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../../.."
# shellcheck source=scripts/lib.sh
. scripts/lib.sh
here=tests/e2e/kube
# shellcheck source=tests/e2e/kube/cluster.sh
. $here/cluster.sh
# shellcheck source=tests/e2e/kube/releases.sh
. $here/releases.sh
# shellcheck source=tests/e2e/kube/upgrade.sh
. $here/upgrade.sh
# shellcheck source=tests/e2e/kube/wrong.sh
. $here/wrong.sh
# shellcheck source=tests/e2e/kube/beside.sh
. $here/beside.sh

chart=helm/breakerd
# Kubernetes' oldest minor version in Chart.yaml, at its last patch, and the one that runs here.
oldest=1.27.16
newest=$(sed -n 's/^require k8s.io\/kubernetes v//p' scripts/go/kubernetes/go.mod)

if ! have go; then
  if [ "${CI:-}" = true ]; then die "go is missing: install Go 1.26 from https://go.dev/dl"; fi
  printf 'skip - kube: go is missing: install Go 1.26 from https://go.dev/dl\n'
  exit 0
fi
[ $# -gt 0 ] || set -- units registry schemas wrong upgrade releases
scripts/tools.sh etcd kube-apiserver kube-controller-manager kubectl helm helm4 helm-unittest kubeconform registry jq
export PATH=$PWD/.tools/bin:$PATH

work=$(mktemp -d "${TMPDIR:-/tmp}/breakerd-kube.XXXXXX")
kept=$PWD/target/e2e/kube
mkdir -p "$kept"
registry_pid=''
# shellcheck disable=SC2329 # called by the trap
clean_up() {
  # Helm ends by itself once there is no API server, and whoever calls it looks for this file.
  touch "$work/ended"
  stop_cluster
  [ -z "$registry_pid" ] || kill "$registry_pid" 2>/dev/null || true
  wait || true
  rm -rf "$work"
}
trap clean_up EXIT
trap 'exit 130' INT
trap 'exit 143' TERM
# Nobody's own configuration of Helm or kubectl, and no cache of theirs.
export HOME=$work/home HELM_CONFIG_HOME=$work/home/config HELM_CACHE_HOME=$work/home/cache HELM_DATA_HOME=$work/home/data
unset KUBECONFIG HELM_NAMESPACE HELM_DRIVER HELM_PLUGINS HELM_KUBECONTEXT HELM_KUBEAPISERVER HELM_KUBETOKEN
mkdir -p "$HOME"

bad=no
# ok NAME; not_ok NAME WHY; verdict NAME: by what is on the standard input, which is nothing when all is well
ok() { printf 'ok - kube: %s\n' "$1"; }
not_ok() {
  printf 'not ok - kube: %s: %s\n' "$1" "$2"
  bad=yes
}
verdict() {
  local problem
  problem=$(tr '\n' ' ' | sed 's/ *$//' | cut -c 1-1000)
  if [ -z "$problem" ]; then ok "$1"; else not_ok "$1" "$problem"; fi
}

# end_of FILE: what a program said last
end_of() { tail -n 5 "$1" | cut -c 1-600; }

# eventually SECONDS CMD...: asks until CMD succeeds
eventually() {
  local end=$((SECONDS + $1))
  shift
  until "$@"; do
    [ "$SECONDS" -lt "$end" ] || return 1
    sleep 0.3
  done
}

# helm_of VERSION ARGS...: Helm 3 or 4
helm_of() {
  case $1 in
    3) helm "${@:2}" ;;
    4) helm4 "${@:2}" ;;
  esac
}

# value_sets: the files of good values; those of the suite `chart` among them
value_sets() { printf '%s\n' tests/e2e/chart/values/*.yaml $here/values/*.yaml; }

# values_of FILE HELM: its values, with addresses, and ports that no other release has
values_of() {
  sed -e 's|@URL@|postgres://breakerd@db:5432/breakerd|; s|@PGHOST@|db.example.org|; s|@PGPORT@|5432|; s|@PGDATABASE@|breakerd|' \
    -e "s|@HELM@|$2|" "$1"
}

# cluster: starts it, once
cluster() {
  [ ${#cluster_pids[@]} -eq 0 ] || return 0
  local began=$SECONDS
  start_cluster "$work/cluster"
  crds >"$work/crds.yaml"
  kubectl create -f "$work/crds.yaml" >/dev/null
  kubectl wait --for=condition=Established --timeout=60s -f "$work/crds.yaml" >/dev/null
  kubectl create -f - >/dev/null <<'K'
{ apiVersion: node.k8s.io/v1, kind: RuntimeClass, metadata: { name: sandboxed }, handler: sandbox }
K
  say "Kubernetes $(kubectl version -o json | jq -r .serverVersion.gitVersion) runs after $((SECONDS - began)) s"
}

# namespace NAME: one where pods are restricted
namespace() {
  jq -n '{ apiVersion: "v1", kind: "Namespace", metadata: { name: $name, labels: {
    "pod-security.kubernetes.io/enforce": "restricted", "pod-security.kubernetes.io/warn": "restricted" } } }' --arg name "$1"
}

for part in "$@"; do
  began=$SECONDS
  case $part in
    units | registry | schemas | wrong | upgrade | releases) "part_$part" ;;
    *) die "no such part: $part" ;;
  esac
  say "$part took $((SECONDS - began)) s"
done
[ "$bad" = no ]
