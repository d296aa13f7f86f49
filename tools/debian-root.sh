#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
#
# A private tree of Debian packages, for programs newer than the host's and for guests.
# Nothing is installed on the host: packages and what they depend on are fetched from the
# host's own mirror with apt (signatures checked) and unpacked below build/cache/SUITE/root.
#
#	debian-root.sh SUITE add PKG[/SUITE]...    with everything they depend on
#	debian-root.sh SUITE path                  where the tree is
#
# SUITE is bookworm or trixie; trixie includes trixie-backports, which is used for the
# packages that are asked for as PKG/trixie-backports and what these need.
# What was added before is not fetched again. EXITLESS_CACHE moves build/cache.
set -eu

top=$(cd "$(dirname "$0")/.." && pwd)
cache=${EXITLESS_CACHE:-$top/build/cache}
suite=${1:?which suite}
verb=${2:?add or path}
shift 2
base=$cache/$suite
root=$base/root
keyring=/usr/share/keyrings/debian-archive-keyring.gpg

say() { echo "debian-root: $*" >&2; }
die() { say "$*"; exit 1; }

case $verb in
path)
	echo "$root"
	exit 0
	;;
add) ;;
*) die "no such verb: $verb" ;;
esac

mkdir -p "$base/apt/state/lists/partial" "$base/apt/cache/archives/partial" "$base/unpacked" "$root"
exec 9>"$base/lock"
flock 9
touch "$base/requested" "$base/apt/status" "$base/apt/preferences"

wanted=
for p in "$@"; do
	grep -qxF "$p" "$base/requested" || wanted="$wanted $p"
done
[ -n "$wanted" ] || exit 0

# mirror RELEASE: where the host's apt gets RELEASE, or any Debian 12 suite like it, from
mirror()
{
	apt-get indextargets --format '$(RELEASE) $(REPO_URI)' 'Created-By: Packages' |
		awk -v r="$1" '$1 == r { print $2; exit }'
}

sources()
{
	main=$(mirror bookworm)
	[ -n "$main" ] || main=$(mirror stable)
	[ -n "$main" ] || die "no Debian mirror for bookworm in this machine's apt sources"
	security=$(mirror bookworm-security)
	echo "deb [signed-by=$keyring] $main $suite main"
	echo "deb [signed-by=$keyring] $main $suite-updates main"
	[ -z "$security" ] || echo "deb [signed-by=$keyring] $security $suite-security main"
	[ "$suite" != trixie ] || echo "deb [signed-by=$keyring] $main $suite-backports main"
}

cat >"$base/apt/apt.conf" <<CONF
Dir::State "$base/apt/state";
Dir::State::status "$base/apt/status";
Dir::Cache "$base/apt/cache";
Dir::Cache::archives "archives";
Dir::Cache::pkgcache "pkgcache.bin";
Dir::Cache::srcpkgcache "srcpkgcache.bin";
Dir::Etc::sourcelist "$base/apt/sources.list";
Dir::Etc::sourceparts "/dev/null";
Dir::Etc::preferences "$base/apt/preferences";
Dir::Etc::preferencesparts "/dev/null";
APT::Architecture "amd64";
APT::Architectures { "amd64"; };
APT::Install-Recommends "false";
APT::Sandbox::User "root";
APT::Keep-Downloaded-Packages "true";
Acquire::Languages "none";
Acquire::Retries "3";
APT::Update::Error-Mode "any";
CONF

log=$base/apt/log
apt() { apt-get -c "$base/apt/apt.conf" -qq "$@" >"$log" 2>&1 || { tail -n 20 "$log" >&2; return 1; }; }

# A network that is away for a moment is not the end of a run of an hour.
lists_read()
{
	say "reading the package lists of $suite"
	rm -f "$base/apt/updated"
	tries=0
	until apt update; do
		tries=$((tries + 1))
		[ $tries -lt 4 ] || die "no package lists for $suite"
		sleep $((tries * 10))
	done
	touch "$base/apt/updated"
}

sources >"$base/apt/sources.list"
# Old lists name packages that the mirror has replaced.
[ -n "$(find "$base/apt/updated" -mmin -360 2>/dev/null)" ] || lists_read

say "fetching$wanted"
# The target release makes apt take dependencies from backports where it must; of packages that
# need each other it must be the same for all, so what is there already counts too.
target=
case $* in
*/trixie-backports*) target="-t trixie-backports" ;;
esac
# shellcheck disable=SC2086 # lists of words
fetch() { apt -y $target --download-only install $wanted; }
# It may have been replaced since the lists were read.
fetch || { lists_read; fetch; } || die "could not fetch$wanted"

# Both suites have a merged /usr, which the packages take for granted.
for d in bin sbin lib lib64; do
	mkdir -p "$root/usr/$d"
	[ -L "$root/$d" ] || ln -s "usr/$d" "$root/$d"
done
n=0
for deb in "$base"/apt/cache/archives/*.deb; do
	name=$(basename "$deb" .deb)
	[ ! -e "$base/unpacked/$name" ] || continue
	# Of two versions of a package one may have a directory there and the other a link.
	dpkg-deb --fsys-tarfile "$deb" |
		tar -x --no-same-owner --keep-directory-symlink --exclude=./usr/share/bug \
			--exclude=./usr/share/doc -C "$root" ||
		die "could not unpack $name"
	touch "$base/unpacked/$name"
	n=$((n + 1))
done
# The lists of what was fetched stay; the packages themselves are not needed again.
rm -f "$base"/apt/cache/archives/*.deb
for p in $wanted; do
	echo "$p" >>"$base/requested"
done
say "unpacked $n packages into $root"
