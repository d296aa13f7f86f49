#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
#
# Builds Debian's source of Linux 6.12 with lockdep, KASAN and DEBUG_ATOMIC_SLEEP, with what L1 needs
# and little else, inside the private tree. Takes some twenty minutes and 6 GB the first time. Prints
# where it is in there: the directory holds vmlinuz and usr/lib/modules/VERSION, whose "build" is for
# modules of ours. Needs root (chroot).
set -eu

top=$(cd "$(dirname "$0")/../.." && pwd)
root=$("$top/tools/debian-root.sh" trixie path)
dir=/usr/src/exitless-debug

say() { echo "nested: $*" >&2; }

"$top/tools/debian-root.sh" trixie add linux-source-6.12 gcc make dash coreutils sed grep gawk findutils \
	kmod bash bison flex bc pahole libelf-dev tar gzip xz-utils diffutils perl-base cpio python3-minimal >&2
[ -e "$root/usr/bin/awk" ] || ln -s gawk "$root/usr/bin/awk"
mkdir -p "$root/tmp" "$root/proc" "$root/dev" "$root$dir"
[ -e "$root/dev/null" ] || mknod -m 666 "$root/dev/null" c 1 3
exec 9>"$root$dir/lock"
flock 9

stamp=$(cat "$0" "$root/usr/src/linux-source-6.12.tar.xz" | sha256sum | cut -c1-16)
if [ "$(cat "$root$dir/stamp" 2>/dev/null)" != "$stamp" ]; then
	say "building a kernel that checks itself (twenty minutes)"
	rm -rf "$root$dir/usr" "$root$dir/linux" "$root$dir/stamp"
	mkdir "$root$dir/linux"
	tar -C "$root$dir/linux" --strip-components=1 -xJf "$root/usr/src/linux-source-6.12.tar.xz"
	cat >"$root$dir/wanted" <<-'EOF'
	CONFIG_LOCALVERSION="-exitless-debug"
	# CONFIG_LOCALVERSION_AUTO is not set
	CONFIG_64BIT=y
	CONFIG_SMP=y
	CONFIG_NR_CPUS=8
	CONFIG_PRINTK=y
	CONFIG_TTY=y
	CONFIG_SERIAL_8250=y
	CONFIG_SERIAL_8250_CONSOLE=y
	CONFIG_BLK_DEV_INITRD=y
	CONFIG_BINFMT_ELF=y
	CONFIG_BINFMT_SCRIPT=y
	CONFIG_DEVTMPFS=y
	CONFIG_PROC_FS=y
	CONFIG_SYSFS=y
	CONFIG_TMPFS=y
	CONFIG_DEBUG_FS=y
	CONFIG_CGROUPS=y
	CONFIG_CPUSETS=y
	CONFIG_MULTIUSER=y
	CONFIG_SHMEM=y
	CONFIG_FUTEX=y
	CONFIG_EPOLL=y
	CONFIG_EVENTFD=y
	CONFIG_SIGNALFD=y
	CONFIG_TIMERFD=y
	CONFIG_AIO=y
	CONFIG_IO_URING=y
	CONFIG_ADVISE_SYSCALLS=y
	CONFIG_NUMA=y
	CONFIG_NUMA_EMU=y
	CONFIG_COMPACTION=y
	CONFIG_MIGRATION=y
	CONFIG_MEMBARRIER=y
	CONFIG_RSEQ=y
	CONFIG_POSIX_TIMERS=y
	CONFIG_FILE_LOCKING=y
	CONFIG_INOTIFY_USER=y
	CONFIG_NET=y
	CONFIG_INET=y
	CONFIG_PACKET=y
	CONFIG_UNIX=y
	CONFIG_NETDEVICES=y
	CONFIG_ETHERNET=y
	CONFIG_NET_VENDOR_INTEL=y
	CONFIG_E1000E=m
	CONFIG_IGB=m
	CONFIG_PCI=y
	CONFIG_PCI_MMCONFIG=y
	CONFIG_PCI_MSI=y
	CONFIG_PCI_IOV=y
	CONFIG_PCIEPORTBUS=y
	CONFIG_ACPI=y
	CONFIG_HPET_TIMER=y
	CONFIG_HIGH_RES_TIMERS=y
	CONFIG_NO_HZ_FULL=y
	CONFIG_CPU_ISOLATION=y
	CONFIG_X86_X2APIC=y
	CONFIG_PARAVIRT=y
	CONFIG_HYPERVISOR_GUEST=y
	CONFIG_IOMMU_SUPPORT=y
	CONFIG_INTEL_IOMMU=y
	CONFIG_INTEL_IOMMU_DEFAULT_ON=y
	CONFIG_AMD_IOMMU=y
	CONFIG_IRQ_REMAP=y
	CONFIG_VIRTUALIZATION=y
	CONFIG_KVM=m
	CONFIG_KVM_AMD=m
	CONFIG_VFIO=m
	CONFIG_VFIO_GROUP=y
	CONFIG_VFIO_CONTAINER=y
	CONFIG_VFIO_IOMMU_TYPE1=m
	CONFIG_VFIO_PCI=m
	CONFIG_MODULES=y
	CONFIG_MODULE_UNLOAD=y
	CONFIG_MODVERSIONS=y
	CONFIG_KALLSYMS=y
	CONFIG_KALLSYMS_ALL=y
	CONFIG_TRACING=y
	CONFIG_FTRACE=y
	CONFIG_ENABLE_DEFAULT_TRACERS=y
	CONFIG_KPROBES=y
	CONFIG_HIST_TRIGGERS=y
	CONFIG_DEBUG_KERNEL=y
	CONFIG_DEBUG_INFO_DWARF_TOOLCHAIN_DEFAULT=y
	CONFIG_BPF_SYSCALL=y
	CONFIG_DEBUG_INFO_BTF=y
	CONFIG_DEBUG_INFO_BTF_MODULES=y
	CONFIG_SUSPEND=y
	CONFIG_PM_DEBUG=y
	CONFIG_PM_SLEEP_DEBUG=y
	CONFIG_HOTPLUG_CPU=y
	CONFIG_PROVE_LOCKING=y
	CONFIG_PROVE_RCU=y
	CONFIG_DEBUG_ATOMIC_SLEEP=y
	CONFIG_DEBUG_OBJECTS=y
	CONFIG_DEBUG_OBJECTS_WORK=y
	CONFIG_DEBUG_OBJECTS_TIMERS=y
	CONFIG_DEBUG_OBJECTS_RCU_HEAD=y
	CONFIG_DEBUG_LIST=y
	CONFIG_SOFTLOCKUP_DETECTOR=y
	CONFIG_DETECT_HUNG_TASK=y
	CONFIG_KASAN=y
	CONFIG_KASAN_GENERIC=y
	CONFIG_KASAN_OUTLINE=y
	CONFIG_KASAN_VMALLOC=y
	EOF
	# The mount of proc, which objtool reads, goes with the shell that made it.
	# shellcheck disable=SC2016 # expanded inside
	unshare -m sh -ec 'mount -t proc proc "$1/proc"; exec chroot "$1" sh -ec "$2"' sh "$root" "
		cd $dir/linux
		KCONFIG_ALLCONFIG=../wanted make -s allnoconfig
		while read -r line; do
			case \$line in CONFIG_*) ;; *) continue ;; esac
			grep -qxF \"\$line\" .config || echo \"nested: not so: \$line\"
		done <../wanted
		make -s -j2 bzImage modules
		make -s INSTALL_MOD_PATH=$dir/usr modules_install
		cp arch/x86/boot/bzImage ../vmlinuz" >&2
	echo "$stamp" >"$root$dir/stamp"
fi
echo "$dir"
