# Wrong values: the chart refuses them with a reason, and the API server does not take what they would come to. For run.sh: source
# this, do not run it.
# shellcheck shell=bash
# shellcheck disable=SC2154 # run.sh sets work, chart, here and newest

# wrong NAME CHART SERVER ARGS...: the chart refuses these values by its schema or _validate.tpl, with CHART in the reason; without
# both, it renders what the server refuses with SERVER in its reason
wrong() {
  local name=$1 by_chart=$2 by_server=$3
  shift 3
  local render=(template try --namespace wrong --kube-version "$newest")
  {
    if helm "${render[@]}" "$chart" "$@" >"$work/wrong.log" 2>&1; then
      echo "the chart takes it"
    elif ! grep -qE -- "$by_chart" "$work/wrong.log"; then
      echo "the chart's reason has no word of it: $(end_of "$work/wrong.log")"
    fi
    if ! helm "${render[@]}" "$work/unguarded" "$@" >"$work/wrong.yaml" 2>"$work/wrong.log"; then
      echo "it does not render without the schema: $(end_of "$work/wrong.log")"
    elif kubectl create --dry-run=server --validate=strict -f "$work/wrong.yaml" >"$work/wrong.log" 2>&1; then
      echo "the server takes it"
    elif ! grep -qE -- "$by_server" "$work/wrong.log"; then
      echo "the server's reason has no word of it: $(grep -v 'created (server dry run)' "$work/wrong.log" | tail -n 3)"
    fi
  } | verdict "refused by the chart and by the server: $name"
}

part_wrong() {
  local db=(--set database.existingSecret=breakerd-db-app) monitor=(--set serviceMonitor.enabled=true)
  cluster
  namespace wrong | kubectl create -f - >/dev/null
  mkdir -p "$work/unguarded"
  cp -R "$chart"/. "$work/unguarded/"
  rm "$work/unguarded/values.schema.json"
  echo '{{- define "breakerd.validate" }}{{ end }}' >"$work/unguarded/templates/_validate.tpl"

  # shellcheck source=tests/e2e/kube/wrong-values.sh
  . "$here/wrong-values.sh"
}
