#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
# systemd_root.sh FOLDER: systemd as the first process of namespaces of its own, over a copy of this
# machine's files that is gone afterwards. FOLDER/files is laid over them, FOLDER is /mnt in there, and
# test.target is started. Ends when systemd does; 77: that cannot be here. Needs root.
set -eu
folder=$1
root=$folder/root

give_up()
{
	echo "$1" >&2
	exit 77
}

if [ $# = 1 ]; then
	[ -x /lib/systemd/systemd ] || give_up "there is no systemd"
	# In a cgroup of its own, without which systemd would take the machine's for its own.
	top=$(awk '$3 == "cgroup2" { print $2; exit }' /proc/mounts)
	[ -n "$top" ] || give_up "there is no cgroup2"
	# Where this shell is may be a leaf, which can have none below: then beside it.
	cgroup=$top/exitless-test-$$
	mkdir "$cgroup" 2>/dev/null || give_up "no cgroup can be made"
	trap 'for _ in 1 2 3 4 5 6 7 8 9; do
		find "$cgroup" -depth -type d -exec rmdir {} + 2>/dev/null && break; sleep 0.2; done' EXIT
	status=0
	# all of it dies with this shell
	sh -c 'echo $$ >"$1/cgroup.procs" && shift && exec "$@"' - "$cgroup" \
		setpriv --pdeathsig KILL unshare --mount --pid --fork --kill-child --cgroup --net --uts --ipc \
		"$0" "$folder" inside || status=$?
	exit $status
fi

mount --make-rprivate / || give_up "no mount namespace"
mkdir -p "$root" "$folder/over"
mount -t tmpfs tmpfs "$folder/over" || give_up "no tmpfs"
mkdir "$folder/over/upper" "$folder/over/work"
mount -t overlay overlay -o "lowerdir=/,upperdir=$folder/over/upper,workdir=$folder/over/work" \
	"$root" || give_up "no overlay"
mount -t proc proc "$root/proc" && mount --bind "$root/proc/sys" "$root/proc/sys" &&
	mount -o remount,bind,ro "$root/proc/sys" && mount -t sysfs -o ro sysfs "$root/sys" &&
	mount -t cgroup2 cgroup2 "$root/sys/fs/cgroup" || give_up "no file systems of the kernel's"
for name in run tmp dev; do
	mount -t tmpfs tmpfs "$root/$name"
done
for name in null zero full random urandom; do
	: >"$root/dev/$name"
	mount --bind "/dev/$name" "$root/dev/$name"
done
mount --bind "$folder" "$root/mnt"
rm -rf "$root/etc/systemd/system"
cp -R "$folder/files/." "$root/"
exec chroot "$root" /usr/bin/env -i container=test PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin \
	SYSTEMD_PROC_CMDLINE=systemd.unified_cgroup_hierarchy=1 \
	/lib/systemd/systemd --system --unit=test.target --log-target=null --show-status=no
