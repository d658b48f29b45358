#!/usr/bin/env bash
# Fuzzes one parser, guided by coverage, on stable Rust. It starts from the kept corpus and the fixtures, and adds what
# reaches new code to the corpus. docs/fuzzing.md says what each target promises, and logs the hours.
#
# usage: scripts/fuzz.sh TARGET [SECONDS]    fuzz (default 900 s), then merge into fuzz/corpus/TARGET.zip
#        scripts/fuzz.sh TARGET FILE         run one input, a crash for instance
#        scripts/fuzz.sh build               only build
#
# TARGET is photo, keras, h5, artifact, yaml, onnx or tflite. Crashes are in .cache/fuzz/crashes.
# Needs a C++ compiler for libFuzzer, and Python 3.
set -euo pipefail
cd "$(dirname "$0")/.."

target=${1:?usage: scripts/fuzz.sh TARGET [SECONDS]}
what=${2:-900}
work=$PWD/.cache/fuzz
kept=fuzz/corpus/$target.zip
mkdir -p "$work/crashes" "$work/seeds" "$work/corpus"

# Optimized, but with all checks of a debug build. Only crates that read bytes from outside are instrumented
# (scripts/fuzz-rustc.sh).
RUSTC_WRAPPER=$PWD/scripts/fuzz-rustc.sh cargo build --manifest-path fuzz/Cargo.toml --target-dir "$work/target" --bins
[ "$target" != build ] || exit 0
program=$work/target/debug/$target

if [ ! -d "$work/seeds/$target" ]; then
  # Artifacts are made by the program, if it has been built.
  made=()
  [ ! -x target/release/dermal ] || made=(target/release/dermal)
  scripts/fuzz_seeds.py "$work/seeds" "${made[@]}"
fi

# The files that a target writes belong into memory.
export TMPDIR=/dev/shm
# Longer inputs are slower and rarely reach more code.
options=(-timeout=5 -rss_limit_mb=2048 -max_len=8192 -artifact_prefix="$work/crashes/$target-")
[ ! -f "$work/seeds/$target.dict" ] || options+=(-dict="$work/seeds/$target.dict")

if [ -f "$what" ]; then
  exec "$program" "${options[@]}" "$what"
fi

# The first folder gets the new inputs.
scripts/fuzz_corpus.py unpack "$kept" "$work/kept/$target"
mkdir -p "$work/corpus/$target"
log=$work/$target-$(date -u +%Y%m%dT%H%M%S).log
code=0
"$program" "${options[@]}" -max_total_time="$what" -print_final_stats=1 \
  "$work/corpus/$target" "$work/kept/$target" "$work/seeds/$target" >"$log" 2>&1 || code=$?
# Coverage (edges and features) at the beginning and the end, and the number of executions.
{ grep -E 'INITED' "$log"; grep -E '^#[0-9]+' "$log" | tail -n 1; grep -E '^stat::' "$log"; } || true
if [ "$code" != 0 ]; then
  tail -n 40 "$log"
  exit "$code"
fi

# The smallest set that reaches everything that was reached.
merged=$(mktemp -d)
trap 'rm -rf "$merged"' EXIT
"$program" "${options[@]}" -merge=1 "$merged" "$work/kept/$target" "$work/corpus/$target" "$work/seeds/$target" >"$log" 2>&1
scripts/fuzz_corpus.py pack "$merged" "$kept"
ls -l "$kept"
