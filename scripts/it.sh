# Runs tests of tests/it/ as a suite of `make e2e`: source this after lib.sh, from the root of the repository; do not run it.
# shellcheck shell=bash

# build_tests DIR: builds them, with its logs in DIR; sets `program`. The whole workspace is named, as in `make test`: what its
# members want of a library decides how that is built.
build_tests() {
  say "building the tests"
  cargo test --workspace --test it --no-run --message-format json 2>"$1/build.log" >"$1/build.json" ||
    { cat "$1/build.log" >&2; die "the tests do not build"; }
  # Other members have tests of that name too.
  program=$(grep "\"src_path\":\"$PWD/tests/it/main.rs\"" "$1/build.json" | sed -n 's|.*"executable":"\([^"]*\)".*|\1|p')
  [ -x "$program" ] || die "cargo does not say where the tests are"
}

# run_tests NAME DIR CMD...: runs tests, with their output in DIR, and says what became of each, as a suite does. Sets `failed`
# to yes when one failed.
failed=no
run_tests() {
  local name=$1 log=$2/log errors=$2/errors began=$SECONDS code=0
  "${@:3}" >"$log" 2>"$errors" || code=$?
  if [ "$code" -ne 0 ]; then
    # shellcheck disable=SC2034 # read by who sources this
    failed=yes
    grep -vE '^test .* \.\.\. ok$' "$log" >&2 || true
    grep -q '^test .* FAILED$' "$log" || { tail -n 60 "$errors" >&2; die "$name: exit code $code without a failed test"; }
  fi
  sed -nE "s/^test (.*) \.\.\. ok$/ok - $name: \1/p; s/^test (.*) \.\.\. FAILED$/not ok - $name: \1: see above/p" "$log" |
    grep . || die "$name: no test ran"
  say "$name took $((SECONDS - began)) s"
}
