# Shared by the scripts beside it: source this, do not run it.
# shellcheck shell=bash

say() { printf '%s: %s\n' "$(basename "$0")" "$*" >&2; }
die() { say "$*"; exit 1; }
have() { command -v "$1" >/dev/null 2>&1; }

# as_root CMD...: system packages need root; sudo asks only on a terminal, so nothing hangs in CI.
as_root() {
  if [ "$(id -u)" -eq 0 ]; then
    "$@"
  elif have sudo; then
    if [ -t 0 ]; then sudo "$@"; else sudo -n "$@"; fi
  else
    say "\"$*\" needs root, and there is no sudo"
    return 1
  fi
}

# server_owner: the user for servers that refuse to run as root
server_owner() { id postgres >/dev/null 2>&1 && echo postgres || echo nobody; }

# install_package DEBIAN FEDORA BREW: install one package of the system, named as each family names it.
# Only Debian's family is installed by us; the others get the line to type.
install_package() {
  if have apt-get; then
    say "installing Debian package $1"
    # The package lists of a fresh machine are empty or old: refresh them when the first try fails.
    apt_install "$1" || { as_root apt-get update -qq && apt_install "$1"; } ||
      die "could not install $1; try: sudo apt-get install $1"
  elif have dnf; then
    die "please install it and try again: sudo dnf install $2"
  elif have brew; then
    die "please install it and try again: brew install $3"
  else
    die "please install $1 with your system's package manager and try again"
  fi
}

apt_install() {
  as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$1" \
    </dev/null >/dev/null
}

# debian_repository: where apt finds Debian's packages; nothing on other systems
# shellcheck disable=SC2016 # apt fills these in
debian_repository() {
  apt-get indextargets --format '$(ORIGIN) $(REPO_URI)' 'Created-By: Packages' | sed -n '/^Debian /{s///p;q}'
}
