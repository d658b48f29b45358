#!/usr/bin/env bash
# Builds the compute core alone, as other people's programs, a Python module and a browser use it,
# tests its promises, and lists its dependencies. Fails if one of these is a crate of the command
# line, the server, or a feature that is off.
#
# usage: scripts/check-core.sh
set -euo pipefail
cd "$(dirname "$0")/.."

# Never below the command line and the server.
program='clap|tokio|axum|hyper|redis|ureq|rustls|indicatif|tracing-subscriber'
# Each belongs to a feature.
features='candle-core|candle-nn|gemm|rayon|memmap2|zip|hdf5-reader|csv'

crates() {
  cargo tree --edges normal --prefix none --no-default-features --features "$1" --format '{p}' |
    awk '{ print $1 }' | sort -u | grep -v '^dermal$'
}

# Fails if one of the crates in a list is among the names that are not allowed.
refuse() {
  local found
  if found=$(grep -xE "$2" <<<"$1"); then
    printf 'the core (features: %s) depends on:\n%s\n' "${3:-none}" "$found" >&2
    return 1
  fi
}

alone=$(crates '')
refuse "$alone" "$program|$features" ''
with=$(crates 'mmap,threads,gradients')
refuse "$with" "$program" 'mmap, threads, gradients'

printf 'the core alone depends on %d crates:\n' "$(wc -l <<<"$alone")"
fmt -w 100 <<<"$(tr '\n' ' ' <<<"$alone")"
printf '`mmap`, `threads` and `gradients` bring %d more.\n' \
  "$(($(wc -l <<<"$with") - $(wc -l <<<"$alone")))"

cargo check --release --lib --no-default-features --features mmap,threads,gradients
# The core as a program sees it: predictions, heat maps in closed form, refusals by name. The crate
# itself is not optimized here: compiling it would take far longer than the demo model without it.
cargo test --release --config 'profile.release.package.dermal.opt-level=0' \
  --no-default-features --test core
