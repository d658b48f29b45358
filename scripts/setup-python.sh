#!/usr/bin/env bash
# Makes the Python environment that builds the tests' keras.applications models (scripts/app_models.py):
# Keras on jax, without TensorFlow. Golden outputs do not come from it (scripts/golden_real.py).
#
# usage: scripts/setup-python.sh      prints the interpreter
# exit 0 it is ready, 1 it cannot be set up
set -euo pipefail
cd "$(dirname "$0")/.."
venv=.cache/venv
requirements="keras==3.15.1 jax==0.10.2 jaxlib==0.10.2 h5py==3.14.0 numpy==2.4.6 scipy==1.17.1 ml_dtypes==0.6.0"

fail() { echo "setup-python: $1" >&2; exit 1; }
if [ "$(cat "$venv/requirements" 2>/dev/null)" = "$requirements" ]; then
  echo "$venv/bin/python"
  exit 0
fi
command -v python3 >/dev/null || fail "python3 is needed (3.11 or later)"
rm -rf "$venv"
mkdir -p .cache
python3 -m venv "$venv" || fail "python3 has no venv; on Debian: apt-get install python3-venv"
# shellcheck disable=SC2086  # a list of words
"$venv/bin/python" -m pip install --quiet --disable-pip-version-check --only-binary :all: $requirements ||
  fail "the packages cannot be had from PyPI: $requirements"
# Last, so that an interrupted installation is started again.
echo "$requirements" >"$venv/requirements"
echo "$venv/bin/python"
