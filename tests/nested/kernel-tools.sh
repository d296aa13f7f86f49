#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
#
# The kernel's own tools on the modules below kernel/:
#
#	kernel-tools.sh checkpatch		scripts/checkpatch.pl of Linux 6.12
#	kernel-tools.sh sparse VERSION		sparse, against Debian's headers of that kernel
#	kernel-tools.sh dkms VERSION		dkms build of all modules, signed by the key that dkms
#						makes, and a remove that leaves none
#
# Everything comes from Debian's packages in the private tree. Complaints are printed, the exit
# status is 1 then. sparse and dkms need root (chroot).
set -eu

top=$(cd "$(dirname "$0")/../.." && pwd)
what=${1:?checkpatch, sparse or dkms}

# Each is of a kind that checkpatch knows and that this tree's form (docs, .clang-format) decides
# otherwise, or that is right in a header that compiles in user space too.
#	BLOCK_COMMENT_STYLE				the end of a comment of several lines
#	LINUX_VERSION_CODE, CONSTANT_COMPARISON		one source for several kernels
#	AVOID_EXTERNS					tracepoints are exported, but in no header
#	MSLEEP						some milliseconds more do no harm
ignore=FILE_PATH_CHANGES,SPDX_LICENSE_TAG,PREFER_KERNEL_TYPES,BLOCK_COMMENT_STYLE
ignore=$ignore,LINUX_VERSION_CODE,CONSTANT_COMPARISON,AVOID_EXTERNS,MSLEEP

checkpatch()
{
	"$top/tools/debian-root.sh" trixie add linux-source-6.12 >&2
	root=$("$top/tools/debian-root.sh" trixie path)
	tar=$root/usr/src/linux-source-6.12.tar.xz
	dir=$(dirname "$root")/checkpatch
	if [ ! -e "$dir/done" ] || [ "$tar" -nt "$dir/done" ]; then
		mkdir -p "$dir"
		tar -xf "$tar" -C "$dir" --strip-components=2 \
			linux-source-6.12/scripts/checkpatch.pl \
			linux-source-6.12/scripts/const_structs.checkpatch \
			linux-source-6.12/scripts/spelling.txt
		touch "$dir/done"
	fi
	cd "$top"
	# shellcheck disable=SC2046 # a list of names
	perl "$dir/checkpatch.pl" --no-tree --terse --no-summary --max-line-length=100 \
		--ignore "$ignore" -f $(git ls-files -co --exclude-standard 'kernel/*.[ch]' 2>/dev/null ||
			find kernel -name '*.[ch]')
}

sparse()
{
	"$top/tools/debian-root.sh" trixie add sparse >&2
	root=$("$top/tools/debian-root.sh" trixie path)
	out=$(mktemp -d "$root/tmp/sparse.XXXXXX")
	trap 'rm -rf "$out"' EXIT
	# Says what it checks: a kernel may find its checker missing and go on without.
	cat >"$out/check" <<-'CHECK'
		#!/bin/sh
		echo "sparse checks a file" >&2
		exec sparse "$@"
	CHECK
	chmod +x "$out/check"
	"$top/tests/nested/kbuild.sh" "$1" "$out" -k C=2 CHECK="${out#"$root"}/check" \
		>"$out/log" 2>&1 || {
		cat "$out/log"
		exit 1
	}
	n=$(find "$top/kernel" -name '*.c' | wc -l)
	if [ "$(grep -c '^sparse checks' "$out/log")" -lt "$n" ]; then
		cat "$out/log"
		echo "sparse has not seen all $n files"
		exit 1
	fi
	! grep -E '(warning|error):' "$out/log" | sed 's|^/tmp/kbuild[^/]*|kernel|' | grep .
}

dkms_in()
{
	chroot "$root" /usr/sbin/dkms "$@"
}

dkms()
{
	"$top/tools/debian-root.sh" trixie add dkms patch openssl >&2
	root=$("$top/tools/debian-root.sh" trixie path)
	version=$1
	grep -qF "version: '$(sed -n 's/^PACKAGE_VERSION="\(.*\)"/\1/p' "$top/kernel/dkms.conf")'" \
		"$top/meson.build" || {
		echo "kernel/dkms.conf and meson.build have different versions"
		exit 1
	}
	name=exitless/$(sed -n 's/^PACKAGE_VERSION="\(.*\)"/\1/p' "$top/kernel/dkms.conf")
	work=$(mktemp -d "$root/tmp/dkms.XXXXXX")
	inside=${work#"$root"}
	trap 'rm -rf "$work"' EXIT
	mkdir -p "$work/src/exitless-${name#*/}" "$work/tree" "$work/modules" "$work/keys" \
		"$root/var/lib/dkms"
	cp -r "$top/kernel/." "$work/src/exitless-${name#*/}/"
	[ -e "$root/usr/bin/awk" ] || ln -s gawk "$root/usr/bin/awk"
	set -- "$name" -k "$version" --sourcetree "$inside/src" --dkmstree "$inside/tree"
	# The key is this run's.
	# shellcheck disable=SC2016 # expanded inside
	if unshare -m sh -ec 'mount -t proc proc "$1/proc"; mount --bind "$2" "$1/var/lib/dkms"
		root=$1; shift 2; exec chroot "$root" "$@"' \
		sh "$root" "$work/keys" /usr/sbin/dkms build "$@" >"$work/log" 2>&1 &&
		[ "$(find "$work/tree" -path '*/module/*' -name 'exitless_*.ko*' | wc -l)" = 2 ]; then
		find "$work/tree" -path '*/module/*' -name 'exitless_*.ko*' >"$work/built"
		while read -r ko; do
			"$top/tests/nested/sign.sh" verify "$work/keys/mok.pub" "$ko" || {
				cat "$work/log"
				echo "$(basename "$ko") is not signed by the key of dkms"
				exit 1
			}
		done <"$work/built"
		dkms_in remove "$name" --all --sourcetree "$inside/src" --dkmstree "$inside/tree" \
			>>"$work/log" 2>&1
		! find "$work/tree" -name 'exitless_*.ko*' | grep .
	else
		cat "$work/log"
		find "$work/tree" -name make.log -exec cat {} +
		exit 1
	fi
}

shift
case $what in
checkpatch | sparse | dkms) "$what" "$@" ;;
*) echo "what is $what?" >&2; exit 2 ;;
esac
