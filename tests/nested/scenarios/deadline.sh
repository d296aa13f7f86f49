# SPDX-License-Identifier: BSD-2-Clause
# One deadline of four seconds, which goes to and fro between the LAPIC and KVM. It comes once, and
# not before its time; and a VMM that reads the timer's state finds it.
. /tiny.sh
mods kvm-amd
insmod /exitless_kvm.ko || fail "the module does not load"
tiny_start
VECTOR=97 COUNT=4026531840

# In 1/100 s.
now() { sed 's/\([0-9]*\)\.\([0-9]*\) .*/\1\2/' /proc/uptime; }
timer_on() { echo "on pid=$TINY vcpu=0 cpu=$CPU timer=1" >$CTL || fail "on"; }
begin()
{
	tell show
	TICKS=$(of v$VECTOR) DONE=$(of done)
	TICKS=${TICKS:-0}
	mode spin
	BEGIN=$(now)
	mode count
	check "$1: programmed ($ANSWER)" [ "$ANSWER" = "mode count" ]
	check "$1: the guest has done it" patiently shown_above "$DONE" done
}
came()
{
	tell show
	N=$(of v$VECTOR)
	[ $((${N:-0} - TICKS)) -ge 1 ]
}
# Ticks since begin() that came too early.
early()
{
	tell show
	N=$(of v$VECTOR)
	N=$((${N:-0} - TICKS))
	[ $(($(now) - BEGIN)) -ge 400 ] || [ "$N" = 0 ] || fail "$1: $N early"
}
# once WHEN [MOST]: times
once()
{
	check "$1: it comes" patiently came
	[ $(($(now) - BEGIN)) -ge 390 ] || fail "$1: after $(($(now) - BEGIN)) hundredths of a second"
	sleep 1
	came
	check "$1: ${2:-1} times at most ($((N - TICKS)))" [ $((N - TICKS)) -le "${2:-1}" ]
}
# found WHEN: KVM has what is left, and it is of the count that the guest wrote
found()
{
	tell timer
	LEFT=${ANSWER##*tmcct=} INITIAL=${ANSWER#*tmict=} INITIAL=${INITIAL%% *}
	GONE=$((($(now) - BEGIN) * 10000000))
	note "$1: $ANSWER"
	[ "$GONE" -ge "$COUNT" ] && return
	check "$1: the VMM finds the count" [ "$INITIAL" -gt 0 ]
	check "$1: as it was, or less" [ "$INITIAL" -le $COUNT ]
	# Not less than is left by now, but for a percent of clocks.
	check "$1: and what is left of it" [ "$LEFT" -gt 0 ]
	check "$1: not too little" [ $((LEFT + COUNT / 100)) -ge $((COUNT - GONE)) ]
	check "$1: not too much" [ "$LEFT" -le "$INITIAL" ]
}

begin stock
found stock
once stock

# Programmed in KVM, taken, given back, up to 20 times; not when it is due.
# Again where the machine was away for so long that it may have been.
for try in 1 2 3; do
	begin "to and fro"
	i=0 MOVES=0
	while [ $i -lt 20 ] && [ $(($(now) - BEGIN)) -lt 200 ]; do
		timer_on
		early "to and fro, on"
		MOVES=$((MOVES + $(stat deadlines_taken)))
		off
		early "to and fro, off"
		i=$((i + 1))
	done
	[ $(($(now) - BEGIN)) -ge 350 ] || break
	check "to and fro, $try, too late: it comes" patiently came
done
check "to and fro: it went ($MOVES times)" [ $MOVES -gt 0 ]
once "to and fro"

timer_on
check "the timer is the guest's" patiently is timer 1
begin direct
check "it is in the LAPIC" is timer 1
early direct
# It goes back to KVM by itself as its VMM has the vCPU for some time.
tell out
check "the VMM has it ($ANSWER)" [ "$ANSWER" = out ]
check "the timer is KVM's then" patiently is timer 0
found direct
early "direct, after a look"
once direct
check "KVM was given one" [ "$(stat deadlines_given)" -ge 1 ]
check "and it was taken back" [ "$(stat deadlines_taken)" -ge 1 ]

# The guest has programmed the LAPIC, and then all is over.
begin "given up"
off
early "given up"
found "given up"
once "given up"

# It is due while the VMM has the vCPU, or a moment before: this guest leaves an expired timer as it
# is, which nobody can tell from one whose tick is on its way, so that there may be one more.
timer_on
begin "out"
i=0
while [ $i -lt 60 ]; do
	tell timer
	i=$((i + 1))
done
once "out" 2

# All ones and zero into each of the timer's registers, and all others, while the timer is its own.
tell show
DONE=$(of done)
mode msrs
check "every x2APIC register is written" patiently shown_above $((DONE + 1000)) done
check "the host's own timers run there" timeout 60 taskset -c $CPU sleep 0.1
begin "after that"
check "the timer is the guest's again" patiently is timer 1
early "after that"
once "after that"

# A tick that was on its way as the guest changed the timer's mode is injected, and at once.
mode spin
BEFORE=$(stat ticks_injected)
tell drop 50
check "ticks come as the mode is changed ($ANSWER)" [ "$ANSWER" = "dropped 50" ]
check "some of them by KVM" [ "$(stat ticks_injected)" -gt "$BEFORE" ]
tell show
LATE=$(of late)
check "one in ten is late at most ($LATE of 50)" [ $((LATE * 10)) -le 50 ]
sed 's/^/NOTE: /' $CTL
off
vectors_check
tiny_end
check "the module unloads" rmmod exitless_kvm
