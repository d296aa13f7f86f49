# SPDX-License-Identifier: BSD-2-Clause
# The machine itself: a guest with an assigned NIC under stock KVM, its exits counted.
nic_setup
check "x2APIC is on in L1" sh -c 'dmesg | grep -qi x2apic'
l2_start -device "vfio-pci,host=$DEVICE" && {
	check "L2's network answers" l2_net
	irqs_to_cpu
	exits_begin
	check "L2 pings" l2 "ping -q -c 200 -i 0.02 10.0.2.2"
	exits_end stock
	n=$(exits stock)
	note "exits for interrupts and timer: $n"
	check "stock KVM exits at least 1000 times" [ "$n" -gt 1000 ]
	l2_stop
}
