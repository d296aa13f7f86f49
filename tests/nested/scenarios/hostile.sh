# SPDX-License-Identifier: BSD-2-Clause
# A guest in direct mode that does its worst, and a host that does what hosts do meanwhile.
. /tiny.sh
mods kvm-amd
insmod /exitless_kvm.ko || fail "the module does not load"

# host_runs WHEN: others' threads get that CPU
host_runs()
{
	check "$1: the host's own work runs there" timeout 5 taskset -c $CPU true
}
# back MODE: the guest obeys again, takes interrupts, and is direct
back()
{
	tell mode spin
	check "$1: the guest goes on ($ANSWER)" [ "$ANSWER" = "mode spin" ]
	kicks "after $1"
	BEFORE=$(stat entries_direct)
	sleep 1
	check "after $1: entries are direct" [ "$(stat entries_direct)" -gt "$BEFORE" ]
}

tiny_start
on
kicks direct

tell mode cli
sleep 4
host_runs "interrupts off for ever"
check "the watchdog's NMI was needed" [ "$(stat nmi)" -gt 0 ]
off
on
tell show
BEATS=$(of beats)
sleep 1
tell show
check "that guest runs, off and on" [ "$(of beats)" -gt "$BEATS" ]
back "interrupts off"

tell mode lost-idt
sleep 2
host_runs "an IDT where there is no memory"
check "such an IDT is told" [ "$(stat entries_unusable-idt)" -gt 0 ]
back "a lost IDT"

tell mode lidt
sleep 2
host_runs "LIDT in a loop"
back "LIDT in a loop"

tell mode gates
sleep 2
host_runs "gates written in a loop"
back "gates written"

tell show
BEFORE=$(of done)
tell mode msrs
sleep 2
host_runs "every x2APIC register written"
tell show
check "and they were" [ "$(of done)" -gt "$((BEFORE + 48))" ]
back "the registers"

tell show
BEFORE=$(of done)
tell mode liar
sleep 2
host_runs "lies to the host"
tell show
check "and there were some" [ "$(of done)" -gt "$BEFORE" ]
check "a shadow IDT that was written to is dropped" [ "$(stat shadow_dropped)" -gt 0 ]
back "the lies"

tell mode halt
kicks "halted"
host_runs "halted"
# Nothing but an interrupt wakes it.
echo "mode spin" >&7
read -r ANSWER <&8
kicks "halted and told to go on"
back "halting"

# The thread goes to another CPU, and comes back.
THREAD=$(grep -l 'CPU 0/KVM' /proc/$TINY/task/*/comm | cut -d/ -f5)
taskset -p 1 "$THREAD" >/dev/null
kicks "on another CPU"
taskset -p $((1 << CPU)) "$THREAD" >/dev/null
back "another CPU"

for i in 1 2 3; do
	echo 0 >/sys/devices/system/cpu/cpu$CPU/online || fail "offline"
	kicks "CPU offline"
	echo 1 >/sys/devices/system/cpu/cpu$CPU/online || fail "online"
done
taskset -p $((1 << CPU)) "$THREAD" >/dev/null
check "no guest is direct when its CPU goes" [ -z "$(sed -n '/^vcpu/p' $CTL)" ]
on
back "CPU offline"

# Suspend to RAM, up to where the processors are stopped but one.
echo processors >/sys/power/pm_test && echo mem >/sys/power/state
check "suspended and resumed" [ $? = 0 ]
check "no guest is direct when the machine sleeps" [ -z "$(sed -n '/^vcpu/p' $CTL)" ]
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
host_runs "after the VM's death"
sleep 1
check "nothing is left of it" [ -z "$(sed -n '/^vcpu/p' $CTL)" ]
check "the module unloads" rmmod exitless_kvm
