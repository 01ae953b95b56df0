# Each value set as a release of Helm 3 and one of Helm 4, from its installation to its end. For run.sh: source this, do not run it.
# shellcheck shell=bash
# shellcheck disable=SC2154 # run.sh sets work, chart, here and newest
#
# The steps are taken for all releases together, and what became of them is read from the API server in one request a step. What is
# wrong with a release is a line in problems/SET-HELM, and takes it out of the steps that follow.

problem() { printf '%s\n' "${*:2}" >>"$work/problems/$1"; }
sound() { [ ! -e "$work/problems/$1" ]; }

# each STEP: for every sound release, by both Helms side by side
each() {
  local version pids=() pid
  for version in 3 4; do
    each_of "$version" "$1" &
    pids+=($!)
  done
  for pid in "${pids[@]}"; do wait "$pid"; done
}

# each_of HELM STEP
each_of() {
  local version=$1 file set_name release values log=$work/log-$1
  while read -r file; do
    [ ! -e "$work/ended" ] || return 0
    set_name=$(basename "$file" .yaml)
    release=$set_name-$version
    values=$work/values/$release.yaml
    ! sound "$release" || "$2"
  done < <(value_sets)
}

# by_helm ARGS...: of the release's Helm, in its namespace
by_helm() { helm_of "$version" --namespace "$release" "$@" >"$log" 2>&1 || problem "$release" "helm $1: $(end_of "$log")"; }

# taken: what is rendered is valid as it stands, the pod of `helm test` included, and both Helms render the same
taken() {
  local rendered=$work/rendered/$release.yaml
  helm_of "$version" template try "$chart" --namespace "$release" --kube-version "$newest" -f "$values" >"$rendered" 2>"$log" ||
    { problem "$release" "helm template: $(end_of "$log")"; return; }
  # What the other Helm renders is compared with this.
  [ "$version" = 3 ] || return 0
  if ! kubectl apply --server-side --dry-run=server --validate=strict -f "$rendered" >"$log" 2>&1 || grep -iq warning "$log"; then
    problem "$release" "the server does not take it: $(grep -v serverside-applied "$log" | tail -n 5)"
  fi
}

# alike RELEASE: what is rendered, but for what differs: the namespace, ports of nodes, and blank lines
alike() { sed -E "s/$1/${1%-*}-N/g; s/(nodePort: [0-9]{4})[34]/\1N/; /^ *\$/d" "$work/rendered/$1.yaml"; }

install() { by_helm install try "$chart" -f "$values"; }

# Another version of the chart, and other thresholds: nothing may restart.
change() {
  local thresholds=(--set circuitBreaker.default_failure_threshold=77)
  # Such a file has its own.
  ! grep -q '\[circuit_breaker' "$values" || thresholds=()
  by_helm upgrade try "$work/next/breakerd" -f "$values" "${thresholds[@]}"
}

# Another setting of the file: the pods restart.
configure() { by_helm upgrade try "$work/next/breakerd" -f "$values" --set-string config=$'[grpc]\nstreams_max = 7\n'; }

roll_back() { by_helm rollback try 1; }
remove() { by_helm uninstall try; }

# look NAME: what there is after a step
look() {
  kubectl get deployments.apps,statefulsets.apps,persistentvolumeclaims,configmaps,pods --all-namespaces -o json >"$work/look-$1.json"
  jq -r '.items[] | select(.kind == "Deployment" or .kind == "StatefulSet") | [.metadata.namespace, (.spec.template | tojson)] | @tsv' \
    "$work/look-$1.json" >"$work/templates-$1"
  jq -r '.items[] | select(.data["breakerd.toml"]) | [.metadata.namespace, .data["breakerd.toml"]] | @tsv' "$work/look-$1.json" >"$work/files-$1"
  jq -r '.items[] | select(.kind == "Deployment" or .kind == "StatefulSet") | [.metadata.namespace, .metadata.labels["helm.sh/chart"]] | @tsv' \
    "$work/look-$1.json" >"$work/charts-$1"
  jq -r '.items[] | select(.kind == "PersistentVolumeClaim") | [.metadata.namespace, .metadata.name] | @tsv' "$work/look-$1.json" >"$work/claims-$1"
}

# of WHAT STEP: this release's lines of it
of() { grep "^$release	" "$work/$1-$2" || true; }

# without_pods: releases whose workload has not all its pods yet, a line each
without_pods() {
  kubectl get deployments.apps,statefulsets.apps --all-namespaces -o json | jq -r '
    .items[] | select(.status.observedGeneration != .metadata.generation or (.status.replicas // 0) != .spec.replicas) | .metadata.namespace' |
    sort >"$work/without-pods"
  while read -r release; do
    sound "$release" && return 1
  done <"$work/without-pods"
  return 0
}

# have_pods: every workload has made its pods, which have been admitted then
have_pods() {
  eventually 120 without_pods || while read -r release; do
    problem "$release" "it has no pods: $(kubectl get events --namespace "$release" --field-selector type=Warning -o json |
      jq -r '[.items[].message] | unique[]' | tail -n 3)"
  done <"$work/without-pods"
}

# changed STEP BEFORE: the pods' template is not what it was
same_pods() { [ "$(of templates "$2")" = "$(of templates "$1")" ]; }

after_install() {
  [ -n "$(of templates installed)" ] || problem "$release" "it has no workload"
  # Which sets have how many volumes: the others follow from what is left in the end.
  local claims
  claims=$(of claims installed | wc -l)
  case $set_name in
    sqlite | volume) [ "$claims" = 1 ] ;;
    volumes) [ "$claims" = 2 ] ;;
    postgres-secret) [ "$claims" = 3 ] ;;
    none | postgres-parts | existing-claim) [ "$claims" = 0 ] ;;
  esac || problem "$release" "it has $claims volumes"
}

after_change() {
  same_pods installed changed || problem "$release" "another version of the chart, or other thresholds, restart the pods"
  [ "$(of charts changed | cut -f 2)" = breakerd-9.9.9 ] || problem "$release" "the upgrade did not reach the workload"
  grep -q '\[circuit_breaker' "$values" || [ "$(of files installed)" != "$(of files changed)" ] ||
    problem "$release" "other thresholds do not reach the file"
}

after_configure() { ! same_pods changed configured || problem "$release" "another setting of the file does not restart the pods"; }

after_roll_back() {
  same_pods installed rolled-back || problem "$release" "a rollback does not bring back the pods"
  [ "$(of files installed)" = "$(of files rolled-back)" ] || problem "$release" "a rollback does not bring back the file"
}

# what_is_left: of all releases, but for what every namespace has, what Kubernetes tells of, and volumes that are kept; a line each
what_is_left() {
  kubectl get "$(kubectl api-resources --namespaced --verbs=list,delete -o name | grep -vE '^(events|leases|endpoints)(\.|$)' | paste -sd,)" \
    --all-namespaces --ignore-not-found -o json | jq -r '.items[] | [.metadata.namespace, .kind + "/" + .metadata.name] | @tsv' |
    grep -E '^[a-z0-9-]+-[34]	' | grep -vE '	(ServiceAccount/default|ConfigMap/kube-root-ca.crt)$' | sort >"$work/left" || true
  sed 's|	|	PersistentVolumeClaim/|' "$work/claims-rolled-back" | grep -vE '^volumes?-[34]	' | grep -E '^[a-z0-9-]+-[34]	' | sort >"$work/kept"
  while read -r release _; do
    sound "$release" && return 1
  done < <(diff "$work/kept" "$work/left" | sed -n 's/^[<>] //p')
  return 0
}

nothing_is_left() {
  eventually 120 what_is_left || while read -r release what; do
    problem "$release" "left, or gone, after its end: $what"
  done < <(diff "$work/kept" "$work/left" | sed -n 's/^[<>] //p')
}

part_releases() {
  local file version release names=()
  cluster
  mkdir -p "$work"/{problems,values,rendered,next}
  cp -R "$chart" "$work/next/"
  sed -i.before 's/^version: .*/version: 9.9.9/' "$work/next/breakerd/Chart.yaml"
  while read -r file; do
    for version in 3 4; do
      release=$(basename "$file" .yaml)-$version
      names+=("$release")
      values_of "$file" "$version" >"$work/values/$release.yaml"
      namespace "$release"
    done
  done < <(value_sets) >"$work/namespaces.json"
  kubectl create -f "$work/namespaces.json" >/dev/null
  each taken
  for release in "${names[@]}"; do
    diff <(alike "${release%-*}-3") <(alike "${release%-*}-4") >"$work/difference" ||
      problem "$release" "Helm 3 and 4 render it differently: $(end_of "$work/difference")"
  done
  local step
  for step in install:installed change:changed configure:configured roll_back:rolled-back; do
    each "${step%:*}"
    have_pods
    look "${step#*:}"
    each "after_${step%:*}"
    say "${step#*:} after $((SECONDS - began)) s"
  done
  each remove
  nothing_is_left
  for release in "${names[@]}"; do
    verdict "${release%-*} by Helm ${release##*-}: its pods are admitted, only settings restart them, it rolls back, and goes" \
      < <(cat "$work/problems/$release" 2>/dev/null)
  done
}
