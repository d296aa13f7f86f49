#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
#
# Fetches qemu-io, qemu-img and qemu-storage-daemon of trixie-backports with their block drivers
# (libblkio's virtio-blk-vhost-user among them) and prints the directory of wrappers that run them
# from the private tree.
set -eu

top=$(cd "$(dirname "$0")/.." && pwd)
cache=${EXITLESS_CACHE:-$top/build/cache}
out=$cache/qemu-tools

"$top/tools/debian-root.sh" trixie add qemu-utils/trixie-backports \
	qemu-block-extra/trixie-backports >&2
root=$("$top/tools/debian-root.sh" trixie path)
mkdir -p "$out"
for name in qemu-io qemu-img qemu-storage-daemon; do
	# QEMU looks for its modules beside its executable, which is ld.so here.
	cat >"$out/$name.$$" <<WRAPPER
#!/bin/sh
r='$root'
QEMU_MODULE_DIR="\$r/usr/lib/x86_64-linux-gnu/qemu" exec "\$r/lib64/ld-linux-x86-64.so.2" \\
	--argv0 $name --library-path "\$r/usr/lib/x86_64-linux-gnu" "\$r/usr/bin/$name" "\$@"
WRAPPER
	chmod +x "$out/$name.$$"
	mv "$out/$name.$$" "$out/$name"
done
"$out/qemu-io" --version >/dev/null || {
	echo "fetch-qemu-tools: the fetched qemu-io does not run" >&2
	exit 1
}
echo "$out"
