# SPDX-License-Identifier: BSD-2-Clause
# Stock, direct, stock again: the exits that interrupts and the timer cost in four seconds while
# the guest pings. Its console is silent meanwhile.
phase()
{
	pings_begin
	l2 "ping -q -c 300 -i 0.02 10.0.2.2 >/dev/null & P=\$!"
	sleep 1
	exits_begin
	sleep 4
	exits_end "$1"
	l2 "wait \$P"
	pings_end "$1" 300
	note "$1: exits for interrupts and timer: $(exits "$1")"
}
ticks()
{
	l2_value "sed -n 's/.*LOC: *\\([0-9]*\\).*/\\1/p' /proc/interrupts"
}
nic_setup
insmod /exitless_kvm.ko || fail "the module does not load"
l2_start -device "vfio-pci,host=$DEVICE" && {
	check "L2's network answers" l2_net
	irqs_to_cpu
	phase stock
	echo "on pid=$QEMU vcpu=0 cpu=$CPU timer=1" >$CTL || fail "on"
	ticks
	before=$VALUE
	phase direct
	ticks
	sed 's/^/NOTE: /' $CTL
	check "the guest's timer ticked" [ $((VALUE - before)) -ge 150 ]
	echo "off pid=$QEMU" >$CTL || fail "off"
	phase again
	check "stock takes exits, and they are counted" [ "$(exits stock)" -gt 200 ]
	check "at most 2 % of stock's exits" [ $(($(exits direct) * 50)) -le "$(exits stock)" ]
	check "stock again as before" [ $(($(exits again) * 2)) -ge "$(exits stock)" ]
	l2_stop
}
check "the module unloads" rmmod exitless_kvm
