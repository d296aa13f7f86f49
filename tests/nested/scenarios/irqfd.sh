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
SENT=$(stat line_sent) FELL=$(stat line_fell)
exits_begin
tell kick 10000
exits_end direct
SENT=$(($(stat line_sent) - SENT)) FELL=$(($(stat line_fell) - FELL))
note $(cat $CTL)
check "direct: 10000 interrupts ($ANSWER), $(all direct) exits" [ "$ANSWER" = "taken 10000" ]
check "by IPI, but for $((10000 - SENT))" [ $SENT -ge 8000 ]
# Of all exits those are the host's own that hand back an interrupt of it (77), its tick say, or
# are the watchdog's NMI (97) for one that waited. While it took that, the vCPU did not run, and an
# interrupt fell to the host; KVM may have injected that one, which costs three exits at most.
OWN=$(awk '$1 == 77 || $1 == 97 { n += $2 } END { print n + 0 }' /tmp/direct)
OUT=$((FELL + 10000 - SENT)) THEIRS=$(($(all direct) - OWN))
note "$OUT came while the vCPU was out of the guest, $OWN exits are the host's own, $THEIRS others"
HOST=$(sed -n 's/^route .* host=\([^ ]*\).*/\1/p' $CTL)
check "none of their vector ($HOST) was handed back" sh -c "! grep -q ' vector_$HOST=' $CTL"
check "nearly all came while the vCPU ran" [ $OUT -le 2000 ]
check "and these cost no exit" [ $THEIRS -le $((OUT * 3)) ]
off
tell kick 20
check "stock again ($ANSWER)" [ "$ANSWER" = "taken 20" ]
vectors_check

# The guest's timer must count as the hardware's, or the guest is told wrong times: ERANGE.
timer_on() { sh -c "echo 'on pid=$TINY vcpu=0 cpu=$CPU timer=1' >$CTL" 2>/tmp/err; }
check "a timer of the hardware's frequency" timer_on
tell kick 20
check "interrupts with it ($ANSWER)" [ "$ANSWER" = "taken 20" ]
check "direct with it" patiently is why direct
off
tiny_end
tiny_start bus=7
if timer_on; then fail "another frequency is refused"; else pass "another frequency is refused"; fi
note "$(cat /tmp/err)"
check "as out of range" grep -q "result out of range" /tmp/err
check "and told" sh -c "dmesg | grep -q 'a guest takes 7 ns for a count'"
check "nobody is direct by that" [ -z "$(stat why)" ]
on
tell kick 20
check "interrupts, but for the timer ($ANSWER)" [ "$ANSWER" = "taken 20" ]
check "direct, but for the timer" patiently is why direct
tiny_end
check "the module unloads" rmmod exitless_kvm
