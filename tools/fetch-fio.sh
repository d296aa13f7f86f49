#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
#
# Finds or fetches a fio that speaks NBD and prints its path: the system's own, or Debian 12's in a
# wrapper that runs it from the private tree. (No fio of Debian's has the libblkio engine.)
set -eu

top=$(cd "$(dirname "$0")/.." && pwd)
cache=${EXITLESS_CACHE:-$top/build/cache}
wrapper=$cache/fio/fio

usable() { "$1" --enghelp 2>/dev/null | grep -qw nbd; }

system=$(command -v fio || true)
if [ -n "$system" ] && usable "$system"; then
	echo "$system"
	exit 0
fi
"$top/tools/debian-root.sh" bookworm add fio >&2
root=$("$top/tools/debian-root.sh" bookworm path)
mkdir -p "$cache/fio"
cat >"$wrapper.$$" <<WRAPPER
#!/bin/sh
r='$root'
lib=\$r/usr/lib/x86_64-linux-gnu
exec "\$r/lib64/ld-linux-x86-64.so.2" --library-path "\$lib:\$lib/ceph" "\$r/usr/bin/fio" "\$@"
WRAPPER
chmod +x "$wrapper.$$"
mv "$wrapper.$$" "$wrapper"
usable "$wrapper" || {
	echo "fetch-fio: the fetched fio does not run or has no NBD" >&2
	exit 1
}
echo "$wrapper"
