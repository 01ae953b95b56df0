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
renders 'type: Bearer' --set serviceMonitor.enabled=true --set serviceMonitor.authorization.type=Bearer
refuses --set tls.clientCertificate=never
refuses --set replicas=2
refuses --set service.grpcPort=http
refuses --set livenessProbe.httpGet.path=/health/circuit-breakers

version=$(sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml | head -n 1)
grep -qF "appVersion: \"$version\"" "$chart/Chart.yaml" || die "Chart.yaml's appVersion is not Cargo.toml's $version"
echo "chart: ok"
