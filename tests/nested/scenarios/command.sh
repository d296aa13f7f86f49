# SPDX-License-Identifier: BSD-2-Clause
# The exitless command prepares L1 for a guest and takes it all back: bind, cpu, direct, doctor.
# CPU 1 was isolated at boot, CPU 2 was not.
masks()
{
	for f in /proc/irq/*/smp_affinity_list /proc/irq/default_smp_affinity \
		/sys/devices/virtual/workqueue/cpumask /sys/devices/virtual/workqueue/*/cpumask \
		/proc/sys/kernel/watchdog_cpumask; do
		echo "$f $(cat "$f" 2>/dev/null)"
	done
	for t in /proc/$QEMU/task/* /proc/2/task/2; do
		[ ! -e "$t" ] || echo "$t $(sed -n 's/^Cpus_allowed_list:[ \t]*//p' "$t/status")"
	done
}
# the vCPU's thread, the device's interrupts
vcpu_on()
{
	for t in /proc/$QEMU/task/*; do
		case $(cat "$t/comm") in
		CPU\ *) sed -n 's/^Cpus_allowed_list:[ \t]*//p' "$t/status" ;;
		esac
	done | grep -qx "$1"
}
irqs_on()
{
	for i in $(grep vfio /proc/interrupts | cut -d: -f1); do
		[ "$(cat "/proc/irq/$i/smp_affinity_list")" = "$1" ] || return 1
	done
}
same_masks()
{
	masks >/tmp/masks.now
	diff /tmp/masks /tmp/masks.now
}
# The figure in column $1 after the name of a row of `exitless direct`.
sums() { sed -n 's/^0 *interrupts and timer *//p' /tmp/direct | awk "{ print int(\$$1) }"; }

mount -t cgroup2 c /sys/fs/cgroup
nic_find
check "the NIC has its driver" [ -e "/sys/bus/pci/devices/$DEVICE/net" ]
check "bind" exitless bind "$DEVICE"
exitless bind | sed 's/^/NOTE: /'
check "vfio-pci has the NIC" sh -c "exitless bind | grep -q '^$DEVICE.*vfio-pci.*e1000e'"
exitless doctor | sed 's/^/NOTE: /'
check "doctor: direct mode would help here" sh -c "exitless doctor | grep -q 'this host? Yes'"
insmod /exitless_kvm.ko || fail "the module does not load"
NO_PIN=1
l2_start -device "vfio-pci,host=$DEVICE" -qmp unix:/tmp/qmp,server=on,wait=off && {
	check "L2's network answers" l2_net
	check "bind --undo is refused while L2 has the NIC" sh -c \
		"exitless bind --undo $DEVICE 2>&1 | grep -q ' is held by process $QEMU '"
	masks >/tmp/masks

	echo "0 2" >/tmp/map
	exitless cpu plan l2 --map /tmp/map | head -n 12 | sed 's/^/NOTE: /'
	check "apply a map, vCPU threads by QMP" exitless cpu apply l2 --map /tmp/map --qmp /tmp/qmp
	check "an isolated partition" \
		[ "$(cat "/sys/fs/cgroup/exitless-$QEMU/cpuset.cpus.partition")" = isolated ]
	check "the vCPU is on CPU 2" vcpu_on 2
	check "so are the device's interrupts" irqs_on 2
	exitless cpu show | sed 's/^/NOTE: /'
	check "undo, by the path of the QMP socket" exitless cpu undo /tmp/qmp
	check "all masks are as before" same_masks
	check "no group is left" [ ! -e "/sys/fs/cgroup/exitless-$QEMU" ]

	check "apply by the topology" exitless cpu apply l2
	check "the vCPU is on the CPU that was isolated at boot" vcpu_on 1
	check "so are its interrupts" irqs_on 1
	pings_begin
	l2_async "ping -q -c 500 -i 0.02 10.0.2.2 >/dev/null"
	sleep 1
	check "direct on" sh -c "exitless direct on l2 --timer --seconds 3 >/tmp/direct"
	sed 's/^/NOTE: /' /tmp/direct
	check "exits for interrupts and timer were counted" [ "$(sums 1)" -gt 100 ]
	check "at most a tenth of them is left" [ $(($(sums 2) * 10)) -le "$(sums 1)" ]
	check "direct status" sh -c "exitless direct status l2 --seconds 1 | grep -q '^ *0 *1 *on'"
	check "the pings come to their end" l2_wait 120
	pings_end "on, while it pings" 500
	check "direct off" exitless direct off l2 --seconds 0
	check "it is off" sh -c "exitless direct status l2 --seconds 0 | grep -q '^ *0 *- *off'"
	l2_stop
	i=0
	while [ -e "/run/exitless-host/cpu/$QEMU" ] && [ $i -lt 50 ]; do
		i=$((i + 1))
		sleep 0.2
	done
	check "undone when the guest ends" [ ! -e "/run/exitless-host/cpu/$QEMU" ]
	grep -v -e "/proc/$QEMU/" -e vfio /tmp/masks >/tmp/masks.host
	mv /tmp/masks.host /tmp/masks
	masks >/tmp/masks.now
	check "the host's masks are as before" sh -c \
		"grep -vxF -f /tmp/masks.now /tmp/masks | while read -r f rest; do [ ! -e \$f ] || echo \$f \$rest; done | { ! grep .; }"
}
check "bind back" exitless bind --undo "$DEVICE"
check "e1000e has the NIC again" sh -c "exitless bind | grep -q '^$DEVICE.* e1000e '"
check "the module unloads" rmmod exitless_kvm
