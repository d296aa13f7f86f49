#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
#
# Installs what building and testing exitless needs on Debian 12, and only what is missing.
# Silent when there is nothing to do. Needs root only when something is missing.
set -eu

build="make gcc clang libclang-rt-14-dev clang-format meson ninja-build pkg-config git
	libc6-dev libjansson-dev liburcu-dev libslirp-dev libglib2.0-dev liburing-dev libpcap-dev libseccomp-dev"
tests="libcmocka-dev valgrind python3 iproute2 iputils-ping iperf3 ethtool socat procps perl"
guests="debian-archive-keyring ca-certificates cpio xz-utils zstd kmod binutils util-linux mount e2fsprogs"

say() { echo "deps: $*" >&2; }

missing=
for p in $build $tests $guests; do
	[ "$(dpkg-query -W -f '${db:Status-Status}' "$p" 2>/dev/null)" = installed ] ||
		missing="$missing $p"
done
# Early Debian 12 keyrings do not know the keys that trixie is signed with.
[ -e /usr/share/keyrings/debian-archive-trixie-stable.gpg ] ||
	missing="$missing debian-archive-keyring"
[ -n "$missing" ] || exit 0

if [ "$(id -u)" != 0 ]; then
	say "these packages are missing and only root can install them:"
	say "  apt-get install$missing"
	exit 1
fi
log=$(mktemp)
trap 'rm -f "$log"' EXIT
export DEBIAN_FRONTEND=noninteractive
apt="apt-get -qy -o DPkg::Lock::Timeout=300 -o Acquire::Retries=3 -o APT::Update::Error-Mode=any"
# shellcheck disable=SC2086 # lists of words
for tries in 1 2 3 last; do
	# A network that is away for a moment is not the end, nor is a package that has been replaced
	# since the lists were read.
	say "reading the package lists"
	if $apt update >"$log" 2>&1 || [ $tries = last ]; then
		say "installing$missing"
		! $apt install --no-install-recommends $missing >"$log" 2>&1 || exit 0
	fi
	[ $tries = last ] || sleep $((tries * 10))
done
tail -n 20 "$log" >&2
say "failed: $apt install --no-install-recommends$missing"
exit 1
