#!/usr/bin/env bash
# Runs a server in a cgroup of 512,000,000 bytes and sends photos to it, some with heat maps and every
# half minute twenty at once. Then asks the kernel whether it had to kill the server. Uses version 1 or 2
# of cgroups, whichever has a memory controller; needs root. The photos are the fixtures and, if
# ../shared/data (or $DERMAL_SHARED_DATA) exists, photos of 12 and 18 megapixels.
#
# usage: scripts/soak.sh [MODEL|-] [MINUTES] [RPS]     `-` is the embedded model; 2 minutes, 4 a second
# CPU_QUOTA=10000   microseconds of CPU in each 100000 (0.1 CPU); default: no quota
# exit 0 healthy, 1 not healthy, 2 it could not be run
set -euo pipefail
cd "$(dirname "$0")/.."
model=${1:--} minutes=${2:-2} rps=${3:-4}
limit=512000000
dermal=${DERMAL:-target/release/dermal}
name=dermal-soak-$$

cannot() { echo "soak: $1" >&2; exit 2; }
[ -x "$dermal" ] || cannot "$dermal is missing: cargo build --release"
[ "$model" = - ] || [ -f "$model" ] || cannot "there is no model $model"
[ "$(id -u)" = 0 ] || cannot "root is needed to make a cgroup"

if [ -d /sys/fs/cgroup/memory ]; then
  version=1
  memory=/sys/fs/cgroup/memory/$name
  mkdir "$memory" || cannot "no cgroup can be made"
  echo "$limit" >"$memory/memory.limit_in_bytes"
  groups=("$memory")
  if [ -n "${CPU_QUOTA:-}" ]; then
    cpu=/sys/fs/cgroup/cpu/$name
    mkdir "$cpu"
    echo 100000 >"$cpu/cpu.cfs_period_us"
    echo "$CPU_QUOTA" >"$cpu/cpu.cfs_quota_us"
    groups+=("$cpu")
  fi
elif grep -qw memory /sys/fs/cgroup/cgroup.controllers 2>/dev/null; then
  version=2
  memory=/sys/fs/cgroup/$name
  mkdir "$memory" || cannot "no cgroup can be made"
  [ -f "$memory/memory.max" ] || cannot "the memory controller is not delegated here"
  echo "$limit" >"$memory/memory.max"
  [ -z "${CPU_QUOTA:-}" ] || echo "$CPU_QUOTA 100000" >"$memory/cpu.max"
  groups=("$memory")
else
  cannot "there is no memory controller"
fi

log=$(mktemp)
photos=$(mktemp -d)
copies=$(mktemp -d)
pid=
finish() {
  [ -z "$pid" ] || kill "$pid" 2>/dev/null || true
  [ -z "$pid" ] || wait "$pid" 2>/dev/null || true
  rmdir "${groups[@]}" 2>/dev/null || true
  rm -rf "$log" "$photos" "$copies"
}
trap finish EXIT
trap 'exit 2' INT TERM

# The kernel charges a page of a file to the group that reads it first. Pages of program and model
# that are cached already would be missing from the group's counters, although in a fresh container
# the server pays for them. So the server runs from copies that are not cached.
uncached() {
  cp "$1" "$2"
  dd of="$2" oflag=nocache conv=notrunc,fdatasync count=0 status=none
}
uncached "$dermal" "$copies/dermal"
included="page cache of program and model included"
case $(stat -f -c %T "$copies") in
  tmpfs | ramfs) included="without the page cache of program and model: $copies is in memory" ;;
esac
arguments=(serve --bind 127.0.0.1:0 --log-format json)
if [ "$model" != - ]; then
  uncached "$model" "$copies/model.safetensors"
  arguments+=("$copies/model.safetensors")
fi
(
  for group in "${groups[@]}"; do echo "$BASHPID" >"$group/cgroup.procs"; done
  exec "$copies/dermal" "${arguments[@]}"
) 2>"$log" &
pid=$!
address=
for _ in $(seq 200); do
  address=$(sed -n 's/.*"message":"listening","address":"\([^"]*\)".*/\1/p' "$log")
  [ -z "$address" ] || break
  kill -0 "$pid" 2>/dev/null || { cat "$log" >&2; cannot "the server ended"; }
  sleep 0.1
done
[ -n "$address" ] || cannot "the server does not listen"

large=${DERMAL_SHARED_DATA:-../shared/data}/fullres
for photo in fixtures/images/*_0[12].jpg "$large"/*.jpg; do
  [ ! -f "$photo" ] || ln -s "$(realpath "$photo")" "$photos/"
done
[ -d "$large" ] || echo "*** SKIPPED: large photos, as $large is not here ***"

code=0
"$dermal" probe "http://$address" --images "$photos" --requests 40 --parallel 20 \
  --minutes "$minutes" --rps "$rps" | tee "$photos/said" || code=$?
if [ "$version" = 1 ]; then
  kills=$(sed -n 's/^oom_kill //p' "$memory/memory.oom_control")
  peak=$(cat "$memory/memory.max_usage_in_bytes")
else
  kills=$(sed -n 's/^oom_kill //p' "$memory/memory.events")
  peak=$(cat "$memory/memory.peak" 2>/dev/null || echo unknown)
fi
# A peak below what the process alone had resident would mean that pages were charged elsewhere.
resident=$(awk '/^VmHWM/ { print $2 * 1024 }' "/proc/$pid/status" 2>/dev/null || true)
if [ "$peak" != unknown ] && [ -n "$resident" ] && [ "$peak" -lt "$resident" ]; then
  peak="unknown ($peak charged, but $resident resident)"
fi
echo "cgroup version $version: $limit bytes, peak $peak ($included), killed ${kills:-0} times"
grep -m 1 '"model loaded"' "$log" || true
failed=$(grep -c '"status":5' "$log" || true)
echo "answers of 500 and above: $failed"
# The server has no other clients, so both sides must count the same.
grep -q 'client and server count' "$photos/said" || { echo "the ledgers differ"; code=1; }
[ "$code" = 0 ] && [ "${kills:-0}" = 0 ] && [ "$failed" = 0 ] && exit 0
[ "$code" = 2 ] && exit 2
exit 1
