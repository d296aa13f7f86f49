# SPDX-License-Identifier: BSD-2-Clause
# The guest of tiny.c in L1, for scenarios.

# tiny_start: its process is $TINY
tiny_start()
{
	rm -f /tmp/t.in /tmp/t.out
	mkfifo /tmp/t.in /tmp/t.out
	tiny $CPU </tmp/t.in >/tmp/t.out &
	exec 7>/tmp/t.in 8</tmp/t.out
	read -r _ TINY <&8
}
# tell COMMAND: its answer into $ANSWER
tell()
{
	echo "$*" >&7
	read -r ANSWER <&8
}
# of NAME: a counter of the last show
of()
{
	echo "$ANSWER" | tr ' ' '\n' | sed -n "s/^$1=//p"
}
# stat NAME: of the module's line for the vCPU
stat()
{
	sed -n "s/^vcpu .* $1=\([^ ]*\).*/\1/p" $CTL
}
on() { echo "on pid=$TINY vcpu=0 cpu=$CPU" >$CTL || fail "on"; }
off() { echo "off pid=$TINY" >$CTL || fail "off"; }
# kicks WHEN: 20 interrupts by eventfd arrive
kicks()
{
	tell kick 20
	check "$1: 20 interrupts ($ANSWER)" [ "$ANSWER" = "taken 20" ]
}
# vectors_check: the guest saw nothing but its own: interrupts, and the faults that it made
vectors_check()
{
	tell show
	note "$ANSWER"
	check "no vector of the host's reached the guest" \
		[ -z "$(echo "$ANSWER" | tr ' ' '\n' | sed -n '/^v/p' | grep -v -e ^v13= -e ^v81=)" ]
}
tiny_end()
{
	echo end >&7
	read -r ANSWER <&8
	check "the guest ends" [ "$ANSWER" = end ]
	exec 7>&- 8<&-
}
