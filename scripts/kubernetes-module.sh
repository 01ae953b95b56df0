#!/usr/bin/env bash
# Writes scripts/go/kubernetes/go.mod and go.sum for a version of Kubernetes, by which scripts/tools.sh builds it.
#
#   scripts/kubernetes-module.sh 1.37.2
#
# Kubernetes' own go.mod takes its parts from folders beside it; ours takes the same parts as they were released.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
# shellcheck source=scripts/lib.sh
. scripts/lib.sh

version=${1:?which version, such as 1.37.2}
folder=scripts/go/kubernetes
mkdir -p "$folder"
theirs=$(cd / && go mod download -json "k8s.io/kubernetes@v$version" | sed -n 's/.*"GoMod": "\(.*\)".*/\1/p')
[ -n "$theirs" ] || die "there is no Kubernetes $version"
etcd=$(awk '$1 == "go.etcd.io/etcd/server/v3" { print $2 }' "$theirs")
{
  printf '// What scripts/tools.sh builds Kubernetes and etcd by: made by scripts/kubernetes-module.sh VERSION.\n'
  printf 'module breakerd.test/kubernetes\n\n'
  sed -n 's/^\(go\|godebug\) .*/&/p' "$theirs"
  printf '\nrequire k8s.io/kubernetes v%s\n\nrequire go.etcd.io/etcd/server/v3 %s\n\nreplace (\n' "$version" "$etcd"
  sed -n 's#^\t\(k8s.io/[a-z-]*\) => ./staging/.*#\t\1 => \1 v0.'"${version#1.}"'#p' "$theirs"
  printf ')\n'
} >"$folder/go.mod"
rm -f "$folder/go.sum"
# Which packages there are says which modules are needed.
(cd "$folder" && GOFLAGS=-mod=mod CGO_ENABLED=0 go list -deps k8s.io/kubernetes/cmd/kube-apiserver k8s.io/kubernetes/cmd/kube-controller-manager \
  k8s.io/kubernetes/cmd/kubectl go.etcd.io/etcd/server/v3 >/dev/null)
say "wrote $folder for Kubernetes $version and etcd ${etcd#v}"
