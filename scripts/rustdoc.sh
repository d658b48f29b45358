#!/usr/bin/env bash
# A rustdoc for `RUSTDOC=scripts/rustdoc.sh cargo test --doc`: it makes the pages, in which a warning is
# an error, and then runs the examples. Both use the compiled dependencies of the tests. `cargo doc`
# would check all of them again, and that takes minutes.
#
# usage: scripts/rustdoc.sh ARGUMENTS      cargo's arguments for rustdoc
set -euo pipefail

if [[ " $* " != *" --test "* ]]; then # cargo asks for the version
  exec rustdoc "$@"
fi
pages=() previous=
for argument in "$@"; do
  case $previous,$argument in
    *,--test | *,--test-run-directory | --test-run-directory,*) ;;
    *) pages+=("$argument") ;;
  esac
  previous=$argument
done
rustdoc "${pages[@]}" -D warnings --out-dir target/doc
exec rustdoc "$@"
