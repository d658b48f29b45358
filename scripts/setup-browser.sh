#!/usr/bin/env bash
# Sets up the environment of tests/serve/page.rs: Chromium and its driver from Debian, Selenium from
# PyPI.
#
# usage: scripts/setup-browser.sh      prints the interpreter
# exit 0 it is ready, 1 it cannot be set up
set -euo pipefail
cd "$(dirname "$0")/.."
venv=.cache/browser
requirements="selenium==4.36.0"

fail() { echo "setup-browser: $1" >&2; exit 1; }
if ! command -v chromium >/dev/null || ! command -v chromedriver >/dev/null; then
  command -v apt-get >/dev/null || fail "chromium and chromedriver are needed"
  [ "$(id -u)" = 0 ] && as_root=() || as_root=(sudo -n)
  { "${as_root[@]}" apt-get update -qq &&
    DEBIAN_FRONTEND=noninteractive "${as_root[@]}" apt-get install -y -qq --no-install-recommends \
      chromium chromium-driver; } >/dev/null ||
    fail "apt-get cannot install chromium and chromium-driver"
fi
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
