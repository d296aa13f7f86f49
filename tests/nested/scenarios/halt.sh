# SPDX-License-Identifier: BSD-2-Clause
# A guest that exits to halt (cpu-pm=off): ticks and interrupts that come meanwhile wake it.
nic_setup
insmod /exitless_kvm.ko || fail "the module does not load"
PM=off
l2_start -device "vfio-pci,host=$DEVICE" && {
	check "L2's network answers" l2_net
	irqs_to_cpu
	direct_on
	sleep 1
	pings_begin
	exits_begin
	l2_async "cyclictest -q -m -p 90 -i 10000 -l 500 >/tmp/cyclic & P=\$!;" \
		"ping -q -c 100 -i 0.05 10.0.2.2 >/dev/null; wait \$P"
	check "500 wake-ups and 100 pings end" l2_wait 120
	exits_end halted
	sed 's/^/NOTE: /' $CTL
	pings_end halted 100
	l2_value "sed -n 's/.* C: *\([0-9]*\).*/\1/p' /tmp/cyclic"
	check "all wake-ups came ($VALUE)" [ "$VALUE" = 500 ]
	HALTS=$(awk '$1 == 120 { print $2 }' /tmp/halted)
	check "the guest halted ($HALTS)" [ "${HALTS:-0}" -gt 100 ]
	check "the timer is its own" patiently is timer 1
	check "ticks woke it" [ "$(ctl ticks_injected)" -gt 100 ]
	direct_off
	l2_stop
}
check "the module unloads" rmmod exitless_kvm
