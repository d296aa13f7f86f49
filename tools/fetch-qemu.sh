#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
#
# Finds or fetches a QEMU that has vfio-user-pci (10.1 or later) and prints its path.
# The system's own is used if it is new enough; otherwise the one of trixie-backports runs from
# a private tree, with that tree's C library, through a small wrapper.
set -eu

top=$(cd "$(dirname "$0")/.." && pwd)
cache=${EXITLESS_CACHE:-$top/build/cache}
wrapper=$cache/qemu/qemu-system-x86_64

# usable QEMU: does it run here, and know the device?
usable()
{
	"$1" -machine none -device help 2>/dev/null | grep -q '"vfio-user-pci"'
}

if [ -n "${EXITLESS_QEMU:-}" ]; then
	usable "$EXITLESS_QEMU" || {
		echo "fetch-qemu: $EXITLESS_QEMU has no vfio-user-pci" >&2
		exit 1
	}
	echo "$EXITLESS_QEMU"
	exit 0
fi
system=$(command -v qemu-system-x86_64 || true)
if [ -n "$system" ] && usable "$system"; then
	echo "$system"
	exit 0
fi
if ! [ -x "$wrapper" ] || ! usable "$wrapper"; then
	"$top/tools/debian-root.sh" trixie add qemu-system-x86/trixie-backports >&2
	root=$("$top/tools/debian-root.sh" trixie path)
	mkdir -p "$cache/qemu"
	# QEMU looks for its parts beside its executable, which is ld.so here: say where they are.
	cat >"$wrapper.$$" <<WRAPPER
#!/bin/sh
r='$root'
QEMU_MODULE_DIR="\$r/usr/lib/x86_64-linux-gnu/qemu" exec "\$r/lib64/ld-linux-x86-64.so.2" \\
	--argv0 qemu-system-x86_64 --library-path "\$r/usr/lib/x86_64-linux-gnu" \\
	"\$r/usr/bin/qemu-system-x86_64" \\
	-L "\$r/usr/share/qemu" -L "\$r/usr/share/seabios" -L "\$r/usr/lib/ipxe/qemu" "\$@"
WRAPPER
	chmod +x "$wrapper.$$"
	mv "$wrapper.$$" "$wrapper"
	usable "$wrapper" || {
		echo "fetch-qemu: the fetched QEMU does not run or has no vfio-user-pci" >&2
		exit 1
	}
fi
echo "$wrapper"
