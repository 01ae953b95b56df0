#!/usr/bin/env bash
# Start breakerd, the three services and two proxies on loopback, until Ctrl-C. ENVOY names another Envoy, BREAKERD another breakerd.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"

envoy=${ENVOY:-envoy}
breakerd=${BREAKERD:-breakerd}
for program in "$envoy" "$breakerd" python3; do
  command -v "$program" >/dev/null || { echo "$program: not found" >&2; exit 1; }
done

data=$(mktemp -d)
trap 'kill $(jobs -p) 2>/dev/null; wait; rm -rf "$data"' EXIT
trap 'exit 0' INT TERM

"$breakerd" serve --config breakerd.toml --data-dir "$data" &
python3 services.py &
for port in 10000 10001; do
  # Each proxy gets the same configuration, on its own port.
  "$envoy" --config-yaml "$(sed "s/10000/$port/" envoy.yaml)" --concurrency 1 --disable-hot-restart --log-level error &
done
echo 'orders, payments and search are at http://localhost:10000/ and http://localhost:10001/' >&2
wait
