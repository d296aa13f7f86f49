#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
#
# Guests with other drivers than Debian 12's kernel, for the VM tests:
#
#	driver-image.sh 6.12|7   the kernel of trixie, or of trixie-backports
#	driver-image.sh dpdk     Debian 12's kernel with DPDK's testpmd
#	driver-image.sh firmware UEFI: code.fd and vars.fd; iPXE for BIOS: ipxe.lkrn; GRUB to
#				 be booted by the network: grub.efi, grub/
#	driver-image.sh uboot    U-Boot for a PC of QEMU's: u-boot.rom
#
# Prints a directory. But for the firmwares it holds kernel and initramfs.cpio: the image of
# guest-image.sh, with another archive behind it.
set -eu

top=$(cd "$(dirname "$0")/.." && pwd)
cache=${EXITLESS_CACHE:-$top/build/cache}
variant=${1:?6.12, 7, dpdk, firmware or uboot}
out=$cache/drivers/$variant

# A tree of its own, so that what is added does not make the other images old.
own()
{
	EXITLESS_CACHE=$cache/drivers "$top/tools/debian-root.sh" bookworm "$@"
}

case $variant in
6.12) "$top/tools/debian-root.sh" trixie add linux-image-amd64 >&2 ;;
7) "$top/tools/debian-root.sh" trixie add linux-image-amd64/trixie-backports >&2 ;;
dpdk) own add dpdk-dev >&2 ;;
firmware) own add ovmf ipxe grub-efi-amd64-signed grub-efi-amd64-bin >&2 ;;
uboot) own add u-boot-qemu >&2 ;;
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

# loads PROGRAM: which of the libraries of its tree it takes
loads()
{
	"$dpdk/lib64/ld-linux-x86-64.so.2" --library-path "$libs" --list "$1" |
		sed -n "s|.*=> \\($dpdk[^ ]*\\).*|\\1|p"
}

pack() { (cd "$1" && find . | LC_ALL=C sort | cpio -o -H newc -R 0:0 --quiet); }

stamp=$(cat "$0" "$base/stamp" | sha256sum | cut -c1-16)
case $variant in
6.12 | 7)
	root=$("$top/tools/debian-root.sh" trixie path)
	version=$(ls "$root/usr/lib/modules" | grep "^$variant" | sort -V | tail -n 1)
	stamp=$stamp-$version
	;;
dpdk)
	root=$("$top/tools/debian-root.sh" bookworm path)
	version=$(ls "$root/usr/lib/modules" | sort -V | tail -n 1)
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
	root=$(own path)
	cp "$root/boot/ipxe.lkrn" "$out/"
	cp "$root/usr/share/OVMF/OVMF_CODE_4M.fd" "$out/code.fd"
	cp "$root/usr/share/OVMF/OVMF_VARS_4M.fd" "$out/vars.fd"
	cp "$root/usr/lib/grub/x86_64-efi-signed/grubnetx64.efi.signed" "$out/grub.efi"
	mkdir -p "$out/grub/x86_64-efi"
	for m in hashsum gcry_sha256 crypto extcmd; do
		cp "$root/usr/lib/grub/x86_64-efi/$m.mod" "$out/grub/x86_64-efi/"
	done
	;;
uboot) cp "$(own path)/usr/lib/u-boot/qemu-x86_64/u-boot.rom" "$out/" ;;
dpdk)
	dpdk=$(own path)
	libs=$dpdk/usr/lib/x86_64-linux-gnu
	pmds=$(cd "$libs/dpdk" && echo pmds-*)
	plugins=$tree/usr/lib/x86_64-linux-gnu/dpdk/$pmds
	mkdir -p "$tree/bin" "$tree/lib/x86_64-linux-gnu" "$plugins"
	cp "$dpdk/usr/bin/dpdk-testpmd" "$tree/bin/"
	# Links, as in Debian: DPDK loads these, and each shall be there once.
	for p in bus_pci bus_vdev mempool_ring net_e1000; do
		lib=$(cd "$libs" && echo librte_$p.so.*[0-9].[0-9]*)
		soname=${lib%.*}
		ln -s "/lib/x86_64-linux-gnu/$soname" "$plugins/$lib"
		echo "$libs/$soname"
		loads "$libs/$soname"
	done >"$tree/list"
	loads "$dpdk/usr/bin/dpdk-testpmd" >>"$tree/list"
	echo "$libs/libgcc_s.so.1" >>"$tree/list" # threads that end
	sort -u "$tree/list" | while read -r lib; do
		cp -L "$lib" "$tree/lib/x86_64-linux-gnu/"
	done
	rm "$tree/list"
	# this list of modules takes the place of the first archive's
	tree_modules "$root" "$version" "$tree" uio_pci_generic e1000 e1000e
	cp "$base/kernel" "$out/kernel"
	;;
*)
	tree_modules "$root" "$version" "$tree" e1000 e1000e virtio_pci virtio_net virtio_blk 8021q
	kernel=$root/boot/vmlinuz-$version
	[ -e "$kernel" ] || kernel=$root/usr/lib/modules/$version/vmlinuz
	cp "$kernel" "$out/kernel"
	;;
esac
case $variant in
firmware | uboot) ;;
*)
	cat "$base/initramfs.cpio" >"$out/initramfs.cpio"
	pack "$tree" >>"$out/initramfs.cpio"
	;;
esac
rm -rf "$tree"
echo "$stamp" >"$out/stamp"
echo "$out"
