# SPDX-License-Identifier: BSD-2-Clause
# The memory of a direct guest goes away under it, its IDT with it: 100 times to another of two NUMA
# nodes and back, as the kernel's balancing and compaction do. The guest keeps all its gates.
. /tiny.sh
mods kvm-amd
insmod /exitless_kvm.ko || fail "the module does not load"
check "there are two NUMA nodes" [ -d /sys/devices/system/node/node1 ]
tiny_start
tell move 20
check "stock: 20 interrupts while its memory moves ($ANSWER)" [ "${ANSWER% *}" = "taken 20" ]
on
kicks "direct"
tell move 100
sed 's/^/NOTE: /' $CTL
check "100 interrupts while its memory moves ($ANSWER)" [ "${ANSWER% *}" = "taken 100" ]
check "its IDT moved, too" [ "${ANSWER#*idt=}" -ge 10 ]
check "some entries were stock, as it was away" [ "$(stat entries_unusable-idt)" -gt 0 ]
kicks "after that"
check "after that: it is direct" patiently is why direct
selftest "after that"
off
kicks "stock again"
vectors_check
tiny_end
check "the module unloads" rmmod exitless_kvm
