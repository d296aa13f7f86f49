# SPDX-License-Identifier: BSD-2-Clause
# The guest of tiny/: a kernel that has no say, so that what it does is known to the instruction.
case $MACHINE in
bochs) mods kvm-intel ;;
*) mods kvm-amd ;;
esac
insmod /exitless_kvm.ko || fail "the module does not load"

mkfifo /tmp/t.in /tmp/t.out
tiny $CPU </tmp/t.in >/tmp/t.out &
exec 7>/tmp/t.in 8</tmp/t.out
read -r _ TINY <&8
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

tell kick 20
check "stock: 20 interrupts ($ANSWER)" [ "$ANSWER" = "taken 20" ]
on
tell kick 20
check "direct: 20 interrupts ($ANSWER)" [ "$ANSWER" = "taken 20" ]
sleep 2
note "$(cat $CTL)"
check "entries are direct" [ "$(stat entries_direct)" -gt 0 ]
check "the host's vectors are handed back" [ "$(stat handed_back)" -gt 0 ]

# The guest's own faults reach it, each once.
tell mode gp
sleep 1
tell mode spin
tell show
check "as many #GP as were made ($(of done), $(of v13))" [ "$(of done)" = "$(of v13)" ]
check "and some" [ "$(of done)" -gt 10 ]
FAULTS=$(of done)

tell mode lidt
sleep 1
tell mode spin
tell show
check "LIDT works in a direct guest" [ "$(of done)" -gt "$FAULTS" ]
check "and the module saw it" [ "$(stat entries_run-again)" -gt 0 ]
tell kick 20
check "interrupts after that ($ANSWER)" [ "$ANSWER" = "taken 20" ]

off
tell kick 20
check "stock again: 20 interrupts ($ANSWER)" [ "$ANSWER" = "taken 20" ]
tell show
note "$ANSWER"
check "no vector of the host's reached the guest" \
	[ "$(echo "$ANSWER" | tr ' ' '\n' | grep -c '^v')" = 2 ]
echo end >&7
read -r ANSWER <&8
check "the guest ends" [ "$ANSWER" = end ]
exec 7>&- 8<&-
check "the module unloads" rmmod exitless_kvm
