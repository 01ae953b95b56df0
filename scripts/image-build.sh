#!/usr/bin/env bash
# The steps of the Containerfile's first stage, inside of it: a static binary for TARGETARCH (amd64, arm64; the machine's own, if it
# is not set), by musl, as the final image has no libc.
#
#   image-build prepare              the compilers
#   image-build build                in the sources: the files of the final image and of its volume, as /image/root and /image/data
#   image-build sbom TARGET          a part of `build`, as is
#   image-build gather DIR BINARY    this one, for a binary that was built elsewhere
set -euo pipefail

cyclonedx=0.5.9
host=$(dpkg --print-architecture)
arch=${TARGETARCH:-$host}
case $arch in
  amd64) cpu=x86_64 cflags='' ;;
  # The helpers that gcc would call for atomics want a function of glibc.
  arm64) cpu=aarch64 cflags=-mno-outline-atomics ;;
  *) echo "there is no image for $arch: amd64 and arm64" >&2; exit 1 ;;
esac
target=$cpu-unknown-linux-musl

prepare() {
  # SQLite, mimalloc and ring are C. musl-dev has the wrapper of gcc for its headers; the linker is gcc itself.
  local packages=(ca-certificates gcc libc6-dev "musl-dev:$arch")
  if [ "$arch" != "$host" ]; then
    dpkg --add-architecture "$arch"
    packages+=("gcc-${cpu/_/-}-linux-gnu")
  fi
  apt-get update -qq
  apt-get install -y -qq --no-install-recommends "${packages[@]}"
  rm -rf /var/lib/apt/lists/*
  # An image may have brought these.
  [ -d "$(rustc --print sysroot)/lib/rustlib/$target" ] || rustup target add "$target"
  command -v cargo-cyclonedx >/dev/null || cargo install --quiet --locked --root /usr/local "cargo-cyclonedx@$cyclonedx"
}

build() {
  local variable=${target//-/_}
  export "CC_$variable=$cpu-linux-musl-gcc" "CFLAGS_$variable=$cflags" "AR_$variable=$cpu-linux-gnu-ar"
  export "CARGO_TARGET_${variable^^}_LINKER=$cpu-linux-gnu-gcc" BREAKERD_COMMIT=$REVISION
  cargo build --locked --bin breakerd --target "$target" --profile "$PROFILE" \
    --config "profile.$PROFILE.debug=false" --config "profile.$PROFILE.strip='symbols'"
  # Here are sources of the image alone, that may be written to.
  sbom "$target"
  gather /image "target/$target/$PROFILE/breakerd"
}

# sbom TARGET: what the binary is made of, as breakerd.cdx.json. One file is written beside the Cargo.toml of each crate of the
# workspace; that of breakerd has the others in it.
sbom() { cargo cyclonedx --quiet --format json --spec-version 1.5 --target "$1" --no-build-deps --override-filename breakerd.cdx; }

# gather DIR BINARY: the files of the image, in DIR/root, and those of its volume, in DIR/data
gather() {
  local root=$1/root
  install -D "$2" "$root/usr/local/bin/breakerd"
  install -D -m 644 breakerd.cdx.json "$root/usr/share/breakerd/breakerd.cdx.json"
  install -D -m 644 LICENSE "$root/usr/share/breakerd/LICENSE"
  install -D -m 644 breakerd.toml "$root/etc/breakerd/breakerd.toml"
  # For databases with a certificate of a public authority
  install -D -m 644 /etc/ssl/certs/ca-certificates.crt "$root/etc/ssl/certs/ca-certificates.crt"
  echo 'nonroot:x:65532:65532::/var/lib/breakerd:/sbin/nologin' >"$root/etc/passwd"
  echo 'nonroot:x:65532:' >"$root/etc/group"
  # SQLite sorts large results in files there.
  install -d -m 1777 "$root/tmp"
  install -d "$root/var/lib" "$1/data"
}

case ${1:-} in
  prepare | build | sbom | gather) "$@" ;;
  *) echo "usage: image-build prepare | build | sbom TARGET | gather DIR BINARY" >&2; exit 2 ;;
esac
