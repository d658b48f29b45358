#!/usr/bin/env bash
# Runs the kernel tests on a CPU with AVX-512. If this machine has none, they run inside the Bochs
# emulator (Debian packages) on an emulated Skylake-X, under a small Linux that is booted for them.
# That takes minutes instead of seconds, but executes every instruction of that tier.
#
# usage: scripts/test-avx512.sh [TEST-NAME-FILTER]      exit 0 passed or skipped (said loudly), 1 failed
# Needs for the emulation: root, and Debian or Ubuntu for apt-get. Keeps its files in .cache/avx512.
set -euo pipefail
cd "$(dirname "$0")/.."
filter=${1:-kernels::}
limit_s=${DERMAL_EMULATION_LIMIT_S:-600}

if grep -qw avx512bw /proc/cpuinfo; then
  echo "avx512: this CPU has it; running '$filter' natively"
  exec cargo test --release --lib -- "$filter"
fi
skip() { printf '\n*** SKIPPED: AVX-512 kernels were NOT tested: %s ***\n\n' "$1"; exit 0; }
[ "$(uname -m)" = x86_64 ] || skip "this is not an x86-64 machine"
command -v apt-get >/dev/null || skip "the emulator is installed with apt-get, which is not here"

work=.cache/avx512
mkdir -p "$work/root/bin" "$work/root/lib" "$work/iso/isolinux"
packages="bochs bochs-term bochsbios vgabios xorriso isolinux syslinux-common cpio busybox-static"
# shellcheck disable=SC2086  # a list of words
if ! dpkg -s $packages >/dev/null 2>&1; then
  [ "$(id -u)" = 0 ] || skip "installing $packages needs root"
  echo "avx512: installing the emulator"
  { apt-get update -qq && apt-get install -y -qq --no-install-recommends $packages; } \
    >"$work/apt.log" 2>&1 || skip "apt-get could not install it (see $work/apt.log)"
fi
if [ ! -s "$work/iso/vmlinuz" ]; then
  (
    cd "$work"
    package=$(apt-cache depends linux-image-cloud-amd64 linux-image-generic 2>/dev/null |
      awk '/Depends: linux-image-[0-9]/ { print $2; exit }')
    apt-get download -qq "$package" && dpkg -x linux-image-*.deb kernel
    cp kernel/boot/vmlinuz-* iso/vmlinuz.new && mv iso/vmlinuz.new iso/vmlinuz
    rm -rf kernel linux-image-*.deb
  ) >"$work/kernel.log" 2>&1 || skip "no kernel package could be had (see $work/kernel.log)"
fi

echo "avx512: building the tests"
tests=$(cargo test --release --lib --no-run --message-format=json 2>"$work/build.log" |
  sed -n 's/.*"executable":"\([^"]*\)".*/\1/p' | tail -n 1) || true
[ -x "$tests" ] || { cargo test --release --lib --no-run; exit 1; }

# Left out there: tests of threads, and two tests that prepare matrices of megabytes repeatedly.
# The initial file system: the test program, the libraries it loads, and an init that runs it.
root=$work/root
cp "$tests" "$root/tests"
cp /bin/busybox "$root/bin/busybox"
ldd "$tests" | grep -o '/[^ ]*' | while read -r library; do
  mkdir -p "$root$(dirname "$library")"
  cp -L "$library" "$root$library"
done
cat >"$root/init" <<INIT
#!/bin/busybox sh
/bin/busybox mkdir -p /proc /dev /tmp
/bin/busybox mount -t proc proc /proc
/bin/busybox mount -t devtmpfs dev /dev
/bin/busybox grep -qw avx512bw /proc/cpuinfo || echo "no AVX-512 in the emulated CPU" >/dev/ttyS0
PROPTEST_CASES=8 DERMAL_TEST_EMULATED=1 /tests --test-threads=1 "$filter" \\
  --skip program:: --skip long_reductions --skip a_large_call >/dev/ttyS0 2>&1
echo "== exit \$?" >/dev/ttyS0
/bin/busybox sleep 2
/bin/busybox poweroff -f
INIT
chmod +x "$root/init"
(cd "$root" && find . | cpio -o -H newc --quiet) | gzip -1 >"$work/iso/initrd.img"
cp /usr/lib/ISOLINUX/isolinux.bin /usr/lib/syslinux/modules/bios/ldlinux.c32 "$work/iso/isolinux/"
# Bochs 2.7 reports an XSAVES area that Linux finds inconsistent, and Linux then turns AVX off:
# without XSAVEC (321) and XSAVES (323) it uses the plain format, which is right.
cat >"$work/iso/isolinux/isolinux.cfg" <<'BOOT'
DEFAULT tests
PROMPT 0
TIMEOUT 1
LABEL tests
 KERNEL /vmlinuz
 APPEND initrd=/initrd.img console=ttyS0 quiet clearcpuid=321,323 mitigations=off nosmp noapic nolapic random.trust_cpu=on
BOOT
cd "$work"
xorriso -as mkisofs -quiet -o tests.iso -b isolinux/isolinux.bin -c isolinux/boot.cat \
  -no-emul-boot -boot-load-size 4 -boot-info-table iso 2>/dev/null
rm -f serial.txt tests.iso.lock
cat >bochsrc <<'BOCHS'
config_interface: textconfig
display_library: term
cpu: model=corei7_skylake_x, count=1, ips=50000000, reset_on_triple_fault=0
megs: 1024
romimage: file=/usr/share/bochs/BIOS-bochs-latest
vgaromimage: file=/usr/share/vgabios/vgabios.bin
ata0: enabled=1
ata0-master: type=cdrom, path=tests.iso, status=inserted
boot: cdrom
com1: enabled=1, mode=file, dev=serial.txt
clock: sync=none
log: bochs.log
panic: action=fatal
error: action=ignore
info: action=ignore
BOCHS
echo c >continue.rc
echo "avx512: running '$filter' on an emulated Skylake-X (at most $limit_s s)"
TERM=xterm timeout "$limit_s" script -qc "bochs -q -f bochsrc -rc continue.rc" /dev/null \
  >bochs.out 2>&1 </dev/null || true
tr -d '\r' <serial.txt 2>/dev/null | sed -n '/^running/,$p' | grep -v '^\[' || true
case $(tr -d '\r' <serial.txt 2>/dev/null | sed -n 's/^== exit //p') in
  0) echo "avx512: passed" ;;
  "") skip "the emulated machine gave no result in $limit_s s (see $work/serial.txt)" ;;
  *) echo "avx512: FAILED"; exit 1 ;;
esac
