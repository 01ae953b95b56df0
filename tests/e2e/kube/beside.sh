# What needs no cluster, or little of one: the unit tests, a registry, and schemas. For run.sh: source this, do not run it.
# shellcheck shell=bash
# shellcheck disable=SC2154 # run.sh sets work, kept, chart, oldest and newest

# module MODULE VERSION SUM: the folder of a Go module, downloaded if need be
module() {
  local said
  said=$(cd "$work" && GOFLAGS='' go mod download -json "$1@$2") || die "go mod download $1@$2 failed: $said"
  [ "$(jq -r .Sum <<<"$said")" = "$3" ] || die "$1@$2 is not the one that this suite knows: its sum is $(jq -r .Sum <<<"$said")"
  jq -r .Dir <<<"$said"
}

# crds: the custom resource definitions of the Prometheus operator and of the Gateway API
crds() {
  local operator gateway file
  operator=$(module github.com/prometheus-operator/prometheus-operator v0.85.0 h1:M5xLCLEoaW2IJfnuCwFzzpL+jSVQu3KGT84Pye+fW8s=)
  gateway=$(module sigs.k8s.io/gateway-api v1.6.3 h1:lKpJa5bGlraC/QeACvCpsHLdmO6y0iKfzVl6gzaFEYc=)
  for file in "$operator"/example/prometheus-operator-crd/monitoring.coreos.com_{servicemonitors,podmonitors,prometheusrules}.yaml \
    "$gateway"/config/crd/standard/gateway.networking.k8s.io_{grpcroutes,gateways}.yaml; do
    printf -- '---\n'
    cat "$file"
  done
}

part_units() {
  local file path missing=()
  helm-unittest "$chart" >"$work/units.log" 2>&1 || true
  while read -r path; do
    file=${path#"$chart/"}
    if grep -q "^ PASS .*$file" <(tr -s '\t' ' ' <"$work/units.log"); then ok "units of $file"; else not_ok "units of $file" "see above"; fi
  done < <(ls "$chart"/tests/*_test.yaml)
  ! grep -q FAIL "$work/units.log" || cat "$work/units.log" >&2
  # Each value of the table in the README is set by a test.
  # shellcheck disable=SC2016 # the backticks are those of the table
  while read -r path; do
    grep -qE "^ +${path//./\\.}[.:]|[{,] ${path//./\\.}[.:]" "$chart"/tests/*_test.yaml || missing+=("$path")
  done < <(sed -n '/^<!-- values: /,/^<!-- end of values/s/^| `\([^`]*\)` | .*/\1/p' "$chart/README.md")
  verdict "each value has a unit test" <<<"${missing[*]+no test sets ${missing[*]}}"
}

part_registry() {
  local address version waited=0
  printf 'version: 0.1\nstorage: { filesystem: { rootdirectory: %s } }\nhttp: { addr: "127.0.0.1:0" }\n' "$work/registry" >"$work/registry.yaml"
  OTEL_TRACES_EXPORTER=none registry serve "$work/registry.yaml" >"$work/registry.log" 2>&1 &
  registry_pid=$!
  until address=$(grep -o 'listening on 127.0.0.1:[0-9]*' "$work/registry.log" | head -n 1) && [ -n "$address" ]; do
    kill -0 "$registry_pid" 2>/dev/null && [ $((waited += 1)) -lt 300 ] || { not_ok "a registry starts" "$(end_of "$work/registry.log")"; return; }
    sleep 0.1
  done
  address=oci://${address#listening on }
  for version in 3 4; do push_and_pull "$version" "$address/helm-$version" | verdict "Helm $version pushes the chart to a registry and pulls it"; done
  kill "$registry_pid"
  wait "$registry_pid" 2>/dev/null || true
  registry_pid=''
}

# push_and_pull HELM ADDRESS: nothing when all is well
push_and_pull() {
  local folder=$work/package-$1 version digest
  version=$(sed -n 's/^version: //p' "$chart/Chart.yaml")
  mkdir -p "$folder/pulled"
  helm_of "$1" package "$chart" --destination "$folder" >"$folder/log" 2>&1 || { end_of "$folder/log"; return; }
  helm_of "$1" push "$folder/breakerd-$version.tgz" "$2" --plain-http >"$folder/log" 2>&1 || { end_of "$folder/log"; return; }
  digest=$(grep -o 'sha256:[0-9a-f]*' "$folder/log" | head -n 1)
  [ -n "$digest" ] || { echo "it tells no digest: $(end_of "$folder/log")"; return; }
  helm_of "$1" pull "$2/breakerd@$digest" --plain-http --destination "$folder/pulled" >"$folder/log" 2>&1 || { end_of "$folder/log"; return; }
  cmp "$folder"/breakerd-*.tgz "$folder"/pulled/*.tgz 2>&1 || return 0
  helm_of "$1" template try "$2/breakerd" --version "$version" --plain-http --kube-version "$newest" >"$folder/rendered" 2>"$folder/log" ||
    { end_of "$folder/log"; return; }
  helm_of "$1" template try "$chart" --kube-version "$newest" >"$folder/expected" 2>&1
  cmp "$folder/expected" "$folder/rendered" 2>&1 || return 0
  ! tar -tzf "$folder/breakerd-$version.tgz" | grep -E '_test\.yaml$' || echo "the unit tests are in the package"
}

kinds=(ConfigMap Deployment GRPCRoute HorizontalPodAutoscaler NetworkPolicy PersistentVolumeClaim Pod PodDisruptionBudget PodMonitor
  PrometheusRule Role Service ServiceAccount ServiceMonitor StatefulSet)

# make_schemas FOLDER FILE...: from OpenAPI documents
make_schemas() {
  local folder=$1 name schema
  mkdir -p "$folder"
  # shellcheck disable=SC2016 # $ARGS is jq's
  jq -r '$ARGS.positional as $kinds | '"$(cat "$here/schemas.jq")" "${@:2}" --args "${kinds[@]}" |
    while IFS=$'\t' read -r name schema; do printf '%s' "$schema" >"$folder/$name"; done
}

# schemas_of VERSION SUM: the folder of those of a Kubernetes; made once
schemas_of() {
  local folder documents groups
  # Made anew when what makes them changes.
  folder=$kept/schemas-$1-$(cat "$here/schemas.jq" "$here/beside.sh" | cksum | cut -d ' ' -f 1)
  if [ ! -d "$folder" ]; then
    documents=$(module k8s.io/kubernetes "v$1" "$2")/api/openapi-spec/v3
    groups=(api__v1 apis__apps__v1 apis__autoscaling__v2 apis__networking.k8s.io__v1 apis__policy__v1 apis__rbac.authorization.k8s.io__v1)
    rm -rf "$folder.new"
    groups=("${groups[@]/#/$documents/}")
    make_schemas "$folder.new" "${groups[@]/%/_openapi.json}"
    mv "$folder.new" "$folder"
  fi
  echo "$folder"
}

part_schemas() {
  local version folder group
  cluster
  mkdir -p "$work/crd-documents" "$work/rendered"
  for group in monitoring.coreos.com/v1 gateway.networking.k8s.io/v1; do
    kubectl get --raw "/openapi/v3/apis/$group" >"$work/crd-documents/${group%%/*}.json"
  done
  make_schemas "$work/crd-schemas" "$work"/crd-documents/*.json
  for version in "$oldest" "$newest"; do
    folder=$(schemas_of "$version" "$(sum_of "$version")")
    render_all "$version" "$work/rendered-$version"
    { kubeconform -strict -schema-location "$folder/{{.ResourceKind}}{{.KindSuffix}}.json" \
      -schema-location "$work/crd-schemas/{{.ResourceKind}}{{.KindSuffix}}.json" "$work/rendered-$version" 2>&1 || true; } |
      verdict "what is rendered is by the schemas of Kubernetes $version"
  done
}

sum_of() {
  case $1 in
    "$oldest") echo h1:DHFqj/HTUqHStFlRH9wCKPocqgHsjR6Q/DzYarB2QQE= ;;
    *) sed -n "s|^k8s.io/kubernetes v$1 ||p" scripts/go/kubernetes/go.sum ;;
  esac
}

# render_all VERSION FOLDER: each value set, for this Kubernetes
render_all() {
  local file
  mkdir -p "$2"
  for file in $(value_sets); do
    values_of "$file" 3 | helm template try "$chart" --namespace try --kube-version "$1" -f - >"$2/$(basename "$file")" ||
      echo "it does not render" >"$2/$(basename "$file")"
  done
}
