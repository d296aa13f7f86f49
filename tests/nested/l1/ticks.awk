# SPDX-License-Identifier: BSD-2-Clause
# Reads a guest's trace of its timer, where each programming ("arm", with the count of 16 ns) and each
# interrupt stands, and counts:
#
#	lost     a deadline went by, the timer was programmed anew, and the interrupt that came was
#	         the new deadline's. Stock KVM does that when the two meet.
#	doubled  an interrupt long before the deadline, or without one
#	late     the interrupt after that was early for its own deadline: it is the one that had been
#	         counted as lost, and neither is
#	row      the most of either without a good interrupt in between
#	around   the events before and at the first such pair: us since the one before, "a" and the
#	         time asked for, or "i"; L and D where one was counted
#	stuck    for five seconds after a deadline nothing happened
#	worst    how late an interrupt was, in us
#
# What is due while the guest has interrupts off may be programmed anew before it comes; the
# interrupt is then early for the new deadline, and neither is counted. An early one within SLACK
# (us) of the deadline, or 2 %, is on time: clocks differ.
BEGIN { SLACK = 300 }
function keep(what)
{
	past[$2] = past[$2] " " sprintf("+%d%s", at - last[$2], what)
	last[$2] = at
	while (length(past[$2]) > 400)
		sub(/^ [^ ]*/, "", past[$2])
}
function bad(what)
{
	past[$2] = past[$2] what
	if (++bads[$2] > row)
		row = bads[$2]
	if (row == 2 && !around)
		around = past[$2]
}
/^#/ { next }
$2 !~ /^\[/ { strange++; next }
{
	at = $4 * 1000000
	if (armed[$2] && at > due[$2] + 5000000)
		stuck++
}
/ arm: / {
	left = substr($NF, 7) * 0.016
	keep("a" int(left))
	if (armed[$2] && at > due[$2] + SLACK)
		overdue[$2] = 1
	slack[$2] = SLACK + left / 50
	due[$2] = at + left
	armed[$2] = 1
	arms++
	next
}
/local_timer_entry/ {
	ticks++
	keep("i")
	if ($2 in armed && (!armed[$2] || at < due[$2] - slack[$2])) {
		if (!overdue[$2] && missing[$2]) {
			lost--
			late++
			bads[$2] = missing[$2] = 0
		} else if (!overdue[$2]) {
			doubled++
			bad("D")
		}
	} else if (armed[$2]) {
		if (overdue[$2]) {
			lost++
			bad("L")
		} else
			bads[$2] = 0
		missing[$2] = overdue[$2]
		if (at - due[$2] > worst)
			worst = at - due[$2]
	}
	overdue[$2] = armed[$2] = 0
}
END {
	for (cpu in armed)
		if (armed[cpu] && at > due[cpu] + 5000000)
			stuck++
	printf "arms=%d ticks=%d lost=%d doubled=%d late=%d row=%d stuck=%d worst=%d strange=%d%s\n",
		arms, ticks, lost, doubled, late, row, stuck, worst, strange, around ? " around:" around : ""
}
