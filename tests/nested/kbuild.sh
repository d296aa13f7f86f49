#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
#
# Builds the modules below kernel/ against Debian's headers, inside the private tree.
#
#	kbuild.sh VERSION OUT [MAKE-ARGUMENT]...
#
# VERSION is a kernel version of the trixie tree, or that of debug-kernel.sh; the .ko files go to OUT.
# Needs root (chroot).
set -eu

top=$(cd "$(dirname "$0")/../.." && pwd)
version=${1:?kernel version}
out=${2:?where to}
shift 2
root=$("$top/tools/debian-root.sh" trixie path)

build=/usr/lib/modules/$version/build
debug=/usr/src/exitless-debug/linux
[ -e "$root/usr/lib/modules/$version" ] || build=$debug
[ -e "$root/usr/bin/awk" ] || ln -s gawk "$root/usr/bin/awk"
mkdir -p "$root/tmp" "$root/proc" "$root/dev" "$out"
[ -e "$root/dev/null" ] || mknod -m 666 "$root/dev/null" c 1 3
work=$(mktemp -d "$root/tmp/kbuild.XXXXXX")
trap 'rm -rf "$work"' EXIT
cp -r "$top/kernel/." "$work/"
inside=${work#"$root"}
for part in host guest; do
	[ -e "$work/$part/Kbuild" ] || continue
	# The guest module is for kernels with all that Debian's have.
	[ "$part" = host ] || [ "$build" != "$debug" ] || continue
	# objtool reads /proc; the mount goes with the shell that made it.
	# shellcheck disable=SC2016 # expanded inside
	unshare -m sh -ec 'mount -t proc proc "$1/proc"; root=$1; shift; exec chroot "$root" "$@"' \
		sh "$root" make -s -j2 -C "$build" \
		M="$inside/$part" "$@" modules
	cp "$work/$part"/*.ko "$out/"
done
