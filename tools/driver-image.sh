#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
#
# Guests with other drivers than Debian 12's kernel, for the VM tests:
#
#	driver-image.sh 6.12|7   the kernel of trixie, or of trixie-backports
#	driver-image.sh firmware iPXE for BIOS: ipxe.lkrn
#
# Prints a directory. But for the firmware it holds kernel and initramfs.cpio: the image of
# guest-image.sh, with another archive behind it.
set -eu

top=$(cd "$(dirname "$0")/.." && pwd)
cache=${EXITLESS_CACHE:-$top/build/cache}
variant=${1:?6.12, 7 or firmware}
out=$cache/drivers/$variant

# A tree of its own, so that what is added does not make the other images old.
own()
{
	EXITLESS_CACHE=$cache/drivers "$top/tools/debian-root.sh" bookworm "$@"
}

case $variant in
6.12) "$top/tools/debian-root.sh" trixie add linux-image-amd64 >&2 ;;
7) "$top/tools/debian-root.sh" trixie add linux-image-amd64/trixie-backports >&2 ;;
firmware) own add ipxe >&2 ;;
*)
	echo "driver-image: no such variant: $variant" >&2
	exit 1
	;;
esac
base=$("$top/tools/guest-image.sh")
mkdir -p "$out"
exec 9>"$out/lock"
flock 9

# tree_modules ROOT VERSION TREE NAME...: the modules and what they need, not compressed
tree_modules()
{
	root=$1
	version=$2
	tree=$3
	shift 3
	to=$tree/lib/modules/$version
	mkdir -p "$to"
	depmod -b "$root/usr" "$version" 2>/dev/null || depmod -b "$root" "$version"
	for m in "$@"; do
		modprobe -d "$root/usr" -S "$version" --show-depends "$m" 2>/dev/null ||
			modprobe -d "$root" -S "$version" --show-depends "$m"
	done | awk '$1 == "insmod" { print $2 }' | sort -u | while read -r ko; do
		case $ko in
		*.xz) xz -dc "$ko" >"$to/$(basename "$ko" .xz)" ;;
		*) cp "$ko" "$to" ;;
		esac
	done
	cp "$root/usr/lib/modules/$version"/modules.builtin* \
		"$root/usr/lib/modules/$version/modules.order" "$to/"
	depmod -b "$tree" "$version"
}

pack() { (cd "$1" && find . | LC_ALL=C sort | cpio -o -H newc -R 0:0 --quiet); }

stamp=$(cat "$0" "$base/stamp" | sha256sum | cut -c1-16)
case $variant in
6.12 | 7)
	root=$("$top/tools/debian-root.sh" trixie path)
	version=$(ls "$root/usr/lib/modules" | grep "^$variant" | sort -V | tail -n 1)
	stamp=$stamp-$version
	;;
esac
if [ "$(cat "$out/stamp" 2>/dev/null)" = "$stamp" ]; then
	echo "$out"
	exit 0
fi
echo "driver-image: building $out" >&2
tree=$out/tree
rm -rf "$tree"
mkdir -p "$tree"

case $variant in
firmware)
	cp "$(own path)/boot/ipxe.lkrn" "$out/"
	;;
*)
	tree_modules "$root" "$version" "$tree" e1000 e1000e virtio_pci virtio_net virtio_blk 8021q
	kernel=$root/boot/vmlinuz-$version
	[ -e "$kernel" ] || kernel=$root/usr/lib/modules/$version/vmlinuz
	cp "$kernel" "$out/kernel"
	;;
esac
[ "$variant" = firmware ] || {
	cat "$base/initramfs.cpio" >"$out/initramfs.cpio"
	pack "$tree" >>"$out/initramfs.cpio"
}
rm -rf "$tree"
echo "$stamp" >"$out/stamp"
echo "$out"
