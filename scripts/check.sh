#!/usr/bin/env bash
# The whole gate: formatting, lints, tests on real models, documentation, licences, the AVX-512
# kernels (emulated where the CPU has none), and the README's first command.
#
# usage: scripts/check.sh      exit 0 everything passed, 1 something failed
# Without a network the tests on real models are skipped, loudly; under CI=true that is a failure.
set -euo pipefail
cd "$(dirname "$0")/.."

stage() {
  local name=$1 started=$SECONDS
  shift
  printf '\n==> %s\n' "$name"
  "$@"
  printf '==> %s: %d s\n' "$name" $((SECONDS - started))
}

real_models() {
  if scripts/fetch-real-models.sh; then
    return
  fi
  if [ "${CI:-}" = true ]; then
    echo "error: the real models could not be had" >&2
    return 1
  fi
  printf '\n*** SKIPPED: the real models could not be had; tests that need them will say so ***\n'
}

licences() {
  if cargo deny --version >/dev/null 2>&1; then
    cargo deny check
  else
    echo "*** SKIPPED: cargo-deny is not installed (cargo install cargo-deny --locked) ***"
  fi
}

readme() {
  local out
  out=$(mktemp -d)
  cargo run --release -- predict fixtures/images/mel_00.jpg --gradcam "$out/heatmap.png"
  test -s "$out/heatmap.png"
  rm -rf "$out"
}

if [ "${CI:-}" = true ]; then
  export DERMAL_REQUIRE_REAL_MODELS=1
fi
stage "real models" real_models
stage "formatting" cargo fmt --check
stage "lints" cargo clippy --all-targets --quiet -- -D warnings
stage "tests" cargo test --quiet
stage "documentation" env RUSTDOCFLAGS=-Dwarnings cargo doc --no-deps --quiet
stage "licences and advisories" licences
stage "AVX-512 kernels" scripts/test-avx512.sh
stage "the README's first command" readme
printf '\nall passed in %d s\n' "$SECONDS"
