# SPDX-License-Identifier: BSD-2-Clause
# What the host keeps of a CPU whose timer and interrupts a guest has (which halts without an exit, so
# that to the host it runs all the time): timers, RCU, the lockup watchdog, accounting, the load
# average. Then an interrupt of another device on that CPU.
# The time that the vCPU's thread has had in the guest, in 10 ms.
guest_time()
{
	for t in /proc/$QEMU/task/*; do
		case $(cat "$t/comm") in
		CPU\ *) sed 's/.*) //' "$t/stat" | cut -d' ' -f41 ;;
		esac
	done
}
uptime_now() { cut -d' ' -f1 /proc/uptime | tr -d .; }
switches()
{
	for t in /proc/[0-9]*; do
		[ "$(cat "$t/comm" 2>/dev/null)" != "migration/$CPU" ] ||
			sed -n 's/^voluntary_ctxt_switches:[ \t]*//p' "$t/status"
	done
}
# wait_for COMMAND: until it is so
wait_for()
{
	i=0
	until sh -c "$1"; do
		i=$((i + 1))
		[ $i -lt 150 ] || return 1
		sleep 0.2
	done
}
nic_setup
insmod /exitless_kvm.ko || fail "the module does not load"
echo 10 >/sys/module/rcupdate/parameters/rcu_cpu_stall_timeout
echo 10 >/proc/sys/kernel/watchdog_thresh
echo 0-$CPU >/proc/sys/kernel/watchdog_cpumask
check "the lockup watchdog looks at that CPU" [ "$(cat /proc/sys/kernel/watchdog_cpumask)" = 0-$CPU ]
l2_start -device "vfio-pci,host=$DEVICE" && {
	check "L2's network answers" l2_net
	irqs_to_cpu
	direct_on
	sleep 2
	BEGIN=$(uptime_now) GUEST=$(guest_time) SWITCHES=$(switches)
	LOAD=$(cut -d' ' -f1 /proc/loadavg)
	DIRECT=$(ctl entries_direct)
	i=0
	while [ $i -lt 12 ]; do
		timeout 20 taskset -c $CPU sleep 0.1 || fail "a timer of that CPU's"
		sleep 4.5
		i=$((i + 1))
	done
	TIME=$(($(uptime_now) - BEGIN)) GUEST=$(($(guest_time) - GUEST))
	SWITCHES=$(($(switches) - SWITCHES))
	NOW=$(cut -d' ' -f1 /proc/loadavg)
	sed 's/^/NOTE: /' $CTL
	note "in $TIME of 10 ms: $GUEST in the guest, $SWITCHES looks of the watchdog; load $LOAD, then $NOW"
	check "the timer is the guest's" patiently is timer 1
	check "timers of the host's ended there" [ $i = 12 ]
	check "the watchdog ran there" [ "$SWITCHES" -ge 3 ]
	check "the guest's time is accounted" [ $((GUEST * 10)) -ge $((TIME * 7)) ]
	check "and no more than there was" [ $((GUEST * 10)) -le $((TIME * 11)) ]
	# One task runs all the time; others of this machine come and go.
	# It follows with a time of 60 s, looked at here each 0.1 s.
	WANT=$(awk "BEGIN { e = 1; for (i = 0; i < $TIME / 10; i++) e *= 1 - 1 / 600
		print int(100 * ($LOAD * e + 1 - e)) }")
	check "the load average is true (about $WANT %)" \
		awk "BEGIN { exit !($NOW * 100 > $WANT - 30 && $NOW * 100 < $WANT + 100) }"

	# The serial line's, or the PF's: another device of the host.
	OTHER=$(grep -E 'eth[0-9]|ttyS0|ahci' /proc/interrupts | grep -v vfio | head -n 1 | cut -d: -f1 | tr -d ' ')
	BEFORE=$(ctl entries_foreign-interrupt)
	echo $CPU >/proc/irq/$OTHER/smp_affinity_list || fail "the interrupt does not move"
	check "a foreign interrupt there is noticed" wait_for "grep -q ^foreign $CTL"
	check "L2's network answers meanwhile" l2 "ping -q -c 10 -i 0.05 10.0.2.2"
	note "$(grep ^foreign $CTL)"
	check "and entries are stock" [ "$(ctl entries_foreign-interrupt)" -gt "$BEFORE" ]
	echo 0 >/proc/irq/$OTHER/smp_affinity_list
	check "it is gone" wait_for "! grep -q ^foreign $CTL"
	l2 "ping -q -c 10 -i 0.05 10.0.2.2"
	check "direct again" [ "$(ctl why)" = direct ]
	direct_off
	l2_stop
}
check "the module unloads" rmmod exitless_kvm
