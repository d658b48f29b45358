#!/bin/sh
# Draws the fixture pictures, trains the embedded demo model and writes models/demo.safetensors with its
# card. About a quarter of an hour on two cores. `scripts/make-demo.sh --export-only` exports
# the last checkpoint again (target/demo_checkpoint.safetensors) without training.
set -eu
cd "$(dirname "$0")/.."

# Candle's own pool waits by spinning, which costs more than it gains at these sizes; its matrix
# product and this trainer's layers use rayon. The malloc settings keep tensors of a few MB on the
# heap, so that they are not mapped and cleared again each time. None of these changes a result.
export CANDLE_NUM_THREADS=1
export MALLOC_MMAP_THRESHOLD_=33554432
export MALLOC_TRIM_THRESHOLD_=2000000000

cargo run --release --example make_fixtures
cargo run --release --example train_demo -- "$@"
