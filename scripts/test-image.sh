#!/usr/bin/env bash
# Builds the image of the Dockerfile without Docker, from the file's own lines, and serves from it.
# The build stage runs in a folder with only the files that it copies, the last stage in a folder
# with only the files that it copies, as its user, with its variables and its command. Then the
# script asks for health, a prediction with a heat map, and a probe by name.
#
# usage: scripts/test-image.sh      exit 0 passed or skipped (said loudly), 1 failed
# Needs root (chroot, mounts of its own) and the toolchain of rust-toolchain.toml. The build takes minutes,
# so this is not part of the gate. Keeps its build in .cache/image.
set -euo pipefail
cd "$(dirname "$0")/.."

skip() { printf '\n*** SKIPPED: the image was NOT tested: %s ***\n\n' "$1"; exit 0; }
fail() { printf '\n*** FAILED: %s ***\n' "$1"; exit 1; }
[ "$(uname -sm)" = "Linux x86_64" ] || skip "this is not an x86-64 Linux"
[ "$(id -u)" = 0 ] || skip "an empty root needs root"
unshare -m true 2>/dev/null || skip "private mounts are not allowed here"

work=$PWD/.cache/image
source=$work/source
image=$work/root
rm -rf "$source" "$image"
mkdir -p "$source" "$image"
server=
cleanup() {
  if [ -n "$server" ]; then kill "$server" 2>/dev/null || true; fi
  rm -rf "$source" "$image"
}
trap cleanup EXIT

# The Dockerfile without comments, a line an instruction.
lines=$(sed -e '/^ *#/d' -e ':a' -e '/\\$/{N;s/\\\n */ /;ba}' Dockerfile)
stage() { awk -v wanted="$1" '/^FROM /{n++} n == wanted' <<<"$lines"; }
word() { stage 2 | sed -n "s/^$1 *//p" | tail -n 1; }
list() { word "$1" | sed 's/^\[//; s/\]$//; s/, */ /g; s/"//g'; }

while read -r _ arguments; do
  # shellcheck disable=SC2086  # a list of paths
  set -- $arguments
  target=${*: -1}
  for path in "${@:1:$#-1}"; do
    [ -e "$path" ] || fail "COPY $path: it does not exist"
    case $target in
      ./) cp -rp "$path" "$source/" ;;
      *) cp -rp "$path/." "$(mkdir -p "$source/$target" && echo "$source/$target")" ;;
    esac
  done
done < <(stage 1 | grep '^COPY ')
echo "image: building as the Dockerfile does"
while read -r _ command; do
  (cd "$source" && CARGO_TARGET_DIR=$work/target sh -ec "$command") || fail "RUN $command"
done < <(stage 1 | grep '^RUN ')

[ "$(stage 2 | head -n 1)" = "FROM scratch" ] || fail "the image is not built from scratch"
while read -r _ arguments; do
  # shellcheck disable=SC2086
  set -- $arguments
  if [ "$1" = --from=build ]; then
    # The build's target folder is in another place here.
    from=${2/#\/src\/target/$work/target}
    cp "$from" "$image$3"
  else
    cp "$1" "$image$2"
  fi
done < <(stage 2 | grep '^COPY ')
program=$(list ENTRYPOINT)
# For a static program ldd says so, or says that it is not a dynamic executable, on stdout or
# stderr.
[[ $(ldd "$image$program" 2>&1 || true) =~ (statically linked|not a dynamic) ]] || fail "$program is not static"
echo "image: $(cd "$image" && find . -type f -printf '%P %s bytes, ')"

# The files that every container gets besides its image.
mkdir -p "$image/proc" "$image/etc" "$image/dev"
printf '127.0.0.1 localhost\n' >"$image/etc/hosts"
: >"$image/etc/resolv.conf"
variables=$(word ENV)
# Becomes a program inside the image, with mounts of its own and nothing in its environment but what the
# image and the platform set.
# shellcheck disable=SC2016  # expanded by the inner shell
inside='mount -t proc proc "$0/proc" && mount --bind /dev "$0/dev" && exec env -i $VARIABLES "$CHROOT" --userspec="$CONTAINER_USER" "$0" "$@"'
become() {
  export VARIABLES="$variables PORT=${port:-0}" CONTAINER_USER CHROOT
  CONTAINER_USER=$(word USER)
  CHROOT=$(command -v chroot)
  exec unshare -m sh -c "$inside" "$image" "$@"
}
: >"$work/serve.log"
# shellcheck disable=SC2046  # lists of words
become $program $(list CMD) >"$work/serve.log" 2>&1 &
server=$!
for _ in $(seq 100); do
  port=$(sed -n 's/.*"address":"[^"]*:\([0-9]*\)".*/\1/p' "$work/serve.log" | head -n 1)
  [ -n "$port" ] && [ "$(curl -s "http://127.0.0.1:$port/readyz" || true)" = ready ] && break
  sleep 0.1
done
[ -n "$port" ] || fail "it does not listen: $(cat "$work/serve.log")"
url=http://127.0.0.1:$port
[ "$(curl -s "$url/health")" = ok ] || fail "/health: $(cat "$work/serve.log")"
answer=$(curl -s -F image=@fixtures/images/bcc_03.jpg "$url/predict?gradcam=1")
grep -q '"top1":"bcc"' <<<"$answer" || fail "/predict: ${answer:0:300}"
! grep -q '"request_id":"0*"' <<<"$answer" || fail "no randomness: ${answer:0:100}"
grep -q '"png_base64":"iVBORw0KGgo' <<<"$answer" || fail "no heat map: ${answer:0:300}"
tr '\0' '\n' <"/proc/$server/environ" | grep -q '^GLIBC_TUNABLES=glibc.malloc' ||
  fail "the server did not start again with its allocator's settings"
[ "$(awk '/^Uid:/{print $2}' "/proc/$server/status")" = "$(word USER | cut -d: -f1)" ] ||
  fail "it does not run as $(word USER)"
echo "image: $(grep VmHWM "/proc/$server/status" | tr -s ' \t' ' ') after a prediction with a heat map"
# By name; a static glibc must resolve it without its shared parts.
(become "$program" probe "http://localhost:$port" --requests 2) >"$work/probe.log" 2>&1 ||
  fail "probe by name: $(cat "$work/probe.log")"
tail -n 1 "$work/probe.log"
# The image has no certificates, so the program's own must suffice for an answer or an error.
(become "$program" probe https://localhost:9 --patience 1) >"$work/probe.log" 2>&1 && fail "probe of nothing succeeded"
grep -q 'does not answer' "$work/probe.log" || fail "probe by TLS: $(cat "$work/probe.log")"
kill -TERM "$server"
wait "$server" || fail "it did not stop on SIGTERM: $(tail -n 3 "$work/serve.log")"
server=
grep -q '"message":"stopped"' "$work/serve.log" || fail "it was not stopped in order"
echo "image: passed"
