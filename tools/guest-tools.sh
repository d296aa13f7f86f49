#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
#
# Makes a file system image with tools for guests that the initramfs has no room for: fio, mke2fs,
# e2fsck, blkdiscard of Debian 12, with their libraries. Prints its path. A guest that gets it as a
# disk mounts it read-only and runs bin/NAME in it.
set -eu

top=$(cd "$(dirname "$0")/.." && pwd)
cache=${EXITLESS_CACHE:-$top/build/cache}
out=$cache/guest-tools
image=$out/tools.ext4

"$top/tools/debian-root.sh" bookworm add fio e2fsprogs util-linux >&2
root=$("$top/tools/debian-root.sh" bookworm path)
exec 9>"$cache/guest-tools.lock"
flock 9

stamp=$(sha256sum "$0" | cut -c1-16)
if [ -e "$out/stamp" ] && [ "$(cat "$out/stamp")" = "$stamp" ]; then
	echo "$image"
	exit 0
fi
echo "guest-tools: building $image" >&2
tree=$out/tree
rm -rf "$out"
mkdir -p "$tree/bin" "$tree/lib"
libs=$root/usr/lib/x86_64-linux-gnu
loader=$root/lib64/ld-linux-x86-64.so.2
cp -L "$loader" "$tree/lib/ld.so"
for p in /usr/bin/fio /usr/sbin/mke2fs /usr/sbin/e2fsck /usr/sbin/blkdiscard; do
	name=${p##*/}
	cp -L "$root$p" "$tree/lib/$name"
	# by this tree's loader and libraries, wherever the tree is mounted
	cat >"$tree/bin/$name" <<'WRAPPER'
#!/bin/sh
d=${0%/bin/*}/lib
exec "$d/ld.so" --library-path "$d" "$d/${0##*/}" "$@"
WRAPPER
	chmod +x "$tree/bin/$name"
	"$loader" --library-path "$libs:$libs/ceph" --list "$root$p"
done | sed -n "s|.*=> \\($root[^ ]*\\).*|\\1|p" | sort -u | while read -r lib; do
	cp -L "$lib" "$tree/lib/"
done
PATH=$PATH:/usr/sbin:/sbin
mke2fs -q -t ext4 -O ^has_journal -d "$tree" "$image" "$(($(du -sm "$tree" | cut -f1) * 11 / 10 + 16))M" >&2
rm -rf "$tree"
echo "$stamp" >"$out/stamp"
echo "$image"
