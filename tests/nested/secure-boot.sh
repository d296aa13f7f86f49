#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
#
# A machine with Secure Boot, all from Debian: OVMF with Microsoft's keys, the signed shim and GRUB.
# In its variables a new key of our own is enrolled as a machine owner's, as mokutil and a reboot
# would have done, and a module signed with it.
#
#	secure-boot.sh VERSION KO OUT
#
# Makes OUT/code.fd, OUT/vars.fd, OUT/disk/ to boot from (without kernel, initramfs and grub.cfg),
# OUT/trusted.ko of KO, and OUT/efivarfs.ko, the kernel's own. Needs root (chroot).
set -eu

top=$(cd "$(dirname "$0")/../.." && pwd)
version=$1
ko=$2
out=$3
owner=605dab50-e046-4300-abb6-3dd810dd8b23 # shim's GUID for the list

"$top/tools/debian-root.sh" trixie add ovmf shim-signed grub-efi-amd64-signed python3-virt-firmware >&2
root=$("$top/tools/debian-root.sh" trixie path)
rm -rf "$out"
mkdir -p "$out/disk/EFI/BOOT" "$out/disk/EFI/debian" "$root/tmp"
"$top/tests/nested/sign.sh" sign "$version" "$ko" "$out/trusted.ko" "$out/certificate"

xz -dc "$root/usr/lib/modules/$version/kernel/fs/efivarfs/efivarfs.ko.xz" >"$out/efivarfs.ko"

work=$(mktemp -d "$root/tmp/secure.XXXXXX")
trap 'rm -rf "$work"' EXIT
inside=${work#"$root"}
cp "$out/certificate" "$work/certificate"
{
	chroot "$root" openssl x509 -inform DER -in "$inside/certificate" -out "$inside/pem"
	chroot "$root" virt-fw-vars -i /usr/share/OVMF/OVMF_VARS_4M.ms.fd -o "$inside/vars.fd" \
		--add-mok "$owner" "$inside/pem"
} >"$work/log" 2>&1 || { cat "$work/log" >&2; exit 1; }
cp "$work/vars.fd" "$out/vars.fd"
cp "$root/usr/share/OVMF/OVMF_CODE_4M.ms.fd" "$out/code.fd"
cp "$root/usr/lib/shim/shimx64.efi.signed" "$out/disk/EFI/BOOT/BOOTX64.EFI"
cp "$root/usr/lib/grub/x86_64-efi-signed/grubx64.efi.signed" "$out/disk/EFI/BOOT/grubx64.efi"
