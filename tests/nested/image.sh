#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
#
# Makes the nested machine: Debian's kernels, and for each an initramfs of L1 that carries QEMU,
# a small L2 guest and the modules they need. Prints the directory, which then holds
# KERNEL/vmlinuz, KERNEL/base.cpio and KERNEL/version for KERNEL in 6.12 and 7, and KERNEL/small.cpio:
# an L1 without QEMU, for a slow machine. What changes often (our modules, scripts, scenarios) is
# not in there: run appends it. "image.sh debug" adds debug/, whose L1 has the kernel of
# debug-kernel.sh.
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

l1_modules="irqbypass kvm kvm-amd vfio vfio_iommu_type1 vfio-pci e1000e igb"
l2_modules="e1000e igbvf virtio_pci virtio_net"

# modules BASE VERSION DIR NAME...: uncompressed, and for each NAME the order of insmod
modules()
{
	from=$1
	v=$2
	to=$3
	shift 3
	mkdir -p "$to"
	for m in "$@"; do
		modprobe -d "$from" -S "$v" --show-depends "$m" | awk '$1 == "insmod" { print $2 }' |
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

# installed KERNEL: the newest version of Debian's
installed() { ls "$root/usr/lib/modules" | grep "^$1.*-amd64\$" | sort -V | tail -n 1; }

# image DIR BASE VERSION VMLINUZ: L1 with that kernel, whose modules are below BASE; L2 has Debian's,
# of the same version where L1 has that.
image()
{
	dir=$out/$1
	base=$2
	version=$3
	vmlinuz=$4
	stamp=$(cat "$0" "$top/tests/nested/l2-init" "$root/usr/bin/qemu-system-x86_64" "$vmlinuz" |
		sha256sum | cut -c1-16)-$version
	[ ! -e "$dir/stamp" ] || [ "$(cat "$dir/stamp")" != "$stamp" ] || return 0
	say "building the machine with Linux $version"
	rm -rf "$dir"
	mkdir -p "$dir/l1/usr/lib64" "$dir/l1/usr/lib/x86_64-linux-gnu" "$dir/l1/usr/share/qemu"
	echo "$version" >"$dir/version"
	cp "$vmlinuz" "$dir/vmlinuz"
	depmod -b "$base" "$version" 2>/dev/null

	l2=$version
	l2_vmlinuz=$vmlinuz
	if [ "$base" != "$root/usr" ]; then
		l2=$(installed 6.12)
		l2_vmlinuz=$(vmlinuz_of "$l2")
	fi
	busybox "$dir/l2"
	# shellcheck disable=SC2086 # lists of words
	modules "$root/usr" "$l2" "$dir/l2/mod" $l2_modules
	cp "$top/tests/nested/l2-init" "$dir/l2/init"

	if [ "$base" = "$root/usr" ]; then
		busybox "$dir/small"
		modules "$base" "$version" "$dir/small/mod" irqbypass kvm kvm-intel
		pack "$dir/small" >"$dir/small.cpio"
		rm -rf "$dir/small"
	fi

	busybox "$dir/l1"
	ln -s usr/lib "$dir/l1/lib"
	ln -s usr/lib64 "$dir/l1/lib64"
	# shellcheck disable=SC2086
	modules "$base" "$version" "$dir/l1/mod" $l1_modules
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
	cp "$l2_vmlinuz" "$dir/l1/l2/kernel"
	pack "$dir/l2" | gzip -1 >"$dir/l1/l2/initrd"
	pack "$dir/l1" >"$dir/base.cpio"
	rm -rf "$dir/l1"
	echo "$stamp" >"$dir/stamp"
}

# vmlinuz_of VERSION
vmlinuz_of()
{
	if [ -e "$root/boot/vmlinuz-$1" ]; then
		echo "$root/boot/vmlinuz-$1"
	else
		echo "$root/usr/lib/modules/$1/vmlinuz"
	fi
}

for kernel in 6.12 7; do
	version=$(installed $kernel)
	[ -n "$version" ] || { say "no kernel $kernel"; exit 1; }
	image $kernel "$root/usr" "$version" "$(vmlinuz_of "$version")"
done
if [ "${1:-}" = debug ]; then
	debug=$root$("$top/tests/nested/debug-kernel.sh")
	image debug "$debug/usr" "$(ls "$debug/usr/lib/modules")" "$debug/vmlinuz"
fi
echo "$out"
