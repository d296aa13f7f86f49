# SPDX-License-Identifier: BSD-2-Clause
# The guest of tiny.c in L1, for scenarios. It has $VCPUS vCPUs, vCPU n on CPU n + 1; what is said
# of one vCPU is of the last, $V, on $VCPU.
V=$((VCPUS - 1))
VCPU=$((CPU + V))

# tiny_start [bus=NS | noapic]: its process is $TINY
tiny_start()
{
	rm -f /tmp/t.in /tmp/t.out
	mkfifo /tmp/t.in /tmp/t.out
	# shellcheck disable=SC2046 # words
	tiny "$@" $(seq $CPU $VCPU) </tmp/t.in >/tmp/t.out &
	fifo_open 7 '>' /tmp/t.in
	fifo_open 8 '<' /tmp/t.out
	read -r _ TINY <&8
}
# tell COMMAND: its answer into $ANSWER
tell()
{
	echo "$*" >&7
	read -r ANSWER <&8
}
# mode NAME [VCPU]
mode() { tell mode "$1" "${2:-$V}"; }
# of NAME: a counter of the last show
of()
{
	echo "$ANSWER" | tr ' ' '\n' | sed -n "s/^$1=//p"
}
# stat NAME [VCPU]: of the module's line for the vCPU
stat()
{
	sed -n "s/^vcpu .* index=${2:-$V} .* $1=\([^ ]*\).*/\1/p" $CTL
}
# above N NAME: so is the module's counter for that vCPU; shown_above N NAME: the guest's
above() { [ "$(stat "$2")" -gt "$1" ]; }
shown_above()
{
	tell show $V
	[ "$(of "$2")" -gt "$1" ]
}
# is NAME VALUE: of that vCPU
is() { [ "$(stat "$1")" = "$2" ]; }
# honest [VCPU]: it does what is to be done to be direct, and no more
honest()
{
	mode spin "$@"
	[ $V = 0 ] || mode shadow "$@"
}
# on: all that are not
on()
{
	n=0
	while [ $n -le $V ]; do
		[ -n "$(stat why $n)" ] || {
			echo "on pid=$TINY vcpu=$n cpu=$((CPU + n))" >$CTL || fail "on $n"
			[ $V = 0 ] || honest $n
		}
		n=$((n + 1))
	done
}
off() { echo "off pid=$TINY" >$CTL || fail "off"; }
# kicks WHEN: 20 interrupts by eventfd arrive
kicks()
{
	tell kick 20 $V
	check "$1: 20 interrupts ($ANSWER)" [ "$ANSWER" = "taken 20" ]
}
# vectors_check: the guest saw nothing but its own: interrupts, and the faults that it made
vectors_check()
{
	n=0
	while [ $n -le $V ]; do
		tell show $n
		note "$ANSWER"
		[ "$MACHINE" = bochs ] ||
			check "no fault came while another was delivered" [ "$(of twice)" = 0 ]
		check "no vector of the host's reached vCPU $n" \
			[ -z "$(echo "$ANSWER" | tr ' ' '\n' | sed -n '/^v/p' | grep -v -e ^v13= -e ^v45= -e ^v81= -e ^v97=)" ]
		n=$((n + 1))
	done
}
tiny_end()
{
	echo end >&7
	read -r ANSWER <&8
	check "the guest ends" [ "$ANSWER" = end ]
	exec 7>&- 8<&-
}
