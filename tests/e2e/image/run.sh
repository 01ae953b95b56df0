#!/usr/bin/env bash
# The image: built from the Containerfile by `make image`, pushed to a registry on loopback, pulled by its digest, unpacked, and its
# binary run from there as the chart runs it: as its user, on a root that is read-only.
#
#   tests/e2e/image/run.sh          the final stage. Its binary is linked, statically, from what the tests are built of.
#                                   BREAKERD_E2E_IMAGE_BINARY=FILE names another one
#   tests/e2e/image/run.sh whole    the first stage too, which compiles everything anew. Takes many minutes, so it is not in `make e2e`
#   tests/e2e/image/run.sh arm64    both stages, cross-compiled for arm64; its binary is not run
#
# Buildah needs neither a container engine nor a daemon. All that it keeps is in target/e2e/image. No image is pulled from outside:
# in place of the one that the Containerfile names, its first stage starts from a Debian that mmdebstrap makes, with this machine's
# Rust and crates, and builds the profile `quick`. So nothing here tests the image of Rust, and nothing the profile `release`.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../../.."
# shellcheck source=scripts/lib.sh
. scripts/lib.sh

root=$PWD
work=$root/target/e2e/image
mode=${1:-final}
failed=no

leave() {
  if [ "${CI:-}" = true ]; then die "$1"; fi
  printf 'skip - image: %s\n' "$1"
  exit 0
}
[ "$(uname -s)" = Linux ] || leave "images for Linux are built on Linux"
have apt-get || leave "a Debian for the first stage is made with apt"
[ "$(id -u)" -eq 0 ] || leave "buildah without a container engine needs root"

packages=(buildah skopeo)
[ "$mode" = final ] || packages+=(mmdebstrap)
for package in "${packages[@]}"; do have "$package" || install_package "$package" "$package" "$package"; done
scripts/tools.sh cargo-cyclonedx helm jq registry
export PATH=$root/.tools/bin:$PATH
sysroot=$(rustc --print sysroot)
case $mode in
  final) target=$(uname -m)-unknown-linux-gnu ;;
  whole) target=$(uname -m)-unknown-linux-musl ;;
  arm64) target=aarch64-unknown-linux-musl ;;
  *) die "knows final, whole and arm64, not $mode" ;;
esac

run=$(mktemp -d "${TMPDIR:-/tmp}/breakerd-image.XXXXXX")
pids=()
finish() {
  local pid
  for pid in "${pids[@]}"; do kill "$pid" 2>/dev/null && wait "$pid" 2>/dev/null || true; done
  buildah rm --all >/dev/null 2>&1 || true
  rm -rf "$run"
}
trap finish EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

# check NAME CMD...: one test, with its output if it fails. Never called where its exit code is looked at: bash would then go on
# after a failed line of CMD.
check() {
  local name=$1 began=$SECONDS
  shift
  set +e
  (set -e; "$@") >"$run/log" 2>&1
  code=$?
  set -e
  if [ "$code" -eq 0 ]; then
    printf 'ok - image: %s\n' "$name"
    say "took $((SECONDS - began)) s"
  else
    tail -n 40 "$run/log"
    printf 'not ok - image: %s: see above\n' "$name"
    failed=yes
  fi
}
# need NAME CMD...: a test that the others build on
need() {
  check "$@"
  [ "$code" -eq 0 ] || exit 1
}

# Buildah and skopeo look here for what they have, and nowhere else.
mkdir -p "$work/cache"
printf '[storage]\ndriver = "vfs"\ngraphroot = "%s"\nrunroot = "%s"\n' "$work/storage" "$run/runroot" >"$run/storage.conf"
export CONTAINERS_STORAGE_CONF=$run/storage.conf STORAGE_DRIVER=vfs BUILDAH_ISOLATION=chroot TMPDIR=$work/cache
echo '{ "default": [{ "type": "insecureAcceptAnything" }] }' >"$run/policy.json"

# build NAME FLAGS...
build() {
  IMAGE=$1 IMAGE_TOOL=buildah IMAGE_FLAGS="--signature-policy $run/policy.json ${*:2}" make --no-print-directory image
}

# What the first stage has for the final one, with a binary of the profile `dev`. Only its last link differs from the one that is
# there when the tests are built: so most of it is, and is left as it was.
first_stage=$work/first-stage
gathered() {
  local binary=${BREAKERD_E2E_IMAGE_BINARY:-$(cargo metadata --format-version 1 --no-deps | jq -r .target_directory)/debug/breakerd}
  if [ -z "${BREAKERD_E2E_IMAGE_BINARY:-}" ]; then
    cargo rustc --quiet --locked --bin breakerd -- -C target-feature=+crt-static -C strip=symbols
  fi
  scripts/image-build.sh sbom "$target"
  rm -rf "$first_stage"
  scripts/image-build.sh gather "$first_stage/image" "$binary"
}
remove_sboms() { git ls-files '*Cargo.toml' | while read -r file; do rm -f "$(dirname "$file")/breakerd.cdx.json"; done; }

# What stands for the image of Rust: this machine's release of Debian with a compiler for C, and the SBOM's tool.
base=localhost/breakerd-e2e-rust
base_image() {
  local container codename
  if [ ! -d "$sysroot/lib/rustlib/$target" ]; then rustup target add "$target"; fi
  buildah inspect --type image "$base" >/dev/null 2>&1 && return
  codename=$(sed -n "s/^VERSION_CODENAME=//p" /etc/os-release)
  [ -f "$work/base.tar" ] ||
    mmdebstrap --variant=minbase --include=ca-certificates,gcc,libc6-dev "$codename" "$work/base.tar" "$(debian_repository)"
  container=$(buildah from scratch)
  buildah add --quiet "$container" "$work/base.tar" /
  buildah copy --quiet "$container" .tools/bin/cargo-cyclonedx /usr/local/bin/
  buildah config --env PATH=/opt/rust/bin:/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin --env CARGO_HOME=/opt/cargo "$container"
  buildah commit --quiet --rm "$container" "$base"
  rm "$work/base.tar"
}

# build_as_said NAME: in the mode of this run
build_as_said() {
  # The registry of crates is this machine's, so that nothing is downloaded twice.
  local whole="--build-arg RUST_IMAGE=$base --build-arg PROFILE=quick --volume $sysroot:/opt/rust:ro
    --volume ${CARGO_HOME:-$HOME/.cargo}/registry:/opt/cargo/registry"
  case $mode in
    final) build "$1" --build-context "build=$first_stage" ;;
    whole) build "$1" "$whole" ;;
    arm64) build "$1" "$whole" --platform linux/arm64 ;;
  esac
}

# push NAME TAG: prints the digest that the registry has it by
push() {
  skopeo --policy "$run/policy.json" copy --quiet --dest-tls-verify=false --digestfile "$run/$2.digest" \
    "containers-storage:$1" "docker://$registry/breakerd:$2"
  cat "$run/$2.digest"
}

# setting FILTER: of the image's configuration, as the registry has it
setting() { skopeo inspect --tls-verify=false --config "docker://$registry/breakerd@$digest" | jq -r "$1"; }
# is WHAT EXPECTED
is() { [ "$1" = "$2" ] || { printf 'is      %s\ninstead %s\n' "$1" "$2"; return 1; }; }

configuration() {
  is "$(setting .config.User)" 65532:65532
  is "$(setting '.config.Entrypoint + .config.Cmd | join(" ")')" "/usr/local/bin/breakerd serve"
  is "$(setting '.config.ExposedPorts | keys | join(" ")')" "50051/tcp 8080/tcp"
  is "$(setting '.config.Volumes | keys | join(" ")')" /var/lib/breakerd
  is "$(setting '.os + "/" + .architecture')" "linux/$architecture"
  is "$(setting '.config.Labels["org.opencontainers.image.licenses"]')" Apache-2.0
  is "$(setting '.config.Labels["org.opencontainers.image.source"]')" https://github.com/breakerd/breakerd
  is "$(setting '.config.Labels["org.opencontainers.image.version"]')" "$version"
  is "$(setting '.config.Labels["org.opencontainers.image.revision"]')" "$revision"
  is "$(setting '.created[:10]')" "$(date -u -d "@$(git log -1 --format=%ct)" +%F)"
  is "$(skopeo inspect --raw --tls-verify=false "docker://$registry/breakerd@$digest" | jq -r .mediaType)" \
    application/vnd.oci.image.manifest.v1+json
}

# Every file, with its owner and rights: no shell, no loader, nothing else.
files() {
  diff - <(cd "$1" && find . -mindepth 1 -printf '%M %U:%G %P\n' | LC_ALL=C sort -k 3) <<'END'
drwxr-xr-x 0:0 etc
drwxr-xr-x 0:0 etc/breakerd
-rw-r--r-- 0:0 etc/breakerd/breakerd.toml
-rw-r--r-- 0:0 etc/group
-rw-r--r-- 0:0 etc/passwd
drwxr-xr-x 0:0 etc/ssl
drwxr-xr-x 0:0 etc/ssl/certs
-rw-r--r-- 0:0 etc/ssl/certs/ca-certificates.crt
drwxrwxrwt 0:0 tmp
drwxr-xr-x 0:0 usr
drwxr-xr-x 0:0 usr/local
drwxr-xr-x 0:0 usr/local/bin
-rwxr-xr-x 0:0 usr/local/bin/breakerd
drwxr-xr-x 0:0 usr/share
drwxr-xr-x 0:0 usr/share/breakerd
-rw-r--r-- 0:0 usr/share/breakerd/LICENSE
-rw-r--r-- 0:0 usr/share/breakerd/breakerd.cdx.json
drwxr-xr-x 0:0 var
drwxr-xr-x 0:0 var/lib
drwxr-xr-x 65532:65532 var/lib/breakerd
END
}

static_and_stripped() {
  local headers machine
  case $architecture in amd64) machine=X86-64 ;; *) machine=AArch64 ;; esac
  headers=$(readelf --wide --file-header --program-headers --section-headers "$1")
  grep -E "Machine: .*$machine" <<<"$headers"
  # Of the profile `dev` a name of a script for gdb stays, which takes 34 bytes.
  if grep -vF .debug_gdb_scripts <<<"$headers" | grep -E 'INTERP|\.symtab|\.debug_'; then return 1; fi
  ls -l "$1"
}

# It names whatever cargo builds it from, and may name more: crates that other members of the workspace want of a library.
sbom() {
  local file=$1/usr/share/breakerd/breakerd.cdx.json
  is "$(jq -r '.bomFormat + " " + .specVersion' "$file")" "CycloneDX 1.5"
  is "$(jq -r '.metadata.component | .name + " " + .version' "$file")" "breakerd $version"
  is "$(jq '[.components[] | select((.licenses // []) == [])] | length' "$file")" 0
  jq -r '.components[] | .name + " v" + .version' "$file" | sort -u >"$run/named"
  cargo tree --locked --package breakerd --target "$target" --edges normal --prefix none --format '{p}' |
    awk '$1 != "breakerd" { print $1, $2 }' | sort -u >"$run/used"
  [ "$(wc -l <"$run/used")" -gt 100 ]
  is "$(comm -13 "$run/named" "$run/used")" ''
}

serves() {
  local address="" http
  for _ in $(seq 300); do
    address=$(sed -n 's/.*gRPC on \([^,]*\),.*/\1/p' "$run/out" | head -n 1)
    [ -z "$address" ] || break
    kill -0 "$server" || { cat "$run/out"; return 1; }
    sleep 0.1
  done
  cat "$run/out"
  http=$(sed -n 's|.*HTTP on http://||p' "$run/out" | head -n 1)
  is "$(curl --silent --show-error --noproxy '*' --output /dev/null --write-out '%{http_code}' "http://$http/readyz")" 200
  answer() { env -i PATH="$PATH" "BREAKERD_ADDRESS=http://$address" chroot --userspec=65532:65532 "$unpacked" /usr/local/bin/breakerd "$@"; }
  answer healthcheck --timeout 5s
  answer allow payments | grep -F 'allowed: CLOSED'
  # As its user, and stored where the volume is
  is "$(awk '/^Uid:/ { print $2 }' "/proc/$server/status")" 65532
  is "$(stat -c %u "$run/data/breakerd.db")" 65532
  if touch "/proc/$server/root/etc/written"; then echo "its root can be written"; return 1; fi
  kill "$server"
}

# What the chart says of the image: its user, its ports, and that its root is read-only.
chart() {
  local rendered
  rendered=$(helm template breakerd helm/breakerd --kube-version 1.30.0 --set "image.digest=$digest")
  grep -F "runAsUser: $(setting '.config.User | split(":")[0]')" <<<"$rendered"
  grep -F "runAsGroup: $(setting '.config.User | split(":")[1]')" <<<"$rendered"
  for port in $(setting '.config.ExposedPorts | keys[] | split("/")[0]'); do grep -F "containerPort: $port" <<<"$rendered"; done
  for path in $(setting '.config.Volumes | keys[]') /tmp /etc/breakerd; do
    grep -F "mountPath: $path" <<<"$rendered"
    [ -d "$unpacked$path" ]
  done
  grep -F "image: \"breakerd@$digest\"" <<<"$rendered"
  grep -F 'readOnlyRootFilesystem: true' <<<"$rendered"
}

version=$(sed -n '/^\[workspace.package\]/,/^\[/s/^version = "\(.*\)"/\1/p' Cargo.toml)
revision=$(git rev-parse HEAD)
[ -z "$(git status --porcelain)" ] || revision=${revision}dirty
architecture=$(dpkg --print-architecture)
# The tests are built without their commit, unless the environment names it.
commit=${BREAKERD_COMMIT:-unknown}

if [ "$mode" = final ]; then
  trap 'remove_sboms; finish' EXIT
  need "what the first stage has for the final one" gathered
else
  commit=$revision
  [ "$mode" = whole ] || architecture=arm64
  need "a Debian for the first stage" base_image
fi
need "make image builds it" build_as_said localhost/breakerd-e2e:one

printf 'version: 0.1\nstorage: { filesystem: { rootdirectory: %s } }\nhttp: { addr: "127.0.0.1:0" }\n' "$run/registry" >"$run/registry.yaml"
OTEL_TRACES_EXPORTER=none registry serve "$run/registry.yaml" >"$run/registry.log" 2>&1 &
pids+=($!)
for _ in $(seq 300); do
  registry=$(sed -n 's/.*listening on \(127.0.0.1:[0-9]*\).*/\1/p' "$run/registry.log" | head -n 1)
  [ -z "$registry" ] || break
  sleep 0.1
done
[ -n "$registry" ] || { cat "$run/registry.log"; die "the registry did not start"; }

need "a registry takes it" push localhost/breakerd-e2e:one one
digest=$(cat "$run/one.digest")
# From here on, what was pulled: nothing of what was built is left.
pull() {
  buildah rmi localhost/breakerd-e2e:one
  buildah pull --quiet --tls-verify=false --signature-policy "$run/policy.json" "docker://$registry/breakerd@$digest"
  is "$(skopeo inspect --tls-verify=false --format '{{.Digest}}' "docker://$registry/breakerd:one")" "$digest"
  buildah from --name e2e --signature-policy "$run/policy.json" --pull-never "$registry/breakerd@$digest"
  is "$(buildah inspect --format '{{.FromImageDigest}}' e2e)" "$digest"
}
need "and gives it by its digest" pull
unpacked=$(buildah mount e2e)

check "its configuration" configuration
check "its files, and no other" files "$unpacked"
check "its binary is static and stripped" static_and_stripped "$unpacked/usr/local/bin/breakerd"
if [ "$mode" = arm64 ]; then
  check "its SBOM has the crates that it is built from" sbom "$unpacked"
  [ "$failed" = no ]
  exit
fi
said="breakerd $version (commit $commit)"
check "its version names the commit" is "$("$unpacked/usr/local/bin/breakerd" --version)" "$said"
check "its SBOM has the crates that it is built from" sbom "$unpacked"

# As a container has it: the image's root, read-only, with a volume and a /tmp.
mkdir "$run/data" && chown 65532:65532 "$run/data"
setting '.config.Env[] | select(startswith("PATH=") | not)' >"$run/environment"
cat >"$run/start" <<'END'
set -eu
mount --bind "$1" "$1"
mount --bind "$2" "$1/var/lib/breakerd"
mount -t tmpfs -o mode=1777 tmpfs "$1/tmp"
# What the runtime adds. A binary that is linked with glibc reads /dev/random once.
mkdir -p "$1/proc" "$1/dev"
mount -t proc proc "$1/proc"
mount -t tmpfs tmpfs "$1/dev"
for device in null random urandom; do
  : >"$1/dev/$device"
  mount --bind "/dev/$device" "$1/dev/$device"
done
mount -o remount,bind,ro "$1"
shift 2
exec "$@"
END
mapfile -t environment <"$run/environment"
env -i PATH="$PATH" "${environment[@]}" BREAKERD_LOG_FORMAT=text BREAKERD_GRPC_LISTEN=127.0.0.1:0 BREAKERD_HTTP_LISTEN=127.0.0.1:0 \
  unshare --mount sh "$run/start" "$unpacked" "$run/data" \
  chroot --userspec=65532:65532 "$unpacked" /usr/local/bin/breakerd serve >"$run/out" 2>&1 &
server=$!
pids+=("$server")
check "it serves as the chart runs it" serves
check "the chart fits it" chart

# The same sources again: the same image.
again() {
  build_as_said localhost/breakerd-e2e:again
  is "$(push localhost/breakerd-e2e:again again)" "$digest"
}
check "built again, it has the same digest" again
[ "$failed" = no ]
