#!/usr/bin/env bash
# rustc for scripts/fuzz.sh: adds the counters of libFuzzer to the crates that read bytes from outside.
#
# usage: RUSTC_WRAPPER=scripts/fuzz-rustc.sh cargo build
set -euo pipefail

name=
previous=
for argument in "$@"; do
  [ "$previous" != --crate-name ] || name=$argument
  previous=$argument
done
case $name in
  dermal | dermal_fuzz | granit_parser | hdf5_reader | image | image_webp | miniz_oxide | png | serde_json | \
    serde_norway | toml_span | unsafe_libyaml_norway | zip)
    # Checksums would hide what is behind them: `png` does not compare them with `--cfg fuzzing`.
    set -- "$@" --cfg fuzzing -C passes=sancov-module -C llvm-args=-sanitizer-coverage-level=4 \
      -C llvm-args=-sanitizer-coverage-inline-8bit-counters -C llvm-args=-sanitizer-coverage-pc-table \
      -C llvm-args=-sanitizer-coverage-trace-compares
    ;;
esac
exec "$@"
