#!/usr/bin/env bash
# The Helm chart: lint it, render it in the shapes that people install, and see that its schema refuses nonsense.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
# shellcheck source=scripts/lib.sh
. scripts/lib.sh

chart=helm/breakerd
render() { helm template try "$chart" --namespace try "$@"; }

# renders TEXT ARGS...: the rendered chart holds TEXT
renders() {
  local text=$1 out
  shift
  out=$(render "$@") || die "the chart does not render with: $*"
  grep -qF -- "$text" <<<"$out" || die "no \"$text\" in the chart rendered with: $*"
}

# refuses ARGS...: the schema stops these values
refuses() { ! render "$@" >/dev/null 2>&1 || die "the chart took what it should refuse: $*"; }

helm lint --strict --quiet "$chart"
renders 'claimName: try-breakerd'
renders 'emptyDir: {}' --set persistence.enabled=false
renders 'claimName: mine' --set persistence.existingClaim=mine
renders 'name: DATABASE_URL' --set database.existingSecret=breakerd-database
renders 'kind: ServiceMonitor' --set serviceMonitor.enabled=true
renders 'default_failure_threshold = 7' --set-string config=$'[circuit_breaker]\ndefault_failure_threshold = 7\n'
renders 'scheme: HTTP' && renders 'appProtocol: kubernetes.io/h2c'
tls=(--set tls.existingSecret=breakerd-tls)
renders 'scheme: HTTPS' "${tls[@]}"
renders 'secretName: breakerd-tls' "${tls[@]}"
renders 'appProtocol: https' "${tls[@]}"
renders 'value: /etc/breakerd-tls/ca.crt' "${tls[@]}" --set tls.clientCaKey=ca.crt
renders 'value: "false"' "${tls[@]}" --set tls.http=false
renders 'value: /etc/breakerd-auth/tokens.toml' --set auth.existingSecret=breakerd-tokens
renders 'value: "[::]:50051"' --set listenAddress='[::]'
renders 'value: 720h' --set 'extraEnv[0].name=BREAKERD_STORE_HISTORY_RETENTION,extraEnv[0].value=720h'
renders 'mountPath: /etc/database-ca' \
  --set 'extraVolumes[0].name=ca,extraVolumes[0].secret.secretName=database-ca' \
  --set 'extraVolumeMounts[0].name=ca,extraVolumeMounts[0].mountPath=/etc/database-ca'
renders 'secretName: database-ca' --set 'extraVolumes[0].name=ca,extraVolumes[0].secret.secretName=database-ca'
renders 'type: Bearer' --set serviceMonitor.enabled=true --set serviceMonitor.authorization.type=Bearer
refuses --set tls.clientCertificate=never
refuses --set replicas=2
refuses --set listenAddress=localhost
refuses --set 'extraVolumeMounts[0].name=ca'
refuses --set service.grpcPort=http
refuses --set livenessProbe.httpGet.path=/health/circuit-breakers

# The file of values that the README shows is one that the chart takes.
shown=$(mktemp "${TMPDIR:-/tmp}/breakerd-values.XXXXXX")
trap 'rm -f "$shown"' EXIT
# shellcheck disable=SC2016 # the backticks are those of the document
sed -n '/^```yaml$/,/^```$/{/^```/d;p;}' "$chart/README.md" >"$shown"
renders 'history_retention = "720h"' -f "$shown"
renders 'name: breakerd-prometheus' -f "$shown"

# The values that the README names are those that there are, and none is left out.
values=$(sed -n 's/^\([A-Za-z]*\):.*/\1/p' "$chart/values.yaml")
for value in $values; do
  grep -q "\`${value}[.\`]" "$chart/README.md" || die "$chart/README.md does not name the value $value"
done
# shellcheck disable=SC2016 # as above
named=$(sed -n 's/^| `\([A-Za-z]*\)[.`].*/\1/p' "$chart/README.md" | sort -u)
for value in $named; do
  grep -qx "$value" <<<"$values" || die "$chart/README.md names the value $value, and there is none"
done

version=$(sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml | head -n 1)
grep -qF "appVersion: \"$version\"" "$chart/Chart.yaml" || die "Chart.yaml's appVersion is not Cargo.toml's $version"
echo "chart: ok"
