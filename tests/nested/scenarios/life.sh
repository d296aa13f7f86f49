# SPDX-License-Identifier: BSD-2-Clause
# What happens to a guest that has its device's interrupts and its timer: its thread moves, its CPU goes
# offline, the machine sleeps, the module is unloaded from under it, its VMM is killed. It goes on.
alive()
{
	# Ten wake-ups by the timer, ten interrupts of the device.
	check "$1: it wakes up and pings" \
		pinged 10 "for i in 1 2 3 4 5 6 7 8 9 10; do sleep 0.02; done; ping -q -c 10 -i 0.02 10.0.2.2"
}
direct_again()
{
	irqs_to_cpu
	direct_on
	BEFORE=$(ctl entries_direct)
	alive "$1, on again"
	check "$1, on again: entries are direct" [ "$(ctl entries_direct)" -gt "$BEFORE" ]
	check "$1, on again: the timer is the guest's" patiently is timer 1
}
nobody() { [ -z "$(sed -n '/^vcpu/p' $CTL)" ]; }
# to CPU...: the vCPU's thread goes there
to()
{
	THREAD=$(grep -l 'CPU 0/KVM' /proc/$QEMU/task/*/comm | cut -d/ -f5)
	taskset -cp "$1" "$THREAD" >/dev/null || fail "the thread does not move"
}
nic_setup
insmod /exitless_kvm.ko || fail "the module does not load"
l2_start -device "vfio-pci,host=$DEVICE" && {
	check "L2's network answers" l2_net
	direct_again "at first"

	to 2
	alive "on another CPU"
	to $CPU
	alive "back"
	check "back: the timer is the guest's" patiently is timer 1
	i=0
	while [ $i -lt 20 ]; do
		to 2
		to $CPU
		i=$((i + 1))
	done
	alive "to and fro"

	for i in 1 2; do
		echo 0 >/sys/devices/system/cpu/cpu$CPU/online || fail "offline"
		check "nobody is direct when its CPU goes" nobody
		alive "CPU offline"
		echo 1 >/sys/devices/system/cpu/cpu$CPU/online || fail "online"
		to $CPU
		direct_again "CPU offline"
	done

	check "the module unloads under it" rmmod exitless_kvm
	alive "after unload"
	insmod /exitless_kvm.ko
	direct_again "after unload"

	echo processors >/sys/power/pm_test && echo mem >/sys/power/state
	check "suspended and resumed" [ $? = 0 ]
	check "nobody is direct when the machine sleeps" nobody
	to $CPU
	check "suspend: it wakes up" l2 "for i in 1 2 3 4 5 6 7 8 9 10; do sleep 0.02; done"
	# The device was reset as the machine slept, which the guest's driver of a VF notices with its
	# next look, some two seconds later; with stock KVM and no module as well.
	check "suspend: its network is back" net_back
	alive "suspend"
	direct_again "suspend"

	kill -9 $QEMU
	wait $QEMU 2>/dev/null
	exec 9>&-
	check "the host's own work runs there" timeout 20 taskset -c $CPU sleep 0.1
	check "nothing is left of it" patiently nobody
}
check "the module unloads" rmmod exitless_kvm
