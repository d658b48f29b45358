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

# A program of somebody else: `tests/core.rs` makes predictions, heat maps in closed form, and hears
# refusals by name. In dermal's own package, what its other tests need would turn on features of what
# the core needs, and half of it would be compiled again. Nothing is optimized here: that would take
# far longer than the demo model takes without it.
here=$PWD
program=target/core
mkdir -p "$program"
cp Cargo.lock "$program/Cargo.lock" # the same versions
cat >"$program/Cargo.toml" <<END
[package]
name = "core-tests"
edition = "2024"
[workspace]
[features]
mmap = ["dermal/mmap"]
threads = ["dermal/threads"]
gradients = ["dermal/gradients"]
[dependencies]
dermal = { path = "$here", default-features = false }
tempfile = "3"
[[test]]
name = "core"
path = "$here/tests/core.rs"
[profile.dev]
opt-level = 0
debug = false
END
core() { cargo "$@" --manifest-path "$program/Cargo.toml" --test core; }
core check --features mmap,threads,gradients
core test
