#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
#
# Makes the guest of the VM tests and the demo: Debian's kernel as it is, and an initramfs with
# busybox, a few network tools of Debian, and the modules that the tests need. Prints the
# directory, which then holds kernel and initramfs.cpio.
set -eu

top=$(cd "$(dirname "$0")/.." && pwd)
cache=${EXITLESS_CACHE:-$top/build/cache}
out=$cache/guest
init=$top/tests/vm/guest/init

packages="linux-image-amd64 busybox-static dash iproute2 ethtool iperf3 iputils-ping
	netcat-openbsd"
# dash, since busybox prefers its own small ip and ping to the real ones.
programs="/bin/dash /bin/ip /sbin/tc /sbin/bridge /sbin/ethtool /usr/bin/iperf3 /bin/ping
	/bin/nc.openbsd"
modules="e1000 e1000e igb virtio_pci virtio_net virtio_blk virtio_rng 8021q bridge dummy ext4"

# shellcheck disable=SC2086 # a list of words
"$top/tools/debian-root.sh" bookworm add $packages >&2
root=$("$top/tools/debian-root.sh" bookworm path)
exec 9>"$cache/guest.lock"
flock 9

stamp=$(cat "$0" "$init" "$cache/bookworm/requested" | sha256sum | cut -c1-16)
if [ -e "$out/stamp" ] && [ "$(cat "$out/stamp")" = "$stamp" ]; then
	echo "$out"
	exit 0
fi
echo "guest-image: building $out/initramfs.cpio" >&2

kernel=$(cd "$root/boot" && ls -v vmlinuz-* | tail -n 1)
version=${kernel#vmlinuz-}
tree=$out/tree
rm -rf "$out"
mkdir -p "$tree/bin" "$tree/dev" "$tree/etc" "$tree/root" "$tree/usr/bin" "$tree/var"
# QEMU starts the ELF file inside by PVH, which spares an emulated CPU the decompression.
offset=$(LC_ALL=C grep -abom1 -P '\xfd7zXZ\x00' "$root/boot/$kernel" | cut -d: -f1)
if [ -z "$offset" ] || ! tail -c +$((offset + 1)) "$root/boot/$kernel" |
		xz -dc --single-stream >"$out/kernel" 2>/dev/null; then
	cp "$root/boot/$kernel" "$out/kernel"
fi

ln -s bin "$tree/sbin"
ln -s ../bin "$tree/usr/sbin"
ln -s /run "$tree/var/run"
cp "$init" "$tree/init"
cp "$root/bin/busybox" "$tree/bin/busybox"
"$root/bin/busybox" --list | while read -r name; do
	[ -e "$tree/bin/$name" ] || ln -s busybox "$tree/bin/$name"
done
ln -sf dash "$tree/bin/sh"
echo 'root:x:0:0:root:/root:/bin/sh' >"$tree/etc/passwd"
echo 'root:x:0:' >"$tree/etc/group"
echo '127.0.0.1 localhost' >"$tree/etc/hosts"

libs=$root/usr/lib/x86_64-linux-gnu
for p in $programs; do
	rm -f "$tree/bin/${p##*/}"
	cp -L "$root$p" "$tree/bin/"
	# The tree's own loader says which of the tree's libraries the program takes.
	"$root/lib64/ld-linux-x86-64.so.2" --library-path "$libs" --list "$root$p"
done | sed -n "s|.*=> \\($root[^ ]*\\).*|\\1|p" | sort -u | while read -r lib; do
	mkdir -p "$tree/lib/x86_64-linux-gnu"
	cp -L "$lib" "$tree/lib/x86_64-linux-gnu/"
done
mkdir -p "$tree/lib64"
cp -L "$root/lib64/ld-linux-x86-64.so.2" "$tree/lib64/"

depmod -b "$root" "$version"
for m in $modules; do
	modprobe -d "$root" -S "$version" --show-depends "$m"
done | awk '$1 == "insmod" { print $2 }' | sort -u | while read -r ko; do
	to=$tree/lib/modules/$version/${ko#"$root/lib/modules/$version/"}
	mkdir -p "${to%/*}"
	cp "$ko" "$to"
done
cp "$root/lib/modules/$version"/modules.builtin* "$root/lib/modules/$version/modules.order" \
	"$tree/lib/modules/$version/"
depmod -b "$tree" "$version"

# Not compressed: unpacking is what an emulated CPU is slow at.
(cd "$tree" && find . | LC_ALL=C sort | cpio -o -H newc -R 0:0 --quiet) >"$out/initramfs.cpio"
rm -rf "$tree"
echo "$stamp" >"$out/stamp"
echo "$out"
