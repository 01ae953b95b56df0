#!/usr/bin/env bash
# The values of the Helm chart as a table for its README, made from helm/breakerd/values.yaml: a row for each value, its default, and
# the comment above it. A map of which no key has a comment is one row.
#
#   scripts/chart-values.sh           writes the table into helm/breakerd/README.md
#   scripts/chart-values.sh --check   fails if it is not what is there
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
# shellcheck source=scripts/lib.sh
. scripts/lib.sh

readme=helm/breakerd/README.md
new=$(mktemp "${TMPDIR:-/tmp}/breakerd-readme.XXXXXX")
trap 'rm -f "$new"' EXIT

table() {
  awk '
    function row(i,    text) {
      text = comment[i]
      gsub(/\|/, "\\|", text)
      printf "| `%s` | %s | %s |\n", path[i], (default[i] == "" ? "" : "`" default[i] "`"), text
    }
    # The last line of what belongs to the key i.
    function last(i,    j) {
      for (j = i + 1; j <= count && depth[j] > depth[i]; j++);
      return j - 1
    }
    /^[[:space:]]*#/ { line = $0; sub(/^[[:space:]]*#[[:space:]]?/, "", line); said = said (said == "" ? "" : " ") line; next }
    /^[[:space:]]*$/ { said = ""; next }
    /^[[:space:]]*-/ { list = 1; default[count] = "see values.yaml"; next }
    list && /^[[:space:]]+/ && match($0, /^ */) && RLENGTH > 2 * depth[count] { next }
    {
      list = 0
      match($0, /^ */)
      level = RLENGTH / 2
      key = $0
      sub(/^ */, "", key)
      value = key
      sub(/:.*/, "", key)
      sub(/^[^:]*:[[:space:]]*/, "", value)
      keys[level] = key
      count++
      depth[count] = level
      comment[count] = said
      default[count] = value
      path[count] = keys[0]
      for (l = 1; l <= level; l++) path[count] = path[count] "." keys[l]
      said = ""
    }
    END {
      print "| value | default | what |"
      print "|---|---|---|"
      for (i = 1; i <= count; i++) {
        end = last(i)
        if (end == i) { row(i); continue }
        commented = 0
        for (j = i + 1; j <= end; j++) if (comment[j] != "") commented = 1
        if (commented) {
          if (comment[i] != "") row(i)
        } else {
          default[i] = ""
          for (j = i + 1; j <= end; j++) {
            if (last(j) > j) continue
            default[i] = default[i] (default[i] == "" ? "" : ", ") substr(path[j], length(path[i]) + 2) ": " default[j]
          }
          row(i)
          i = end
        }
      }
    }
  ' helm/breakerd/values.yaml
}

table >"$new.table"
trap 'rm -f "$new" "$new.table"' EXIT
awk -v table="$new.table" '
  /^<!-- values: / { print; while ((getline line < table) > 0) print line; skip = 1; next }
  /^<!-- end of values -->/ { skip = 0 }
  !skip { print }
' "$readme" >"$new"
if [ "${1:-}" = --check ]; then
  diff -u "$readme" "$new" || die "$readme does not have the values of values.yaml: run scripts/chart-values.sh"
else
  cp "$new" "$readme"
fi
