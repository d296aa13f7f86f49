# SPDX-License-Identifier: BSD-2-Clause
# A direct guest that runs a guest itself: entries of that one are stock, and direct mode is back after it.
nic_setup
insmod /exitless_kvm.ko || fail "the module does not load"
mkdir -p /l2x/mod /l2x/bin
cp /mod/kvm-amd.order /l2x/mod/
while read -r ko; do cp "/mod/$ko" /l2x/mod/; done </mod/kvm-amd.order
cp /bin/tiny /l2x/bin/
# l3 WHEN: takes 50 interrupts, while L2 pings
l3()
{
	pings_begin
	l2_async "(sleep 1; for i in 1 2 3 4 5; do echo kick 10; sleep 1; done; echo show; echo end) |" \
		"tiny 0 >/tmp/tiny & P=\$!; ping -q -c 100 -i 0.05 10.0.2.2 >/dev/null; wait \$P; cat /tmp/tiny;" \
		"[ \$(grep -c 'taken 10' /tmp/tiny) = 5 ]"
	check "$1: L3 takes its interrupts" l2_wait 120
	pings_end "$1" 100
}
l2_start -device "vfio-pci,host=$DEVICE" && {
	check "L2's network answers" l2_net
	irqs_to_cpu
	check "L2 has KVM" l2 "mods kvm-amd; [ -e /dev/kvm ]"
	l3 stock
	direct_on
	l2 "ping -q -c 10 -i 0.02 10.0.2.2"
	check "direct" patiently is why direct
	l3 direct
	sed 's/^/NOTE: /' $CTL
	check "L3's entries were stock" [ "$(ctl entries_nested-guest)" -gt 0 ]
	BEFORE=$(ctl entries_direct)
	check "L2's network answers after it" pinged 20 "ping -q -c 20 -i 0.02 10.0.2.2"
	check "direct again" [ "$(ctl entries_direct)" -gt "$BEFORE" ]
	direct_off
	l2_stop
}
check "the module unloads" rmmod exitless_kvm
