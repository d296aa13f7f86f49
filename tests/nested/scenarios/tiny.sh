# SPDX-License-Identifier: BSD-2-Clause
# The guest of tiny/: a kernel that has no say, so that what it does is known to the instruction.
. /tiny.sh
case $MACHINE in
bochs)
	# With APICv interrupts are its, and entries stock.
	mods irqbypass kvm
	insmod "/mod/$(tail -n 1 /mod/kvm-intel.order)" enable_apicv=0 ;;
*) mods kvm-amd ;;
esac
insmod /exitless_kvm.ko || fail "the module does not load"

tiny_start
kicks stock
on
kicks direct
selftest "with a direct guest"
sleep 2
check "entries are direct" patiently above 0 entries_direct
check "the host's vectors are handed back" patiently above 0 handed_back
note $(cat $CTL)

# The guest's own faults reach it, each once.
tell mode gp
sleep 1
patiently shown_above 10 done
tell mode spin
tell show
check "as many #GP as were made ($(of done), $(of v13))" [ "$(of done)" = "$(of v13)" ]
check "and some" [ "$(of done)" -gt 10 ]
FAULTS=$(of done)
kicks "after these"

# INT n by gates that a direct entry has empty, or past its limit.
mode int
sleep 1
tell show
DONE=$(of done)
patiently shown_above $((DONE + 10)) done
mode spin
tell show
check "INT n takes its gate ($(of v45)), and makes no fault" [ "$(of v13)" = "$FAULTS" ]
check "and each does" [ "$(of v45)" = $(($(of done) - FAULTS)) ]
FAULTS=$(of done)
kicks "after that"

tell mode lidt
sleep 1
patiently shown_above "$FAULTS" done
tell mode spin
tell show
check "LIDT works in a direct guest" [ "$(of done)" -gt "$FAULTS" ]
check "and the module saw it" [ "$(stat entries_run-again)" -gt 0 ]
kicks "after that"

# On VMX these exit as LIDT does, and KVM is not to see it.
tell show
DONE=$(of done)
tell mode ldtr
sleep 1
patiently shown_above "$DONE" done
tell mode spin
tell show
check "SLDT and STR work in a direct guest" [ "$(of done)" -gt "$DONE" ]
kicks "after these"

# What its task priority keeps off waits until that is low.
tell show
FAULTS=$(of done)
tell mode raised
check "the guest's task priority is raised" patiently shown_above "$FAULTS" done
tell show
TAKEN=$(of v81)
tell poke
sleep 1
tell show
check "it keeps an interrupt off ($(of v81), $TAKEN)" [ "$(of v81)" = "$TAKEN" ]
check "such entries are told" patiently above 0 entries_task-priority
tell mode spin
check "which comes as it is lowered" patiently shown_above "$TAKEN" v81
kicks "after that"
check "the guest is direct after that" patiently is why direct

off
kicks "stock again"

# table NAME=VALUE: of the guest's table for IPIs, which is no more than memory to see who writes to it
table()
{
	tell table
	[ "$(of "${1%=*}")" = "${1#*=}" ]
}
if [ "$MACHINE" = bochs ]; then
	# It has no interrupt remapping, so its Linux keeps the LAPICs in xAPIC mode.
	sh -c "echo 'on pid=$TINY vcpu=0 cpu=$CPU ipi=1' >$CTL" 2>/tmp/err &&
		fail "IPIs by the x2APIC are refused where there is none"
	check "IPIs by the x2APIC are refused where there is none" grep -q "not supported" /tmp/err
else
	echo "on pid=$TINY vcpu=0 cpu=$CPU ipi=1" >$CTL || fail "on, with IPIs"
	tell ones
	mode ipis
	check "the host keeps the guest's table" patiently table ones=0
	tell away
	check "not that of a vCPU that was reset ($ANSWER)" [ "$ANSWER" = ones=1 ]
	check "again that of one that goes on" patiently table ones=0
	tell log 1
	check "as the memory is logged, it is taken away, and logged" patiently table logged=1
	tell ones
	sleep 0.5
	check "and then left alone" table ones=1
	tell log 0
	check "kept again after that" patiently table ones=0
	mode spin
	check "the guest takes it back ($ANSWER)" [ "$ANSWER" = "mode spin" ]
	tell ones
	sleep 0.5
	check "then it is the guest's" table ones=1
	kicks "with a table for IPIs"
	off
fi

# taken: the ticks that the guest took, and that KVM injected
taken()
{
	tell show
	TICKS=$(of v97) INJECTED=$(stat ticks)
	TICKS=${TICKS:-0} INJECTED=${INJECTED:-0}
}
# ticks WHEN: of a second, $DIRECT came without KVM
ticks()
{
	taken
	DIRECT=$((INJECTED - TICKS))
	sleep 1
	BEFORE=$TICKS
	taken
	DIRECT=$((DIRECT + TICKS - INJECTED))
	note "$1: $((TICKS - BEFORE)) ticks, $DIRECT of them direct"
	check "$1: there are ticks" [ $((TICKS - BEFORE)) -ge 10 ]
}
if grep -q tsc_deadline_timer /proc/cpuinfo; then
	# The timer by TSC deadlines, which needs no x2APIC in the host, but one TSC for host and guest.
	tell tsc 1000000000
	tell mode tick
	check "a guest that ticks by deadlines ($ANSWER)" [ "$ANSWER" = "mode tick" ]
	sh -c "echo 'on pid=$TINY vcpu=0 cpu=$CPU timer=1' >$CTL" 2>/tmp/err &&
		fail "a TSC of the guest's own is refused"
	note "$(cat /tmp/err)"
	tell tsc 0
	echo "on pid=$TINY vcpu=0 cpu=$CPU timer=1" >$CTL || fail "on"
	check "the timer is the guest's" patiently is timer 1
	ticks "its timer"
	sed 's/^/NOTE: /' $CTL
	check "its timer: nine of ten come direct" [ $((DIRECT * 10)) -ge $(((TICKS - BEFORE) * 9)) ]
	kicks "its timer"
	check "the host's own timers run there" timeout 60 taskset -c $CPU sleep 0.1
	tell tsc 1000000000
	check "with a TSC of its own the timer is KVM's" patiently is timer 0
	ticks "KVM's timer"
	check "KVM's timer: none comes direct" [ $DIRECT -le 1 ]
	tell tsc 0
	check "the timer is the guest's again" patiently is timer 1
	off
	tell mode spin
	check "it goes on ($ANSWER)" [ "$ANSWER" = "mode spin" ]
	kicks "after ticks"
else
	note "no TSC deadlines here"
fi
vectors_check
tiny_end

# A LAPIC that is not the kernel's is none that could be looked at.
tiny_start noapic
sh -c "echo 'on pid=$TINY vcpu=0 cpu=$CPU timer=1' >$CTL" 2>/tmp/err &&
	fail "a guest whose LAPIC is the VMM's is refused"
check "a guest whose LAPIC is the VMM's is refused ($(cat /tmp/err))" \
	grep -q "not supported" /tmp/err
tell show
check "and goes on" patiently shown_above "$(of beats)" beats
tiny_end
check "the module unloads" rmmod exitless_kvm

# The machine stops under a direct guest, which is to end without a complaint.
insmod /exitless_kvm.ko
tiny_start
on
kicks "as the machine stops"
