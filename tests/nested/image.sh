#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
#
# Makes the nested machine: Debian's kernels, and for each an initramfs of L1 that carries QEMU,
# a small L2 guest and the modules they need. Prints the directory, which then holds
# KERNEL/vmlinuz, KERNEL/base.cpio and KERNEL/version for KERNEL in 6.12 and 7, and KERNEL/small.cpio:
# an L1 without QEMU, for a slow machine. What changes often (our modules, scripts, scenarios) is
# not in there: run appends it.
set -eu

top=$(cd "$(dirname "$0")/../.." && pwd)
cache=${EXITLESS_CACHE:-$top/build/cache}
out=$cache/nested

say() { echo "nested: $*" >&2; }

"$top/tools/fetch-qemu.sh" >/dev/null
# gcc and make are for the modules; the rest runs in L1 and L2.
"$top/tools/debian-root.sh" trixie add qemu-system-x86/trixie-backports >&2
"$top/tools/debian-root.sh" trixie add linux-image-amd64 linux-headers-amd64 \
	make dash coreutils sed grep gawk findutils kmod bash busybox-static \
	bochs isolinux syslinux-common xorriso >&2
"$top/tools/debian-root.sh" trixie add linux-image-amd64/trixie-backports \
	linux-headers-amd64/trixie-backports >&2
root=$("$top/tools/debian-root.sh" trixie path)
mkdir -p "$out"
exec 9>"$out/lock"
flock 9

l1_modules="irqbypass kvm kvm-amd kvm-intel vfio vfio_iommu_type1 vfio-pci e1000e igb"
l2_modules="e1000e igbvf virtio_pci virtio_net"

# modules VERSION DIR NAME...: uncompressed, and for each NAME the order of insmod
modules()
{
	v=$1
	to=$2
	shift 2
	mkdir -p "$to"
	for m in "$@"; do
		modprobe -d "$root/usr" -S "$v" --show-depends "$m" | awk '$1 == "insmod" { print $2 }' |
			while read -r f; do
			ko=$(basename "$f" .xz)
			[ -e "$to/$ko" ] || case $f in
			*.xz) xz -dc "$f" >"$to/$ko" ;;
			*) cp "$f" "$to/$ko" ;;
			esac
			echo "$ko"
		done >"$to/$m.order"
	done
}

busybox()
{
	mkdir -p "$1/bin" "$1/dev" "$1/proc" "$1/sys" "$1/tmp" "$1/run"
	cp "$root/usr/bin/busybox" "$1/bin/busybox"
	"$root/usr/bin/busybox" --list | while read -r name; do
		[ -e "$1/bin/$name" ] || ln -s busybox "$1/bin/$name"
	done
}

pack() { (cd "$1" && find . | cpio --quiet -o -H newc); }

for kernel in 6.12 7; do
	version=$(ls "$root/usr/lib/modules" | grep "^$kernel" | sort -V | tail -n 1)
	[ -n "$version" ] || { say "no kernel $kernel"; exit 1; }
	dir=$out/$kernel
	stamp=$(cat "$0" "$top/tests/nested/l2-init" "$root/usr/bin/qemu-system-x86_64" |
		sha256sum | cut -c1-16)-$version
	[ ! -e "$dir/stamp" ] || [ "$(cat "$dir/stamp")" != "$stamp" ] || continue
	say "building the machine with Linux $version"
	rm -rf "$dir"
	mkdir -p "$dir/l1/usr/lib64" "$dir/l1/usr/lib/x86_64-linux-gnu" "$dir/l1/usr/share/qemu"
	echo "$version" >"$dir/version"
	if [ -e "$root/boot/vmlinuz-$version" ]; then
		cp "$root/boot/vmlinuz-$version" "$dir/vmlinuz"
	else
		cp "$root/usr/lib/modules/$version/vmlinuz" "$dir/vmlinuz"
	fi
	depmod -b "$root/usr" "$version" 2>/dev/null

	busybox "$dir/l2"
	# shellcheck disable=SC2086 # lists of words
	modules "$version" "$dir/l2/mod" $l2_modules
	cp "$top/tests/nested/l2-init" "$dir/l2/init"

	busybox "$dir/small"
	modules "$version" "$dir/small/mod" irqbypass kvm kvm-intel
	pack "$dir/small" >"$dir/small.cpio"
	rm -rf "$dir/small"

	busybox "$dir/l1"
	ln -s usr/lib "$dir/l1/lib"
	ln -s usr/lib64 "$dir/l1/lib64"
	# shellcheck disable=SC2086
	modules "$version" "$dir/l1/mod" $l1_modules
	cp -L "$root/usr/bin/qemu-system-x86_64" "$dir/l1/bin/"
	"$root/lib64/ld-linux-x86-64.so.2" --library-path "$root/usr/lib/x86_64-linux-gnu" \
		--list "$root/usr/bin/qemu-system-x86_64" |
		sed -n "s|.*=> \\($root[^ ]*\\).*|\\1|p" | sort -u | while read -r lib; do
		cp -L "$lib" "$dir/l1/usr/lib/x86_64-linux-gnu/"
	done
	cp -L "$root/lib64/ld-linux-x86-64.so.2" "$dir/l1/usr/lib64/"
	for f in bios-256k.bin kvmvapic.bin linuxboot_dma.bin; do
		for d in seabios qemu; do
			[ ! -e "$root/usr/share/$d/$f" ] ||
				cp -L "$root/usr/share/$d/$f" "$dir/l1/usr/share/qemu/"
		done
	done
	mkdir -p "$dir/l1/l2"
	cp "$dir/vmlinuz" "$dir/l1/l2/kernel"
	pack "$dir/l2" | gzip -1 >"$dir/l1/l2/initrd"
	pack "$dir/l1" >"$dir/base.cpio"
	rm -rf "$dir/l1"
	echo "$stamp" >"$dir/stamp"
done
echo "$out"
