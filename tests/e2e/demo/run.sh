#!/usr/bin/env bash
# The demo, as a test: what it says that came true, and what did not.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../../.."

PAUSE='' scripts/demo.sh | sed -E 's/^ *[0-9.]+ s  ✓ /ok - demo: /; s/^ *[0-9.]+ s  ✗ (.*)$/not ok - demo: \1/'
