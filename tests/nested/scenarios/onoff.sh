# SPDX-License-Identifier: BSD-2-Clause
# Direct mode on and off, 1,000 times, by the host and then by the guest, while the guest pings,
# has a TCP connection that echoes, and a thread that wakes up by the timer. Nothing may be lost or
# doubled; of the timer's interrupts few, and never two in a row, as stock KVM loses one when the
# guest programs the timer as it expires.
ROUNDS=${ROUNDS:-1000}
load_start()
{
	echoes
	ECHOES=$VALUE
	l2_async "rm -f /tmp/stop; ping -q -i 0.02 10.0.2.2 >/tmp/ping & P=\$!;" \
		"(i=0; while [ ! -e /tmp/stop ]; do i=\$((i + 1)); echo \$i; sleep 0.05; done; sleep 1)" \
		"| tee /tmp/said | nc 10.0.2.100 7 >/tmp/heard & N=\$!;" \
		"cyclictest -q -m -p 90 -i 2000 -h 20000 >/tmp/cyclic & C=\$!"
	l2_wait 60
	ticks_begin
}
load_end()
{
	ticks_end "$1"
	# What stock KVM loses says how busy the machine is, nothing of ours.
	if [ "$2" = 0 ]; then ticks_goes "$1"; else ticks_check "$1" $((5 + $2 / 100)); fi
	l2 "touch /tmp/stop; sleep 3; kill \$N; kill -INT \$P \$C; wait; tail -n 3 /tmp/ping"
	echoes
	SENT=$((${VALUE% *} - ${ECHOES% *})) BACK=$((${VALUE#* } - ${ECHOES#* }))
	check "$1: many pings have left" [ $SENT -gt 100 ]
	# The last may have been on its way.
	check "$1: no ping is lost or doubled (sent and received: $SENT $BACK)" \
		[ $BACK -le $SENT -a $BACK -ge $((SENT - 1)) ]
	l2_value "wc -l </tmp/said; grep -E '^# (Total|Max|Avg)' /tmp/cyclic"
	note "$1: $VALUE"
	check "$1: the connection has lost nothing" l2 "[ -s /tmp/said ] && cmp /tmp/said /tmp/heard"
}
nic_setup
insmod /exitless_kvm.ko || fail "the module does not load"
l2_start -device "vfio-pci,host=$DEVICE" && {
	check "L2's network answers" l2_net
	irqs_to_cpu
	check "the guest module loads" l2 "insmod /exitless_guest.ko"

	load_start
	sleep 10
	load_end stock 0

	load_start
	i=0
	while [ $i -lt "$ROUNDS" ]; do
		direct_on
		[ $((i % 100)) != 0 ] || { sleep 1; cat $CTL; }
		direct_off
		i=$((i + 1))
	done
	load_end "by the host" $((ROUNDS * 2))

	direct_on
	sleep 3
	load_start
	check "the guest says on and off" l2 "cd /sys/kernel/exitless; i=0;" \
		"while [ \$i -lt $ROUNDS ]; do echo 1 >disable; echo 1 >enable; i=\$((i + 1)); done"
	load_end "by the guest" $((ROUNDS * 2))
	sed 's/^/NOTE: /' $CTL
	check "and was heard" [ "$(sed -n 's/^vcpu .* abi=\([0-9]*\) .*/\1/p' $CTL)" -ge $((ROUNDS * 2)) ]
	direct_off
	l2_stop
}
check "the module unloads" rmmod exitless_kvm
