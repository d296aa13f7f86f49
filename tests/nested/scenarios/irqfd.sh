# SPDX-License-Identifier: BSD-2-Clause
# 10,000 interrupts by an eventfd from a thread of the host, with no device behind it, to a vCPU
# that runs: stock, and direct by one IPI each and no exit.
. /tiny.sh
mods kvm-amd
exits_setup
insmod /exitless_kvm.ko || fail "the module does not load"
all() { awk '/^[0-9]+ [0-9]+$/ { n += $2 } END { print n + 0 }' "/tmp/$1"; }
tiny_start
exits_begin
tell kick 1000
exits_end stock
check "stock: 1000 interrupts ($ANSWER), $(all stock) exits" [ "$ANSWER" = "taken 1000" ]
check "stock exits for each" [ "$(all stock)" -ge 1000 ]
on
tell kick 20
sleep 1
exits_begin
tell kick 10000
exits_end direct
note $(cat $CTL)
check "direct: 10000 interrupts ($ANSWER), $(all direct) exits" [ "$ANSWER" = "taken 10000" ]
# What is left hands an interrupt of the host's own back to it: its tick, once a second.
OWN=$(awk '$1 == 77 { n += $2 } END { print n + 0 }' /tmp/direct)
check "none of the $(all direct) exits is theirs" [ "$(all direct)" = "$OWN" ]
check "by IPI" [ "$(stat line_sent)" -ge 10000 ]
off
tell kick 20
check "stock again ($ANSWER)" [ "$ANSWER" = "taken 20" ]
vectors_check
tiny_end
check "the module unloads" rmmod exitless_kvm
