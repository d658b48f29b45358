#!/usr/bin/env bash
# Runs `dermal estimate --prove` under cgroups of version 2, in a small Linux that is booted for it
# in QEMU. It makes proofs in a separate group, from the root group and from a group below it, one
# that is refused and one that the kernel kills, and checks what is left behind. If this machine has
# version 2 itself, `cargo test --test real estimate_proof` as root does the same, and this script is not
# needed.
#
# usage: scripts/test-cgroup-v2.sh      exit 0 passed or skipped (said loudly), 1 failed
# Needs: root, and Debian or Ubuntu for apt-get. Keeps its files in .cache/cgroup-v2. Not part of the
# gate: it takes minutes, and the emulator is a large package.
set -euo pipefail
cd "$(dirname "$0")/.."
limit_s=${DERMAL_EMULATION_LIMIT_S:-600}

skip() { printf '\n*** SKIPPED: cgroups of version 2 were NOT tested: %s ***\n\n' "$1"; exit 0; }
[ "$(uname -m)" = x86_64 ] || skip "this is not an x86-64 machine"
command -v apt-get >/dev/null || skip "QEMU is installed with apt-get, which is not here"

work=.cache/cgroup-v2
mkdir -p "$work"
packages="qemu-system-x86 cpio busybox-static"
# shellcheck disable=SC2086  # a list of words
if ! dpkg -s $packages >/dev/null 2>&1; then
  [ "$(id -u)" = 0 ] || skip "installing $packages needs root"
  echo "cgroup-v2: installing QEMU"
  { apt-get update -qq && apt-get install -y -qq --no-install-recommends $packages; } \
    >"$work/apt.log" 2>&1 || skip "apt-get could not install it (see $work/apt.log)"
fi
if [ ! -s "$work/vmlinuz" ]; then
  (
    cd "$work"
    package=$(apt-cache depends linux-image-cloud-amd64 linux-image-generic 2>/dev/null |
      awk '/Depends: linux-image-[0-9]/ { print $2; exit }')
    apt-get download -qq "$package" && dpkg -x linux-image-*.deb kernel
    cp kernel/boot/vmlinuz-* vmlinuz.new && mv vmlinuz.new vmlinuz
    rm -rf kernel linux-image-*.deb
  ) >"$work/kernel.log" 2>&1 || skip "no kernel package could be had (see $work/kernel.log)"
fi

echo "cgroup-v2: building the tests"
tests=$(cargo test --release --test real --no-run --message-format=json 2>"$work/build.log" |
  sed -n 's/.*"executable":"\([^"]*real-[^"]*\)".*/\1/p' | tail -n 1) || true
[ -x "$tests" ] || { cargo test --release --test real --no-run; exit 1; }
program=$(dirname "$(dirname "$tests")")/dermal

# The initial file system: the tests and the program at the place where the tests expect it, the
# libraries they load, the demo model, and an init that runs them.
root=$work/root
rm -rf "$root"
mkdir -p "$root/bin" "$root$(dirname "$program")" "$root$PWD/models"
cp /bin/busybox "$root/bin/busybox"
strip -o "$root/tests" "$tests"
strip -o "$root$program" "$program"
cp models/demo.safetensors "$root$PWD/models/"
{ ldd "$tests"; ldd "$program"; } | grep -o '/[^ ]*' | sort -u | while read -r library; do
  mkdir -p "$root$(dirname "$library")"
  cp -L "$library" "$root$library"
done
cat >"$root/init" <<INIT
#!/bin/busybox sh
/bin/busybox --install -s /bin
mkdir -p /proc /sys /dev /tmp
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev
mount -t tmpfs tmp /tmp
mount -t cgroup2 cgroup2 /sys/fs/cgroup
ifconfig lo 127.0.0.1 up
exec >/dev/ttyS0 2>&1
code=0
prove() { echo "== \$1"; $program estimate --prove --json --budget 400MB --max-pixels 1000000 --threads 1 >/tmp/proof.json || code=1
  tr -d ' \n' </tmp/proof.json | grep -q '"confinement":{"kind":"cgroup","version":2}' || { cat /tmp/proof.json; code=1; }; }
prove "from the root group"
$program estimate --prove --budget 400MB --max-pixels 1000000 --threads 1 | tail -n 11
# A group with a process in it may not pass controllers down, so the group around it is used.
mkdir /sys/fs/cgroup/app && echo \$\$ >/sys/fs/cgroup/app/cgroup.procs
prove "from a group below it"
echo "== a limit at which the server refuses"
$program estimate --prove --json --budget 60MB --threads 1 >/tmp/proof.json && code=1
tr -d ' \n' </tmp/proof.json | grep -q '"outcome":"refused"' || { cat /tmp/proof.json; code=1; }
echo "== a limit at which the kernel kills: drawn in while photos are sent"
$program estimate --prove --json --budget 400MB --max-pixels 8000000 --threads 1 >/tmp/proof.json &
until [ "\$(cat /sys/fs/cgroup/dermal-prove-*/memory.current 2>/dev/null || echo 0)" -gt 20000000 ]; do sleep 0.1; done
group=\$(echo /sys/fs/cgroup/dermal-prove-*)
echo 10M >"\$group/memory.max" || code=1
wait \$! && code=1
tr -d ' \n' </tmp/proof.json | grep -q '"outcome":"killed"' || code=1
tr -d ' \n' </tmp/proof.json | grep -o '"oom_kills":[1-9]' || { cat /tmp/proof.json; code=1; }
echo "== what a killed proof leaves"
/tests --test-threads=1 --nocapture a_proof_that_is_killed || code=1
find /sys/fs/cgroup -name 'dermal*' | grep . && code=1
echo "== exit \$code"
sync
poweroff -f
INIT
chmod +x "$root/init"
(cd "$root" && find . | cpio -o -H newc --quiet) | gzip -1 >"$work/initrd.img"

echo "cgroup-v2: booting"
rm -f "$work/serial.txt"
timeout "$limit_s" qemu-system-x86_64 -accel tcg -cpu max -smp 2 -m 2048 -nographic -no-reboot \
  -kernel "$work/vmlinuz" -initrd "$work/initrd.img" -monitor none -serial "file:$work/serial.txt" \
  -append "console=ttyS0 quiet panic=-1 cgroup_no_v1=all" </dev/null >"$work/qemu.log" 2>&1 || true
tr -d '\r' <"$work/serial.txt"
grep -q '^== exit 0' <(tr -d '\r' <"$work/serial.txt") || {
  printf '\n*** FAILED: see %s and %s ***\n' "$work/serial.txt" "$work/qemu.log"
  exit 1
}
