# SPDX-License-Identifier: BSD-2-Clause
# A guest in direct mode that does its worst, and a host that does what hosts do meanwhile. Where the
# guest has two vCPUs, the other one is not to notice.
. /tiny.sh
mods kvm-amd
insmod /exitless_kvm.ko || fail "the module does not load"
selftest "before"

first_direct() { [ "$(stat why 0)" = direct ]; }
# host_runs WHEN: others' threads get that CPU, and the other vCPU what is its
host_runs()
{
	check "$1: the host's own work runs there" timeout 30 taskset -c $VCPU true
	[ $V = 0 ] || {
		tell kick 20 0
		check "$1: the other vCPU takes interrupts ($ANSWER)" [ "$ANSWER" = "taken 20" ]
		check "$1: the other vCPU is direct" patiently first_direct
	}
}
nobody() { [ -z "$(sed -n '/^vcpu/p' $CTL)" ]; }
# back MODE: the guest obeys again, takes interrupts, and is direct
back()
{
	honest
	check "$1: the guest goes on ($ANSWER)" [ "${ANSWER%% *}" = mode ]
	kicks "after $1"
	BEFORE=$(stat entries_direct)
	# A guest that nothing disturbs leaves once in a second, and enters again.
	check "after $1: entries are direct" patiently above "$BEFORE" entries_direct
}

tiny_start
on
kicks direct
selftest "with a direct guest"

mode cli
sleep 4
host_runs "interrupts off for ever"
check "the watchdog's NMI was needed" patiently above 0 nmi
off
on
tell show $V
check "that guest runs, off and on" patiently shown_above "$(of beats)" beats
back "interrupts off"

mode lost-idt
sleep 2
host_runs "an IDT where there is no memory"
check "such an IDT is told" patiently above 0 entries_unusable-idt
back "a lost IDT"

mode lidt
sleep 2
host_runs "LIDT in a loop"
[ $V = 0 ] || check "LIDT leaves the shadow IDT registered" patiently is shadow 1
back "LIDT in a loop"

mode gates
sleep 2
host_runs "gates written in a loop"
back "gates written"

# Its gates where a direct entry has none: what the self-test sends there the guest takes, if it is
# in the guest by then, and does not end. With a shadow IDT such gates are noticed.
[ $V != 0 ] || {
	mode steal
	n=0
	until above 0 stolen || [ $n = 30 ]; do
		selftest "as the guest takes the host's vectors"
		n=$((n + 1))
	done
	check "the guest took one" above 0 stolen
	host_runs "the host's vectors taken"
	back "taking the host's vectors"
}

tell show $V
BEFORE=$(of done)
mode msrs
sleep 2
host_runs "every x2APIC register written"
check "and they were" patiently shown_above $((BEFORE + 48)) done
back "the registers"

tell show $V
BEFORE=$(of done)
mode liar
sleep 2
host_runs "lies to the host"
check "and there were some" patiently shown_above "$BEFORE" done
check "a shadow IDT that was written to is dropped" patiently above 0 shadow_dropped
back "the lies"

# A page of the VMM's that does not come: who waits for it is not to hold a lock.
[ $V = 0 ] || {
	BEFORE=$(stat entries_unusable-idt)
	tell take $V
	check "a shadow IDT that is not there is told" patiently above "$BEFORE" entries_unusable-idt
	sleep 1
	host_runs "a page that does not come"
	kicks "a page that does not come"
	tell give
	back "a page that did not come"
}

mode halt
kicks "halted"
host_runs "halted"
# Nothing but an interrupt wakes it.
echo "mode spin $V" >&7
read -r ANSWER <&8
kicks "halted and told to go on"
back "halting"

# The thread goes to another CPU, and comes back.
THREAD=$(grep -l "CPU $V/KVM" /proc/$TINY/task/*/comm | cut -d/ -f5)
taskset -p 1 "$THREAD" >/dev/null
kicks "on another CPU"
taskset -p $((1 << VCPU)) "$THREAD" >/dev/null
back "another CPU"

for i in 1 2 3; do
	echo 0 >/sys/devices/system/cpu/cpu$VCPU/online || fail "offline"
	kicks "CPU offline"
	echo 1 >/sys/devices/system/cpu/cpu$VCPU/online || fail "online"
done
taskset -p $((1 << VCPU)) "$THREAD" >/dev/null
check "none is direct when its CPU goes" [ -z "$(stat why)" ]
on
back "CPU offline"

# Suspend to RAM, up to where the processors are stopped but one.
echo processors >/sys/power/pm_test && echo mem >/sys/power/state
check "suspended and resumed" [ $? = 0 ]
check "no guest is direct when the machine sleeps" nobody
on
back "suspend"

# Unload while a guest is direct; load again.
check "the module unloads under a direct guest" rmmod exitless_kvm
kicks "after unload"
insmod /exitless_kvm.ko
on
kicks "after load"
vectors_check

# The VM dies.
kill -9 "$TINY"
wait "$TINY" 2>/dev/null
exec 7>&- 8<&-
check "after the VM's death: the host's own work runs there" timeout 30 taskset -c $VCPU true
check "nothing is left of it" patiently nobody
selftest "after all that"
check "the module unloads" rmmod exitless_kvm
