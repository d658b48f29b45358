#!/usr/bin/env bash
# Installs redis-server from Debian for tests/serve/redis.rs. The tests start their own servers.
#
# usage: scripts/setup-redis.sh      prints its path
# exit 0 it is ready, 1 it cannot be set up
set -euo pipefail

fail() { echo "setup-redis: $1" >&2; exit 1; }
if ! command -v redis-server >/dev/null; then
  command -v apt-get >/dev/null || fail "redis-server is needed"
  [ "$(id -u)" = 0 ] && as_root=() || as_root=(sudo -n)
  # A package that starts a service would keep the port and the memory.
  { "${as_root[@]}" apt-get update -qq &&
    DEBIAN_FRONTEND=noninteractive RUNLEVEL=1 "${as_root[@]}" apt-get install -y -qq \
      --no-install-recommends redis-server; } >/dev/null ||
    fail "apt-get cannot install redis-server"
fi
command -v redis-server
