# SPDX-License-Identifier: BSD-2-Clause
# A guest with several vCPUs, its device's interrupts spread over them, a ping on each. Stock,
# direct with shadow IDTs, stock again. With $IPI the guest sends IPIs without exits, too.
phase()
{
	pings_begin
	l2 "for c in \$(seq 0 $((VCPUS - 1))); do" \
		"taskset -c \$c ping -q -c 300 -i 0.02 10.0.2.2 >/dev/null & done"
	sleep 1
	exits_begin
	sleep 4
	exits_end "$1"
	l2 wait
	pings_end "$1" $((300 * VCPUS))
	note "$1: exits for interrupts and timer: $(exits "$1")"
}
nic_setup
insmod /exitless_kvm.ko || fail "the module does not load"
l2_start -device "vfio-pci,host=$DEVICE" && {
	check "L2's network answers" l2_net
	irqs_spread
	check "the guest module loads" l2 "insmod /exitless_guest.ko $IPI"
	phase stock
	# shellcheck disable=SC2086 # a word or none
	direct_on $IPI
	l2_value "sleep 3; cat /sys/kernel/exitless/registered"
	check "every vCPU has a shadow IDT" [ "$VALUE" = "$VCPUS" ]
	phase direct
	sed 's/^/NOTE: /' $CTL
	l2_value "cd /sys/kernel/exitless; grep -H . cpu*/*"
	note "in the guest: $VALUE"
	direct_off
	phase again
	check "stock takes exits, and they are counted" [ "$(exits stock)" -gt 200 ]
	check "at most 2 % of stock's exits" [ $(($(exits direct) * 50)) -le "$(exits stock)" ]
	# Writes of the interrupt command register: all that exits but some looks of the guest module.
	SENT=$(awk '$1 == "msr1-2096" { n += $2 } END { print n + 0 }' /tmp/stock)
	MSRS=$(awk '$1 == 124 { n += $2 } END { print n + 0 }' /tmp/direct)
	[ -z "$IPI" ] || check "IPIs do not exit ($SENT sent, $MSRS)" [ $((MSRS * 4)) -le "$SENT" ]
	check "stock again as before" [ $(($(exits again) * 2)) -ge "$(exits stock)" ]
	l2_stop
}
check "the module unloads" rmmod exitless_kvm
