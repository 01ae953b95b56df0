#!/usr/bin/env bash
# What the chart renders, starts: for each file of values/, breakerd is started with the configuration, the environment and the
# mounted files of the rendered pod, its probes are asked as the kubelet asks them, and the commands of `helm test` run.
#
# There is no cluster in this: paths of mounts are folders below a temporary one, and the ports are free ones.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../../.."
# shellcheck source=scripts/lib.sh
. scripts/lib.sh

scripts/tools.sh helm jq
export PATH=$PWD/.tools/bin:$PATH
if [ -z "${BREAKERD_TEST_POSTGRES_URL:-}" ]; then
  exec scripts/with-postgres.sh "$0"
fi
cargo build --quiet --bin breakerd
target=$(cargo metadata --format-version 1 --no-deps | jq -r .target_directory)
program=$target/debug/breakerd

work=$(mktemp -d "${TMPDIR:-/tmp}/breakerd-chart.XXXXXX")
server=''
# shellcheck disable=SC2329 # called by the trap
clean_up() {
  [ -z "$server" ] || kill -KILL "$server" 2>/dev/null || true
  rm -rf "$work"
}
trap clean_up EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

# json: the documents of YAML on the standard input as a JSON array. Helm reads YAML, so nothing else has to.
mkdir -p "$work/reader/templates"
printf 'apiVersion: v2\nname: reader\nversion: 0.0.0\n' >"$work/reader/Chart.yaml"
cat >"$work/reader/templates/_all.tpl" <<'T'
{{- define "reader.all" -}}
{{- $all := list }}
{{- range regexSplit "(?m)^---$" (.Files.Get "documents") -1 }}
{{- with fromYaml . }}{{ $all = append $all . }}{{ end }}
{{- end }}
{{- $all | toJson }}
{{- end }}
T
printf 'json: {{ include "reader.all" . | quote }}\n' >"$work/reader/templates/all.yaml"
json() {
  cat >"$work/reader/documents"
  # The text is quoted as Go quotes it, which for JSON of JSON is JSON.
  helm template reader "$work/reader" | sed -n 's/^json: //p' | jq 'fromjson'
}

# What the secrets hold that the values name.
files=$work/secrets
mkdir -p "$files"/{breakerd-tls,breakerd-tokens,breakerd-token,breakerd-client,breakerd-db-app,breakerd-credentials,breakerd-notify,breakerd-collector}
postgres=$BREAKERD_TEST_POSTGRES_URL
authority=${postgres#*://} && authority=${authority%%/*}
user=${authority%@*} address=${authority#*@}
password="p@ss/w:rd ?%#&" role=chart_role
new_database() {
  database=chart_$RANDOM$RANDOM
  psql "$postgres" -qc "CREATE DATABASE $database OWNER $role"
}
psql "$postgres" -qc "CREATE ROLE $role SUPERUSER LOGIN PASSWORD '$password'"
printf 'authorization: Bearer secret\n' >"$files/breakerd-collector/headers"
printf '%s' "$role" >"$files/breakerd-credentials/username"
printf '%s' "$password" >"$files/breakerd-credentials/password"
certificate() { # certificate NAME FOLDER EXTENSIONS
  openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj "/CN=$1" -keyout "$2/tls.key" -out "$work/csr" 2>/dev/null
  printf '%s' "$3" >"$work/ext"
  openssl x509 -req -in "$work/csr" -CA "$work/ca.crt" -CAkey "$work/ca.key" -CAcreateserial -days 2 -extfile "$work/ext" \
    -out "$2/tls.crt" 2>/dev/null
  cp "$work/ca.crt" "$2/"
}
openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj "/CN=CA of the test" \
  -keyout "$work/ca.key" -out "$work/ca.crt" 2>/dev/null
cp "$work/ca.crt" "$files/breakerd-collector/"
printf 'https://hooks.example.org/services/T0/B0/x' >"$files/breakerd-notify/url"
printf 'whsec_%s' "$(openssl rand -base64 32)" >"$files/breakerd-notify/secret"
cp "$work/ca.crt" "$files/breakerd-notify/"
certificate breakerd "$files/breakerd-tls" 'subjectAltName=DNS:localhost'
certificate test "$files/breakerd-client" $'subjectAltName=URI:spiffe://cluster/ns/test\nextendedKeyUsage=clientAuth'
"$program" token new --name test --role caller --role reader --append "$files/breakerd-tokens/tokens.toml" 2>/dev/null |
  head -n 1 | tr -d '\n' >"$files/breakerd-token/token"

# environment CONTAINER: as NAME=VALUE with a NUL behind each; paths of mounts are below $root
environment() {
  local name value secret key
  # Behind a separator that is no white space, fields can be empty.
  while IFS=$'\x1f' read -r name value secret key; do
    if [ -n "$secret" ]; then
      value=$(cat "$files/$secret/$key")
    elif [ "$name" = BREAKERD_REPLICA ]; then
      value=breakerd-0
    fi
    # An absolute path is one of a mount.
    case $value in
      /*) value=$root$value ;;
    esac
    printf '%s=%s\0' "$name" "$value"
  done < <(jq -r '.env[] | [.name, .value // "", .valueFrom.secretKeyRef.name // "", .valueFrom.secretKeyRef.key // ""] | join("\u001f")' <<<"$1")
}

# mounts CONTAINER POD: the folders of its volumes below $root
mounts() {
  local path volume
  while IFS=$'\t' read -r path volume; do
    mkdir -p "$root$path"
    jq -r 'if .secret then (.secret.items // [{key: "*", path: "*"}])[] | [$secret, .key, .path] else empty end | @tsv' \
      --arg secret "$(jq -r '.secret.secretName // ""' <<<"$volume")" <<<"$volume" |
      while IFS=$'\t' read -r secret key target; do
        if [ "$key" = '*' ]; then
          cp "$files/$secret"/* "$root$path/"
        else
          cp "$files/$secret/$key" "$root$path/$target"
        fi
      done
    if [ "$(jq -r '.configMap.name // ""' <<<"$volume")" != '' ]; then
      # An absolute path in it is one of a mount.
      jq -r '.[] | select(.kind == "ConfigMap") | .data["breakerd.toml"]' <<<"$manifests" |
        sed "s|\"/etc/breakerd-notify/|\"$root/etc/breakerd-notify/|" >"$root$path/breakerd.toml"
    fi
  done < <(jq -r --argjson pod "$2" \
    '.volumeMounts // [] | .[] | . as $mount | [$mount.mountPath, ([$pod.volumes[]? | select(.name == $mount.name)][0] // {} | tojson)] | @tsv' <<<"$1" |
    sed 's/\\\\/\\/g')
}

# ports: those of gRPC and HTTP, once breakerd has said where it listens
ports() { jq -r 'select(.message == "starting") | [.grpc, .http] | map(sub(".*:"; "")) | join(" ")' "$root/log" 2>/dev/null; }

# asked PROBE: asks as the kubelet would
asked() {
  local service path scheme
  service=$(jq -r '.grpc.service // ""' <<<"$1")
  if [ -n "$service" ]; then
    "$program" healthcheck --address "127.0.0.1:$grpc_port" --service "$service" >/dev/null 2>>"$root/probe"
  else
    path=$(jq -r .httpGet.path <<<"$1") scheme=$(jq -r '.httpGet.scheme | ascii_downcase' <<<"$1")
    # The kubelet verifies no certificate.
    curl --silent --insecure --fail --max-time 2 --output /dev/null "$scheme://127.0.0.1:$http_port$path" 2>>"$root/probe"
  fi
}

# try_values FILE: nothing when all is well, else what is not
try_values() {
  root=$work/root
  rm -rf "$root"
  mkdir -p "$root/tmp"
  new_database
  printf '%s' "postgresql://$user@$address/$database" >"$files/breakerd-db-app/uri"
  sed -e "s|@URL@|$(cat "$files/breakerd-db-app/uri")|; s|@PGHOST@|${address%:*}|; s|@PGPORT@|${address##*:}|; s|@PGDATABASE@|$database|" "$1" >"$work/values.yaml"
  helm template try helm/breakerd --namespace try --kube-version 1.34.0 -f "$work/values.yaml" >"$work/rendered" 2>"$work/error" ||
    { echo "it does not render: $(cat "$work/error")"; return; }
  manifests=$(json <"$work/rendered")
  local pod container test_pod names
  pod=$(jq '.[] | select(.kind == "Deployment" or .kind == "StatefulSet") | .spec.template.spec' <<<"$manifests")
  container=$(jq '.containers[0]' <<<"$pod")
  mounts "$container" "$pod"
  mkdir -p "$root/var/lib/breakerd"
  local variables=()
  mapfile -d '' variables < <(environment "$container")
  env -i HOME="$root" "${variables[@]}" BREAKERD_GRPC_LISTEN=127.0.0.1:0 BREAKERD_HTTP_LISTEN=127.0.0.1:0 BREAKERD_LOG_FORMAT=json \
    "$program" serve >"$root/log" 2>&1 &
  server=$!
  local waited=0
  grpc_port='' http_port=''
  until [ -n "$http_port" ] && asked "$(jq .readinessProbe <<<"$container")"; do
    if ! kill -0 "$server" 2>/dev/null || [ $((waited += 1)) -gt 300 ]; then
      echo "it does not become ready: $(tail -n 3 "$root/log" | cut -c 1-400)"
      return
    fi
    read -r grpc_port http_port < <(ports) || true
    [ -n "$http_port" ] || sleep 0.1
  done
  local probe
  for probe in startupProbe livenessProbe; do
    asked "$(jq ".$probe" <<<"$container")" || { echo "$probe fails: $(tail -n 1 "$root/probe")"; return; }
  done
  if grep -q '"level":"WARN".*sets nothing' "$root/log"; then
    echo "a variable sets nothing: $(grep 'sets nothing' "$root/log" | head -n 1)"
    return
  fi
  # The commands of the test, one after the other, as a pod runs them.
  test_pod=$(jq '.[] | select(.kind == "Pod") | .spec' <<<"$manifests")
  names=$(jq -r '[.initContainers[], .containers[]] | .[].name' <<<"$test_pod")
  local name arguments scheme
  for name in $names; do
    container=$(jq --arg name "$name" '[.initContainers[], .containers[]] | .[] | select(.name == $name)' <<<"$test_pod")
    mounts "$container" "$test_pod"
    mapfile -d '' variables < <(environment "$container")
    scheme=$(jq -r '.env[] | select(.name == "BREAKERD_ADDRESS") | .value | sub(":.*"; "")' <<<"$container")
    mapfile -t arguments < <(jq -r '.args[] | sub("^/usr/local/bin/breakerd$"; $program)' --arg program "$program" <<<"$container")
    env -i "${variables[@]}" BREAKERD_ADDRESS="$scheme://localhost:$grpc_port" "$program" "${arguments[@]}" >"$root/said" 2>&1 ||
      { echo "$name of helm test fails: $(tail -n 2 "$root/said")"; return; }
  done
  kill -TERM "$server"
  wait "$server" || echo "it does not end as it should: exit code $?"
  server=''
}

bad=no
for values in tests/e2e/chart/values/*.yaml; do
  name=$(basename "$values" .yaml)
  try_values "$values" >"$work/problem"
  problem=$(cat "$work/problem")
  if [ -n "$server" ]; then
    kill -KILL "$server" 2>/dev/null || true
    wait "$server" 2>/dev/null || true
    server=''
  fi
  if [ -z "$problem" ]; then
    echo "ok - chart: $name starts, its probes succeed, and helm test's commands do"
  else
    echo "not ok - chart: $name: $problem"
    bad=yes
  fi
done
[ "$bad" = no ]
