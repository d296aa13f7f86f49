# SPDX-License-Identifier: BSD-2-Clause
# A guest with several vCPUs, its device's interrupts spread over them, a ping on each. Stock,
# direct with shadow IDTs, stock again.
phase()
{
	l2_async "sleep 1; for c in \$(seq 0 $((VCPUS - 1))); do" \
		"taskset -c \$c ping -q -c 300 -i 0.02 10.0.2.2 >/tmp/ping\$c & done; wait; sleep 1;" \
		"[ \$(cat /tmp/ping? | grep -c ' 0%') = $VCPUS ]"
	sleep 2
	exits_begin
	sleep 4
	exits_end "$1"
	check "$1: no ping is lost" l2_wait 15
	note "$1: exits for interrupts and timer: $(exits "$1")"
}
nic_setup
insmod /exitless_kvm.ko || fail "the module does not load"
l2_start -device "vfio-pci,host=$DEVICE" && {
	check "L2's network answers" l2_net
	irqs_spread
	check "the guest module loads" l2 "insmod /exitless_guest.ko"
	phase stock
	direct_on
	l2_value "sleep 3; cat /sys/kernel/exitless/registered"
	check "every vCPU has a shadow IDT" [ "$VALUE" = "$VCPUS" ]
	phase direct
	sed 's/^/NOTE: /' $CTL
	l2_value "cd /sys/kernel/exitless; grep -H . cpu*/*"
	note "in the guest: $VALUE"
	direct_off
	phase again
	check "at most 2 % of stock's exits" [ $(($(exits direct) * 50)) -le "$(exits stock)" ]
	check "stock again as before" [ $(($(exits again) * 2)) -ge "$(exits stock)" ]
	l2_stop
}
check "the module unloads" rmmod exitless_kvm
