# SPDX-License-Identifier: BSD-2-Clause
# A thread of the guest's wakes up each millisecond, by the guest's own timer. Its console is silent
# while exits are counted. Latencies are shown, not judged: they are TCG's.
SECONDS_RUN=8
WINDOW=4
phase()
{
	l2_async "cyclictest -q -m -p 90 -i 1000 -D $SECONDS_RUN -h 5000 >/tmp/cyclic"
	sleep 2
	exits_begin
	sleep $WINDOW
	exits_end "$1"
	check "$1: cyclictest ends" l2_wait 60
	# Latency, count: the median, and so on; the last line of a histogram has the overflows.
	l2_value "awk '/^[0-9]/ { n += \$2; at[i++] = \$1 + 0; sum[i - 1] = n }" \
		"/^# Total:/ { total = \$3 } /^# (Min|Avg|Max)/ { l = l \" \" \$2 \$4 + 0 }" \
		"/Overflows:/ { over = \$4 }" \
		"function p(q) { for (j = 0; j < i; j++) if (sum[j] >= total * q) return at[j]; return \">5000\" }" \
		"END { print total + over, \"p50:\" p(.5), \"p99:\" p(.99), \"p99.9:\" p(.999) l }' /tmp/cyclic"
	# shellcheck disable=SC2086 # words
	set -- "$1" $VALUE
	WAKES=$(($2 * WINDOW / SECONDS_RUN))
	ALL=$(awk '/^[0-9]+ [0-9]+$/ { n += $2 } END { print n + 0 }' "/tmp/$1")
	note "$1: $WAKES wake-ups, $ALL exits; latency in us: $*"
}
nic_setup
insmod /exitless_kvm.ko || fail "the module does not load"
l2_start -device "vfio-pci,host=$DEVICE" && {
	check "L2's network answers" l2_net
	irqs_to_cpu
	phase stock
	check "stock exits at each wake-up" [ "$ALL" -gt "$WAKES" ]
	direct_on
	sleep 1
	phase direct
	sed 's/^/NOTE: /' $CTL
	check "there were wake-ups" [ "$WAKES" -ge 100 ]
	check "at most 0.02 exits for each" [ $((ALL * 50)) -le "$WAKES" ]
	direct_off
	l2_stop
}
check "the module unloads" rmmod exitless_kvm
