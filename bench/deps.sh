#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
#
# Installs the peers that bench/ measures exitless against, what the report is drawn with and what
# bench/profile runs, on Debian 12: only what is missing. Silent when there is nothing to do. The
# packages' services are not started: bench/ runs its own.
set -eu

missing=
for p in dpdk openvswitch-switch-dpdk librsvg2-bin python3 procps valgrind linux-perf; do
	[ "$(dpkg-query -W -f '${db:Status-Status}' "$p" 2>/dev/null)" = installed ] ||
		missing="$missing $p"
done
[ -n "$missing" ] || exit 0
if [ "$(id -u)" != 0 ]; then
	echo "bench: these packages are missing and only root can install them:$missing" >&2
	exit 1
fi
policy=
if [ ! -e /usr/sbin/policy-rc.d ]; then
	policy=/usr/sbin/policy-rc.d
	trap 'rm -f "$policy"' EXIT
	trap 'exit 129' HUP
	trap 'exit 130' INT
	trap 'exit 143' TERM
	printf '#!/bin/sh\nexit 101\n' >"$policy"
	chmod 755 "$policy"
fi
export DEBIAN_FRONTEND=noninteractive
echo "bench: installing$missing" >&2
apt-get -q -o DPkg::Lock::Timeout=300 update >/dev/null
# shellcheck disable=SC2086 # a list of words
apt-get -qqy -o DPkg::Lock::Timeout=300 install --no-install-recommends $missing >/dev/null
