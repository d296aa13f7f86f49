# SPDX-License-Identifier: BSD-2-Clause
# A guest with two vCPUs, switched on and off by the command in each of its ways, and from inside by the
# guest module, whose statistics it reads.
# vcpus NAME: of the module's lines, one word for each vCPU that is on
vcpus() { sed -n "s/^vcpu .* $1=\([^ ]*\).*/\1/p" $CTL | xargs; }
# direct WORD...: the command, its output kept
direct()
{
	exitless direct "$@" >/tmp/direct 2>&1 || { cat /tmp/direct; return 1; }
}
pings()
{
	pinged 200 "for c in 0 1; do taskset -c \$c ping -q -c 100 -i 0.02 10.0.2.2 >/dev/null & done; wait"
}
are() { [ "$(vcpus "$1")" = "$2" ]; }
registered() { l2_value "cat /sys/kernel/exitless/registered" && [ "$VALUE" = "$1" ]; }

nic_setup
insmod /exitless_kvm.ko || fail "the module does not load"
l2_start -device "vfio-pci,host=$DEVICE" && {
	check "L2's network answers" l2_net
	irqs_spread
	check "the guest module loads" l2 "insmod /exitless_guest.ko ipi=1"
	check "no host there: nothing is registered" registered 0

	check "on" direct on l2 --seconds 0
	check "on: every vCPU has its shadow IDT" patiently registered 2
	check "on: no ping is lost" pings
	check "on: both, the timer KVM's, IPIs by exits ($(vcpus timer), $(vcpus ipi))" \
		[ "$(vcpus timer) $(vcpus ipi)" = "0 0 0 0" ]
	check "on: entries were direct ($(vcpus entries_direct))" \
		sh -c "for n in $(vcpus entries_direct); do [ \$n -gt 100 ] || exit 1; done"
	check "status" direct status l2 --seconds 1
	sed 's/^/NOTE: /' /tmp/direct
	check "status: both on, why not" [ "$(grep -c "^ *[01] *[12] *on .* KVM's " /tmp/direct)" = 2 ]
	check "status in JSON" sh -c "exitless --json direct status l2 --seconds 0 | grep -q direct_percent"
	check "on twice is refused" sh -c "! exitless direct on l2 --seconds 0 2>/tmp/err"
	note "$(cat /tmp/err)"
	check "off" direct off l2 --seconds 0
	check "off: none is" are index ""
	check "off: no ping is lost" pings

	check "on, one vCPU, its timer" direct on l2 --vcpu 1 --timer --seconds 0
	check "one vCPU: it has its shadow IDT" patiently registered 1
	check "one vCPU: no ping is lost" pings
	check "one vCPU: that one" are index 1
	check "one vCPU: its timer" are timer 1
	direct status l2 --seconds 0
	check "one vCPU: the other is off" grep -q '^ *0 *- *off' /tmp/direct
	check "off, the one" direct off l2 --vcpu 1 --seconds 0
	check "off, the one: none is" are index ""
	check "a vCPU that there is not is refused" sh -c "! exitless direct on l2 --vcpu 2 2>/dev/null"

	check "on, timer and IPIs" direct on l2 --timer --ipi --seconds 2
	sed 's/^/NOTE: /' /tmp/direct
	check "all: every vCPU has its shadow IDT" patiently registered 2
	check "all: no ping is lost" pings
	check "all: the guest sends IPIs itself" patiently are ipi "1 1"
	check "all: the timer is the guest's" are timer "1 1"
	sed 's/^/NOTE: /' $CTL

	# vCPU 1 sends IPIs and waits for each, by a table that is for its CPU, and is not always there.
	l2_async "taskset -c 1 sh -c 'i=0; while [ \$i -lt 4000 ]; do" \
		"read -r x </sys/kernel/exitless/cpu0/state; i=\$((i + 1)); done'"
	THREAD=$(grep -l 'CPU 1/KVM' /proc/$QEMU/task/*/comm | cut -d/ -f5)
	i=0
	while [ $i -lt 20 ]; do
		taskset -cp 0 "$THREAD" >/dev/null || fail "the thread does not move"
		sleep 0.05
		taskset -cp 2 "$THREAD" >/dev/null || fail "the thread does not move back"
		sleep 0.05
		i=$((i + 1))
	done
	check "all: IPIs arrive from wherever its thread is" l2_wait 120
	check "all: after that they are registered again" patiently registered 2
	check "all: and the guest sends them itself" patiently are ipi "1 1"

	l2_value "cd /sys/kernel/exitless; grep -H . cpu*/* enabled registered"
	note "in the guest: $VALUE"
	echo "$VALUE" | tr ' ' '\n' >/tmp/sysfs
	check "the guest counts ticks taken directly, by vCPU" [ "$(grep -c '/ticks:[1-9]' /tmp/sysfs)" = 2 ]
	check "and interrupts" grep -q '/interrupts:[1-9][0-9][0-9]' /tmp/sysfs
	check "and sees its timers" [ "$(grep -c '/timer:1' /tmp/sysfs)" = 2 ]

	check "the guest disables" l2 "echo 1 >/sys/kernel/exitless/disable"
	check "no vCPU is direct, as it wishes" patiently are why "guest-off guest-off"
	l2_value "cat /sys/kernel/exitless/enabled /sys/kernel/exitless/cpu*/state | sort | uniq"
	check "the guest sees it ($VALUE)" [ "$VALUE" = "0 off" ]
	BEFORE=$(vcpus entries_direct)
	check "disabled: no ping is lost" pings
	check "disabled: no entry was direct" are entries_direct "$BEFORE"
	check "the guest enables" l2 "echo 1 >/sys/kernel/exitless/enable"
	check "every vCPU has its shadow IDT again" patiently registered 2
	check "enabled: no ping is lost" pings
	check "enabled: entries are direct ($BEFORE, then $(vcpus entries_direct))" \
		sh -c "set -- $BEFORE $(vcpus entries_direct); [ \$3 -gt \$1 ] && [ \$4 -gt \$2 ]"
	check "the guest module unloads" l2 "rmmod exitless_guest"
	check "without it they are stock" patiently are why "shared-idt shared-idt"
	check "unloaded: no ping is lost" pings
	check "off at last" direct off l2 --seconds 0
	l2_stop
}
check "the module unloads" rmmod exitless_kvm
