# From the chart's first release to this one, and back. For run.sh: source this, do not run it.
# shellcheck shell=bash
# shellcheck disable=SC2154 # run.sh sets work, chart and here

# The last commit with the first release of the chart.
first_release=9c9ba41a2376420308d501f3f74213681b23bb57

# first_values STORE: as somebody gave them to the first release, as far as they are valid still
first_values() {
  cat <<'V'
image: { repository: registry.example.org/breakerd }
config: |
  [circuit_breaker]
  default_failure_threshold = 7

  [store]
  history_retention = "720h"
auth: { existingSecret: breakerd-tokens }
tls: { existingSecret: breakerd-tls }
serviceMonitor:
  enabled: true
  authorization: { type: Bearer, credentials: { name: breakerd-prometheus, key: token } }
extraEnv: [{ name: BREAKERD_LOG_LEVEL, value: debug }]
podLabels: { tier: backend }
V
  [ "$1" = sqlite ] || printf 'database: { existingSecret: breakerd-db, secretKey: DATABASE_URL }\n'
}

# has_workload KIND NAMESPACE CHART: this one alone, with a pod
has_workload() {
  kubectl get deployments.apps,statefulsets.apps --namespace "$2" -o json | jq -e '
    [.items[] | [.kind, .metadata.labels["helm.sh/chart"], .status.replicas // 0]] == [[$kind, $chart, 1]]' --arg kind "$1" --arg chart "$3" >/dev/null
}

claims() { kubectl get persistentvolumeclaims --namespace "$1" -o json | jq -r '.items[] | [.metadata.name, .metadata.uid] | @tsv'; }

# only_claims NAMESPACE
only_claims() {
  kubectl get all,configmaps,secrets,persistentvolumeclaims,networkpolicies,poddisruptionbudgets,serviceaccounts,servicemonitors \
    --namespace "$1" -o json | jq -e '[.items[] | select(.metadata.name | IN("default", "kube-root-ca.crt") | not) | .kind] | unique == ["PersistentVolumeClaim"]' >/dev/null
}

# upgrade_and_back STORE OLD NEW: nothing when all is well; installed by one Helm, and upgraded by another
upgrade_and_back() {
  local store=$1 old=$2 new=$3 name=from-$1-$2-$3 kind=Deployment log=$work/from-log before now=breakerd-$version
  [ "$store" = sqlite ] || kind=StatefulSet
  namespace "$name" | kubectl create -f - >/dev/null
  first_values "$store" >"$work/from.yaml"
  by() { helm_of "$1" --namespace "$name" "${@:2}" >"$log" 2>&1 || { echo "Helm $1 $2: $(end_of "$log")"; return 1; }; }
  is() { eventually 60 has_workload "$1" "$name" "$2" || { echo "no $1 of $2 with its pod: $(kubectl get events --namespace "$name" 2>&1 | tail -n 3)"; return 1; }; }
  by "$old" install try "$work/first/helm/breakerd" -f "$work/from.yaml" || return 0
  is Deployment breakerd-0.1.0 || return 0
  before=$(claims "$name")
  [ -n "$before" ] || { echo "the first release has no volume"; return; }
  ! helm_of "$new" --namespace "$name" upgrade try "$chart" --reuse-values >"$log" 2>&1 || { echo "--reuse-values is taken"; return; }
  grep -q livenessProbe "$log" || { echo "--reuse-values is refused without a reason: $(end_of "$log")"; return; }
  by "$new" upgrade try "$chart" --reset-then-reuse-values || return 0
  is "$kind" "$now" || return 0
  claims "$name" | grep -qF "$before" || { echo "the volume of the first release is gone"; return; }
  by "$new" rollback try 1 || return 0
  is Deployment breakerd-0.1.0 || return 0
  by "$new" upgrade try "$chart" --reset-then-reuse-values || return 0
  is "$kind" "$now" || return 0
  by "$new" uninstall try || return 0
  eventually 60 only_claims "$name" || { echo "left after its end: $(kubectl get all,configmaps,secrets --namespace "$name" -o name | tr '\n' ' ')"; return; }
  claims "$name" | grep -qF "$before" || echo "the volume of the first release is gone in the end"
}

part_upgrade() {
  local version store helms
  cluster
  if ! git rev-parse --quiet --verify "$first_release^{commit}" >/dev/null; then
    printf 'skip - kube: upgrade from 0.1: commit %s is not in this clone: git fetch --unshallow\n' "$first_release"
    return
  fi
  mkdir -p "$work/first"
  git archive "$first_release" helm/breakerd | tar -x -C "$work/first"
  version=$(sed -n 's/^version: //p' "$chart/Chart.yaml")
  for store in sqlite postgres; do
    for helms in '3 3' '4 4' '3 4'; do
      # shellcheck disable=SC2086 # two words
      upgrade_and_back "$store" $helms | verdict "from 0.1 on $store, installed by Helm ${helms% *}, upgraded by Helm ${helms#* }, and back"
    done
  done
}
