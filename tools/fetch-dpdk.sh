#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
#
# Finds or fetches DPDK's testpmd, whose virtio-user is a virtio-net driver that is not ours, and
# prints its path. The system's own is used if there is one; otherwise Debian 12's runs from a
# private tree, with the drivers that the tests need.
set -eu

top=$(cd "$(dirname "$0")/.." && pwd)
cache=${EXITLESS_CACHE:-$top/build/cache}
wrapper=$cache/dpdk/dpdk-testpmd

system=$(command -v dpdk-testpmd || true)
if [ -n "$system" ]; then
	echo "$system"
	exit 0
fi
# a tree of its own, so that what is added does not make the guest's image old
tree() { EXITLESS_CACHE=$cache/drivers "$top/tools/debian-root.sh" bookworm "$@"; }

tree add dpdk-dev librte-bus-vdev23 librte-mempool-ring23 librte-net-virtio23 >&2
root=$(tree path)
mkdir -p "$cache/dpdk"
cat >"$wrapper.$$" <<WRAPPER
#!/bin/sh
r='$root'
lib=\$r/usr/lib/x86_64-linux-gnu
set -- "\$r/usr/bin/dpdk-testpmd" -d "\$lib/dpdk/pmds-23.0/librte_bus_vdev.so.23" \\
	-d "\$lib/dpdk/pmds-23.0/librte_mempool_ring.so.23" \\
	-d "\$lib/dpdk/pmds-23.0/librte_net_virtio.so.23" "\$@"
exec "\$r/lib64/ld-linux-x86-64.so.2" --library-path "\$lib" "\$@"
WRAPPER
chmod +x "$wrapper.$$"
mv "$wrapper.$$" "$wrapper"
"$wrapper" -h >/dev/null 2>&1 || {
	echo "fetch-dpdk: the fetched testpmd does not run" >&2
	exit 1
}
echo "$wrapper"
