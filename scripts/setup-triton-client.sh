#!/usr/bin/env bash
# Makes the Python environment with tritonclient[http], the Open Inference Protocol's usual client,
# for tests/serve/protocol.rs.
#
# usage: scripts/setup-triton-client.sh      prints the interpreter
# exit 0 it is ready, 1 it cannot be set up
set -euo pipefail
cd "$(dirname "$0")/.."
venv=.cache/triton-client
requirements="tritonclient[http]==2.60.0"

fail() { echo "setup-triton-client: $1" >&2; exit 1; }
if [ "$(cat "$venv/requirements" 2>/dev/null)" = "$requirements" ]; then
  echo "$venv/bin/python"
  exit 0
fi
command -v python3 >/dev/null || fail "python3 is needed"
rm -rf "$venv"
mkdir -p .cache
python3 -m venv "$venv" || fail "python3 has no venv; on Debian: apt-get install python3-venv"
"$venv/bin/python" -m pip install --quiet --disable-pip-version-check "$requirements" ||
  fail "the packages cannot be had from PyPI: $requirements"
# Last, so that an interrupted installation is started again.
echo "$requirements" >"$venv/requirements"
echo "$venv/bin/python"
