#!/usr/bin/env bash
# The whole gate: formatting, lints, tests (also on real models), documentation, dependencies, and
# the README's first command. Every stage is named and timed, and stops the gate if it fails.
#
# usage: scripts/check.sh
# CI=true  real models must exist: if a download fails, the gate fails, too, instead of skipping with a message
set -euo pipefail
cd "$(dirname "$0")/.."

ci=${CI:-false}
cache=${DERMAL_MODEL_CACHE:-.cache/models}
work=$(mktemp -d)
declare -A beside=()

stage() {
  local name=$1 began=$SECONDS
  shift
  printf '\n=== %s\n' "$name"
  local code=0
  "$@" || code=$?
  if [ "$code" != 0 ]; then
    printf '=== %s: FAILED (exit %d) after %d s\n' "$name" "$code" "$((SECONDS - began))"
    exit 1
  fi
  printf '=== %s: %d s\n' "$name" "$((SECONDS - began))"
}

# Starts a stage that leaves most of the machine idle, beside the stages that follow. Its output is
# kept until `join`, which waits for it and stops the gate if it failed.
start() {
  local name=$1
  shift
  # A process group of its own, so that all of it can be stopped.
  set -m
  (stage "$name" "$@") >"$work/$name.log" 2>&1 &
  set +m
  beside[$name]=$!
}

join() {
  local code=0
  wait "${beside[$1]}" || code=$?
  unset "beside[$1]"
  cat "$work/$1.log"
  [ "$code" = 0 ] || exit 1
}

finish() {
  local code=$?
  for group in "${beside[@]}"; do kill -- "-$group" 2>/dev/null || true; done
  rm -rf "$work"
  exit "$code"
}
trap finish EXIT

skip() {
  printf '\n*** SKIPPED: %s ***\n\n' "$1"
  echo "$1" >>"$work/skipped"
}

# Models that cannot be downloaded are skipped on a developer's machine; a wrong checksum never is.
models() {
  local code=0 python
  scripts/fetch-real-models.sh || code=$?
  case $code in
    0) ;;
    1) [ "$ci" != true ] || return 1; skip "tests on the published model: it could not be fetched" ;;
    *) return "$code" ;;
  esac
  if python=$(scripts/setup-python.sh); then
    # The last line of setup-python.sh is the interpreter.
    KERAS_BACKEND=jax "${python##*$'\n'}" scripts/app_models.py "$cache"
  else
    [ "$ci" != true ] || return 1
    skip "tests on keras.applications models: there is no Python with Keras to build them"
  fi
}

# Clients and services for the server's tests. Without them, the tests say that they were skipped.
clients() {
  local script
  for script in scripts/setup-triton-client.sh scripts/setup-browser.sh scripts/setup-redis.sh; do
    "$script" || { [ "$ci" != true ] || return 1; skip "tests with ${script#scripts/setup-}"; }
  done
}

# Checked if it is installed. The gate does not install it: building it takes longer than all other
# stages together, and the dependencies change only with Cargo.lock.
deny() {
  if [ ! -f deny.toml ]; then
    skip "cargo deny: there is no deny.toml"
  elif command -v cargo-deny >/dev/null; then
    cargo deny --all-features check
  else
    skip "cargo deny: not installed (cargo install --locked cargo-deny)"
  fi
}

# Everything is built in the release profile: the tests run the program that people run, dependencies
# are compiled once for both, and models run at full speed.
#
# Clippy is the compiler of this package's own code. Apart from that it does what rustc does: its lints
# come with the compilation, while `cargo clippy` would check all dependencies once more, for minutes.
# Benches and examples are built for it alone.
export RUSTC_WORKSPACE_WRAPPER=clippy-driver CLIPPY_ARGS=-Dwarnings
build() { cargo test --release --no-run --test '*' --bench '*' --example '*'; }

# All output is captured, so that skipped tests are noticed; from tests that pass, only the lines that
# say so are shown.
tests() {
  local log code=0
  log=$(mktemp -p "$work")
  cargo test --release "$@" -- --show-output >"$log" 2>&1 || code=$?
  if [ "$code" = 0 ]; then
    grep -E '^(test |test result|running |.*SKIPPED)' "$log" || true
  else
    cat "$log"
  fi
  return "$code"
}

# All programs of tests but the one that mostly waits, for servers and for photos.
quick() {
  local file name arguments=()
  for file in tests/*.rs tests/*/main.rs; do
    name=$(basename "${file%/main.rs}" .rs)
    [ "$name" = real ] || arguments+=(--test "$name")
  done
  tests "${arguments[@]}"
}

# Unit tests are compiled apart from the library, and most of that time goes into optimizing: their
# small shapes do not need it. Everything below the crate is shared with the other tests.
unit() { tests --lib --config 'profile.release.package.dermal.opt-level=1'; }

documentation() { RUSTDOC=scripts/rustdoc.sh tests --doc; }

# The tests have compiled all of it. If something is compiled again, a dev-dependency turns on a
# feature of a crate that the program uses (`cargo tree -e normal,dev,features -i CRATE`).
first_command() {
  local folder photo log code=0
  folder=$(mktemp -d -p "$work")
  log=$folder/log
  photo=$(find fixtures/images -type f | sort | head -n 1)
  cargo run --release -- predict "$photo" --gradcam "$folder/heatmap.png" 2>"$log" || code=$?
  cat "$log"
  [ "$code" = 0 ] || return "$code"
  if grep Compiling "$log"; then
    echo "these crates have other features in the program than in its tests" >&2
    return 1
  fi
  [ "$(head -c 4 "$folder/heatmap.png" | tail -c 3)" = PNG ]
}

# Files made to do harm, given to the program that people run.
hostile() {
  if command -v python3 >/dev/null; then
    python3 scripts/hostile_files.py target/release/dermal
  else
    skip "hostile files: there is no python3"
  fi
}

# Elsewhere these kernels run in an emulator, which takes longer than the rest of the gate
# (CONTRIBUTING.md has the last result).
avx512() {
  if grep -qw avx512bw /proc/cpuinfo; then
    echo "AVX-512: this CPU has it, so the unit tests have used it"
  else
    skip "AVX-512 kernels: this CPU has no AVX-512 (scripts/test-avx512.sh runs them in an emulator)"
  fi
}

# A server under load for two minutes in 512 MB. Not every machine allows making a cgroup.
soak() {
  local code=0
  scripts/soak.sh - 2 || code=$?
  [ "$code" != 2 ] || { skip "soak: no cgroup can be made here"; code=0; }
  return "$code"
}

[ "$ci" != true ] || export DERMAL_REQUIRE_REAL_MODELS=1

stage "cargo fmt" cargo fmt --check
start "real models" models
start "clients of the server" clients
stage "building with clippy" build
stage "README's first command" first_command
join "real models"
join "clients of the server"
start "tests on real models" tests --test real
stage "tests" quick
start "soak" soak
stage "hostile files" hostile
stage "unit tests" unit
stage "AVX-512 tier" avx512
stage "compute core" scripts/check-core.sh
stage "documentation and its examples" documentation
stage "cargo deny" deny
join "tests on real models"
join "soak"

printf '\nall stages passed in %d s\n' "$SECONDS"
if [ -f "$work/skipped" ]; then
  sed 's/^/but skipped: /' "$work/skipped"
fi
