#!/usr/bin/env bash
# The demo, as a test: what it says that came true, and what did not. Built as the tests are, which have most of it already.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../../.."

PAUSE='' scripts/demo.sh dev | sed -E 's/^ *[0-9.]+ s  ✓ /ok - demo: /; s/^ *[0-9.]+ s  ✗ (.*)$/not ok - demo: \1/'
