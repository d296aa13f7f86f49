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
note $(cat $CTL)
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
kicks "after these"

tell mode lidt
sleep 1
tell mode spin
tell show
check "LIDT works in a direct guest" [ "$(of done)" -gt "$FAULTS" ]
check "and the module saw it" [ "$(stat entries_run-again)" -gt 0 ]
kicks "after that"

off
kicks "stock again"
vectors_check
tiny_end
check "the module unloads" rmmod exitless_kvm

# The machine stops under a direct guest, which is to end without a complaint.
insmod /exitless_kvm.ko
tiny_start
on
kicks "as the machine stops"
