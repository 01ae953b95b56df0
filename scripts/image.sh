#!/usr/bin/env bash
# Builds the image of the Containerfile with the first of podman, buildah and docker that is there.
#
#   IMAGE=NAME:TAG         what to call it; breakerd:VERSION
#   PLATFORMS=LIST         linux/amd64,linux/arm64 for both, as one name; by default the machine's own
#   IMAGE_TOOL=TOOL        one of the three
#   IMAGE_FLAGS=FLAGS      more flags for it, such as --push for docker
#
# The files of the image are dated as the commit, so that the same sources give the same image.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
# shellcheck source=scripts/lib.sh
. scripts/lib.sh

version=$(sed -n '/^\[workspace.package\]/,/^\[/s/^version = "\(.*\)"/\1/p' Cargo.toml)
revision=unknown
if commit=$(git rev-parse --quiet --verify HEAD 2>/dev/null); then
  revision=$commit
  [ -z "$(git status --porcelain)" ] || revision=${commit}dirty
  : "${SOURCE_DATE_EPOCH:=$(git log -1 --format=%ct)}"
fi
: "${SOURCE_DATE_EPOCH:=0}"

tool=${IMAGE_TOOL:-}
if [ -z "$tool" ]; then
  for tool in podman buildah docker ''; do
    if [ -n "$tool" ] && have "$tool"; then break; fi
  done
fi
[ -n "$tool" ] || die "needs podman, buildah or docker to build an image"
image=${IMAGE:-breakerd:$version}
read -r -d '' -a flags <<<"${IMAGE_FLAGS:-}" || true
flags+=(--file Containerfile --build-arg "VERSION=$version" --build-arg "REVISION=$revision"
  --build-arg "SOURCE_DATE_EPOCH=$SOURCE_DATE_EPOCH")

case $tool in
  podman | buildah)
    # OCI's format has no health check, but docker's (IMAGE_FLAGS="--format docker") names the container of the build.
    flags+=(--timestamp "$SOURCE_DATE_EPOCH")
    if [ -n "${PLATFORMS:-}" ]; then
      flags+=(--platform "$PLATFORMS" --manifest "$image")
    else
      flags+=(--tag "$image")
    fi
    ;;
  docker) flags+=(${PLATFORMS:+--platform "$PLATFORMS"} --tag "$image") ;;
  *) die "knows podman, buildah and docker, not $tool" ;;
esac
say "building $image with $tool, of ${PLATFORMS:-this machine}"
"$tool" build "${flags[@]}" .
