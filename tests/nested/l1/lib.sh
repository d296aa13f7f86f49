# SPDX-License-Identifier: BSD-2-Clause
# What scenarios are made of. L1's shell is busybox's.
T=/sys/kernel/tracing
CPU=1			# the dedicated one
CTL=/dev/exitless_kvm

pass() { echo "PASS: $*"; }
fail() { echo "FAIL: $*"; }
note() { echo "NOTE: $*"; }
# check WHAT TEST...: the test is a command
check()
{
	what=$1
	shift
	if "$@"; then pass "$what"; else fail "$what"; fi
}

# patiently TEST...: until it is so, for half a minute at most. For what takes no time, but on a busy
# machine.
patiently()
{
	tries=0
	until "$@"; do
		tries=$((tries + 1))
		[ $tries -lt 300 ] || return 1
		sleep 0.1
	done
}

# refused MODULE WHAT: the kernel does not take our module, and says so
refused()
{
	dmesg -c >/dev/null
	check "the kernel refuses $1" sh -c "! insmod $1 2>/tmp/insmod"
	note "insmod: $(cat /tmp/insmod)"
	note "dmesg: $(dmesg)"
	check "and says why: $2" sh -c "dmesg | grep -q 'Loading of $2 is rejected'"
	check "there is no module" [ ! -e /sys/module/exitless_kvm ]
}

# selftest WHEN: the host module's own
selftest()
{
	cat /sys/kernel/debug/exitless_kvm/selftest >/tmp/selftest
	sed -n "s/^not ok/FAIL: self-test $1: &/p" /tmp/selftest
	note "self-test $1: $(grep -c '^ok' /tmp/selftest) passed," \
		"of these skipped: $(grep '# SKIP' /tmp/selftest | cut -d' ' -f3- | tr '\n' ';')"
	check "self-test $1" grep -q '^# 0 failed' /tmp/selftest
}

mods()
{
	for m in "$@"; do
		while read -r ko; do
			insmod "/mod/$ko" 2>/dev/null
		done <"/mod/$m.order"
	done
}

# Finds the NIC, or makes a VF of it; the PCI address is then in $DEVICE.
nic_find()
{
	mods "$NIC" vfio-pci vfio_iommu_type1 kvm-amd
	exits_setup
	for d in /sys/bus/pci/devices/*; do
		case $(cat "$d/device") in
		0x10d3 | 0x10c9) DEVICE=${d##*/} ;;
		esac
	done
	L2_NIC=$NIC
	if [ "$NIC" = igb ]; then
		echo 2 >"/sys/bus/pci/devices/$DEVICE/sriov_numvfs"
		ip link set "$(ls "/sys/bus/pci/devices/$DEVICE/net")" up
		DEVICE=$(basename "$(readlink "/sys/bus/pci/devices/$DEVICE/virtfn0")")
		L2_NIC=igbvf
		sleep 2
	fi
}

# The same, and gives it to vfio.
nic_setup()
{
	nic_find
	d=/sys/bus/pci/devices/$DEVICE
	echo vfio-pci >"$d/driver_override"
	[ ! -e "$d/driver" ] || echo "$DEVICE" >"$d/driver/unbind"
	echo "$DEVICE" >/sys/bus/pci/drivers_probe
	case $(readlink "$d/driver") in
	*vfio-pci) ;;
	*) fail "vfio-pci did not take $DEVICE" ;;
	esac
}

# fifo_open N MODE FIFO: descriptor N, as exec N<FIFO or exec N>FIFO do. That waits for the other side,
# and the end of some earlier child ends the wait, and with it the shell.
fifo_open()
{
	until eval "command exec $1$2\"\$3\"" 2>/dev/null; do
		[ -p "$3" ] || return 1
	done
}

# l2_qemu FIFO [QEMU-ARGUMENT]...: the VMM, $QEMU, whose guest has its serial line from there and to
# /tmp/l2.out
l2_qemu()
{
	rm -f "$1"
	mkfifo "$1"
	IN=$1
	shift
	IN=$IN sh -c 'exec qemu-system-x86_64 -L /usr/share/qemu -name l2,debug-threads=on -accel kvm \
		-machine q35,kernel_irqchip=on \
		-cpu host,kvm-pv-eoi=off,monitor=off,tsc-deadline=off \
		-m 512 -smp '"${VCPUS:-1}"' -nodefaults -no-user-config -display none -serial stdio \
		-no-reboot -kernel /l2/kernel -initrd /tmp/initrd \
		-append "console=ttyS0 quiet panic=-1 '"${L2_APPEND:-}"'" \
		-overcommit cpu-pm='"${PM:-on}"' "$@" <"$IN" >>/tmp/l2.out 2>&1' l2 "$@" &
	QEMU=$!
}

# l2_start [QEMU-ARGUMENT]...: starts the guest and waits for its shell. $VCPUS, $PM: defaults
# 1 and on (the guest halts by itself). The guest also has what is in /l2x.
l2_start()
{
	[ -e /tmp/initrd ] || {
		cat /l2/initrd
		# The kernel wants the next archive at a multiple of four.
		head -c $((-$(stat -c %s /l2/initrd) & 3)) /dev/zero
		cd /l2x && find . | cpio -o -H newc
		cd /
	} >/tmp/initrd
	rm -f /tmp/l2.out
	: >/tmp/l2.out
	l2_qemu /tmp/l2.in "$@"
	fifo_open 9 '>' /tmp/l2.in
	N_DONE=0
	# Before it boots: on isolated CPUs the scheduler spreads nothing, and vCPUs that halt without an
	# exit give up nothing, so that all of them would share CPU 0 with the rest of L1.
	[ -n "${NO_PIN:-}" ] || { patiently vcpus_there && pin; }
	i=0
	while ! grep -q 'L2 READY' /tmp/l2.out; do
		i=$((i + 1))
		if [ $i -gt 600 ] || ! kill -0 $QEMU 2>/dev/null; then
			cat /tmp/l2.out
			fail "L2 does not boot"
			return 1
		fi
		sleep 1
	done
	[ -n "${NO_PIN:-}" ] || pin
}

# QEMU has all its vCPUs' threads.
vcpus_there() { [ "$(cat /proc/$QEMU/task/*/comm | grep -c '^CPU ')" = "${VCPUS:-1}" ]; }

# Puts vCPU n on CPU n + 1, and the rest of QEMU on CPU 0.
pin()
{
	for t in /proc/$QEMU/task/*; do
		case $(cat "$t/comm") in
		CPU\ *)
			n=$(sed 's/CPU \([0-9]*\).*/\1/' "$t/comm")
			taskset -p "$(printf %x $((1 << (n + CPU))))" "${t##*/}" >/dev/null
			;;
		*) taskset -p 1 "${t##*/}" >/dev/null ;;
		esac
	done
}

# The device's host interrupts go to their vCPU's CPU.
irqs_to_cpu()
{
	n=0
	for i in $(grep vfio /proc/interrupts | cut -d: -f1); do
		echo $((CPU + n % ${VCPUS:-1})) >/proc/irq/$i/smp_affinity_list
		n=$((n + 1))
	done
}

# The guest's interrupts go around its vCPUs, and the host's to the CPUs of these. A guest may move
# one only when it comes, so look where it has them.
irqs_spread()
{
	l2 "k=0; for i in \$(grep eth0 /proc/interrupts | cut -d: -f1); do" \
		"echo \$((k % $VCPUS)) >/proc/irq/\$i/smp_affinity_list; k=\$((k + 1)); done;" \
		"ping -q -c 10 -i 0.02 10.0.2.2"
	l2_value "for i in \$(grep eth0 /proc/interrupts | cut -d: -f1); do" \
		"cat /proc/irq/\$i/effective_affinity_list; done"
	# shellcheck disable=SC2086 # words
	set -- $VALUE
	for i in $(grep vfio /proc/interrupts | cut -d: -f1); do
		echo $((CPU + $1)) >/proc/irq/$i/smp_affinity_list
		shift
	done
}

# direct_on [WORD]...; direct_off
direct_on()
{
	n=0
	while [ $n -lt "${VCPUS:-1}" ]; do
		echo "on pid=$QEMU vcpu=$n cpu=$((CPU + n)) timer=1 $*" >$CTL || fail "on $n"
		n=$((n + 1))
	done
}
direct_off() { echo "off pid=$QEMU" >$CTL || fail "off"; }

# ctl NAME: of the module's line for the vCPU
ctl()
{
	sed -n "s/^vcpu .* $1=\([^ ]*\).*/\1/p" $CTL
}

# is NAME VALUE; above VALUE NAME: of the same, for patiently
is() { [ "$(ctl "$1")" = "$2" ]; }
above() { [ "$(ctl "$2")" -gt "$1" ]; }

# l2_async COMMAND; l2_wait [SECONDS]
l2_async()
{
	echo "$*" >&9
	N_DONE=$((N_DONE + 1))
}
l2_wait()
{
	i=0
	# with the character behind the number, which may still be on its way
	while [ "$(grep -c 'L2 DONE [0-9][0-9]*[^0-9]' /tmp/l2.out)" -lt $N_DONE ]; do
		i=$((i + 1))
		if [ $i -gt $((${1:-60} * 5)) ] || ! kill -0 $QEMU 2>/dev/null; then
			tail -n 30 /tmp/l2.out
			fail "L2 does not answer"
			return 1
		fi
		sleep 0.2
	done
	grep 'L2 DONE' /tmp/l2.out | tail -n 1 | grep -q 'DONE 0'
}
# l2 COMMAND: run it in the guest and wait; its status
l2()
{
	l2_async "$@"
	l2_wait 300
}
# l2_value COMMAND: its output, as one line, into $VALUE
l2_value()
{
	l2 "echo VALUE \$($*)"
	VALUE=$(grep '^VALUE' /tmp/l2.out | tail -n 1 | tr -d '\r' | sed 's/^VALUE //')
}

# net_back: until L2's network answers, for half a minute at least
net_back()
{
	i=0
	until l2 "ping -q -c 1 -W 1 10.0.2.2 | grep ' 0%'"; do
		i=$((i + 1))
		[ $i -lt 60 ] || return 1
		sleep 0.5
	done
}

l2_net()
{
	l2 "mods $L2_NIC; ip link set eth0 up; ip addr add 10.0.2.50/24 dev eth0; sleep 3"
	net_back && l2 "ping -q -c 3 -i 0.2 10.0.2.2"
}

# echoes: into $VALUE the echo requests that L2 has sent and the answers that came, by its kernel: a
# ping that is too busy for what is there for it counts that as lost
echoes()
{
	l2_value "awk '/^Icmp:/ { for (i = 2; i <= NF; i++) {" \
		"if (name[i] == \"OutEchos\") out = \$i; if (name[i] == \"InEchoReps\") back = \$i;" \
		"name[i] = \$i } } END { print out, back }' /proc/net/snmp"
}
# pings_begin; pings_end NAME NUMBER: so many at least have left since, and each was answered
pings_begin()
{
	echoes
	PINGED=$VALUE
}
pings_answered()
{
	echoes
	SENT=$((${VALUE% *} - ${PINGED% *}))
	[ $((${VALUE#* } - ${PINGED#* })) -ge $SENT ]
}
pings_end()
{
	patiently pings_answered
	check "$1: $2 pings have left ($SENT)" [ $SENT -ge "$2" ]
	check "$1: no ping is lost" [ $((${VALUE#* } - ${PINGED#* })) = $SENT ]
}
# pinged NUMBER COMMAND: so many at least leave as L2 does that, and each is answered
pinged()
{
	n=$1
	shift
	pings_begin
	l2 "$@"
	patiently pings_answered
	[ $SENT -ge "$n" ] && [ $((${VALUE#* } - ${PINGED#* })) = $SENT ]
}

# ticks_begin; ticks_end NAME: each programming of the guest's timer and each interrupt of it is
# traced in the guest meanwhile, and looked at by ticks.awk: $TICKS, $LOST, $DOUBLED, $ROW,
# $STUCK, $LATE
ticks_begin()
{
	l2 "mount -t tracefs t $T 2>/dev/null; cd $T; echo 40000 >buffer_size_kb;" \
		"echo 'p:ex/arm lapic_next_event delta=%di:u32' >kprobe_events; echo >trace;" \
		"echo 1 >events/ex/arm/enable; echo 1 >events/irq_vectors/local_timer_entry/enable; cd /"
}
ticks_end()
{
	l2_value "cd $T; echo 0 >tracing_on; echo 0 >events/irq_vectors/local_timer_entry/enable;" \
		"echo 0 >events/ex/arm/enable; awk -f /ticks.awk trace; cat per_cpu/cpu*/stats | grep overrun;" \
		"echo >trace; echo >kprobe_events; echo 1 >tracing_on; cd /"
	note "$1: $VALUE"
	LOST=${VALUE#*lost=} DOUBLED=${VALUE#*doubled=} TICKS=${VALUE#*ticks=} STUCK=${VALUE#*stuck=}
	ROW=${VALUE#*row=} ROW=${ROW%% *} LATE=${VALUE#*late=} LATE=${LATE%% *}
	LOST=${LOST%% *} DOUBLED=${DOUBLED%% *} TICKS=${TICKS%% *} STUCK=${STUCK%% *}
	check "$1: the trace is whole" sh -c "case '$VALUE' in *strange=0*) ;; *) exit 1 ;; esac
		case '$VALUE' in *overrun:\ [1-9]*) exit 1 ;; esac"
}

# ticks_goes NAME: after ticks_end; it ticks
ticks_goes()
{
	check "$1: the timer ticked" [ "$TICKS" -gt 100 ]
	check "$1: it never stood still" [ "$STUCK" = 0 ]
}

# ticks_check NAME MOST: after ticks_end; so many may be lost or doubled (a late one is as good as both),
# apart from those that stock KVM loses, on a busy machine above all
ticks_check()
{
	ticks_goes "$1"
	check "$1: of $TICKS ticks few are lost, doubled or late ($LOST, $DOUBLED, $LATE)" \
		[ $((LOST + DOUBLED + 2 * LATE)) -le $(($2 + TICKS / 500)) ]
	check "$1: never two in a row" [ "$ROW" -le 1 ]
}

l2_stop()
{
	l2 "dmesg | grep -E 'BUG:|WARNING:|soft lockup|rcu.*detected|nobody cared|No irq handler'" &&
		{ tail -n 20 /tmp/l2.out; fail "L2's dmesg"; }
	echo "poweroff -f" >&9
	i=0
	while kill -0 $QEMU 2>/dev/null && [ $i -lt 50 ]; do
		sleep 0.2
		i=$((i + 1))
	done
	kill $QEMU 2>/dev/null
	exec 9>&-
	wait $QEMU
}

# exits_begin; exits_end NAME: exits by reason in between, into /tmp/NAME, and interrupts by CPU. The histograms are set
# up once and cleared from then on: patching a tracepoint in or out sends every CPU some IPIs.
EVENTS="kvm_exit:exit_reason kvm_msr:write,ecx"
exits_setup()
{
	for e in $EVENTS; do
		echo "hist:keys=${e#*:}" >>$T/events/kvm/${e%%:*}/trigger
	done
}
# Interrupts of all kinds that each CPU of L1 has taken: lines of CPU and number
interrupts()
{
	awk 'NR == 1 { cpus = NF; next } { for (i = 0; i < cpus; i++) n[i] += $(i + 2) }
		END { for (i = 0; i < cpus; i++) print i, n[i] }' /proc/interrupts
}
exits_begin()
{
	interrupts >/tmp/interrupts
	for e in $EVENTS; do
		echo "hist:keys=${e#*:}:clear" >>$T/events/kvm/${e%%:*}/trigger
	done
}
exits_end()
{
	grep hitcount: $T/events/kvm/kvm_exit/hist |
		sed 's/.*exit_reason: *\([0-9]*\).*hitcount: *\([0-9]*\).*/\1 \2/;t;d' >"/tmp/$1"
	grep hitcount: $T/events/kvm/kvm_msr/hist |
		sed 's/.*write: *\([0-9]*\), ecx: *\([0-9]*\).*hitcount: *\([0-9]*\).*/msr\1-\2 \3/;t;d' \
			>>"/tmp/$1"
	sed "s/^/NOTE: $1 exits by reason: /" "/tmp/$1"
	interrupts | awk 'NR == FNR { was[$1] = $2; next } { print $1 ":", $2 - was[$1] }' /tmp/interrupts - |
		sed "s/^/NOTE: $1 interrupts by CPU: /"
}
# exits NAME: those that interrupts and the timer cause: external interrupt (96; 77 is #GP, by
# which a direct vCPU hands one back), NMI (97), interrupt window (100), HLT (120), and accesses of
# EOI (0x80b), ICR excluded, and timer registers
exits()
{
	awk '$1 == 77 || $1 == 96 || $1 == 97 || $1 == 100 || $1 == 120 { n += $2 }
		$1 ~ /^msr[01]-(2059|2098|2104|2105|2110)$/ { n += $2 }
		END { print n + 0 }' "/tmp/$1"
}
