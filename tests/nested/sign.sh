#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
#
# Signatures of modules, by the kernel's own scripts/sign-file and openssl from the private tree.
#
#	sign.sh sign VERSION IN OUT [CERTIFICATE]
#					signs IN with a new key that nobody trusts (yet)
#	sign.sh verify CERTIFICATE KO	is KO signed by that one's key? (DER)
#
# sign needs root (chroot).
set -eu

top=$(cd "$(dirname "$0")/../.." && pwd)
"$top/tools/debian-root.sh" trixie add openssl >&2
root=$("$top/tools/debian-root.sh" trixie path)
mkdir -p "$root/tmp" "$root/dev"
[ -e "$root/dev/null" ] || mknod -m 666 "$root/dev/null" c 1 3
[ -e "$root/dev/urandom" ] || mknod -m 666 "$root/dev/urandom" c 1 9
work=$(mktemp -d "$root/tmp/sign.XXXXXX")
trap 'rm -rf "$work"' EXIT
inside=${work#"$root"}

# key: a new one, as DKMS makes its own
key()
{
	chroot "$root" openssl req -new -x509 -nodes -days 36500 -subj "/CN=nobody trusts this" \
		-newkey rsa:2048 -keyout "$inside/key" -outform DER -out "$inside/certificate" \
		>"$work/log" 2>&1 || { cat "$work/log" >&2; exit 1; }
}

# What sign-file appends: the signature, a struct module_signature whose last word is the
# signature's length, big-endian, and a line of 28 bytes (scripts/sign-file.c).
verify()
{
	case $2 in
	*.xz) xz -dc "$2" >"$work/ko" ;;
	*) cp "$2" "$work/ko" ;;
	esac
	[ "$(tail -c 28 "$work/ko")" = "~Module signature appended~" ] || {
		echo "$2 is not signed"
		return 1
	}
	# shellcheck disable=SC2046 # four numbers
	set -- "$1" $(tail -c 32 "$work/ko" | head -c 4 | od -An -tu1)
	n=$(($2 << 24 | $3 << 16 | $4 << 8 | $5))
	size=$(stat -c %s "$work/ko")
	head -c $((size - 28 - 12 - n)) "$work/ko" >"$work/module"
	tail -c $((28 + 12 + n)) "$work/ko" | head -c $n >"$work/signature"
	cp "$1" "$work/certificate"
	chroot "$root" openssl x509 -inform DER -in "$inside/certificate" -out "$inside/pem"
	chroot "$root" openssl cms -verify -binary -inform DER -in "$inside/signature" \
		-content "$inside/module" -certfile "$inside/pem" -nointern -noverify \
		-out /dev/null 2>"$work/log" || { cat "$work/log"; return 1; }
}

what=${1:?sign or verify}
shift
case $what in
sign)
	key
	cp "$2" "$work/module.ko"
	chroot "$root" "/usr/lib/modules/$1/build/scripts/sign-file" sha256 "$inside/key" \
		"$inside/certificate" "$inside/module.ko"
	cp "$work/module.ko" "$3"
	cp "$work/certificate" "$work/mine"
	[ -z "${4:-}" ] || cp "$work/mine" "$4"
	verify "$work/mine" "$3"
	;;
verify)
	verify "$1" "$2"
	# And no other key's.
	key
	cp "$work/certificate" "$work/other"
	! verify "$work/other" "$2" >/dev/null
	;;
*) echo "what is $what?" >&2; exit 2 ;;
esac
