# SPDX-License-Identifier: BSD-2-Clause
# Live migration of a direct guest, whose timer is its own, from one CPU and VMM to another, and nobody
# switches direct mode off before. Its entries are stock as soon as its memory is logged, and its
# timer KVM's; on the other side it goes on, and is direct there.
NET="-netdev user,id=n0 -device virtio-net-pci,netdev=n0,romfile=,disable-legacy=on"
L2_NIC="virtio_pci virtio_net"
# monitor NAME: the arguments of one that reads /tmp/NAME.in; what it says goes to /tmp/NAME.log
monitor()
{
	mkfifo "/tmp/$1.in" "/tmp/$1.out"
	cat "/tmp/$1.out" >"/tmp/$1.log" &
	MONITOR="-chardev pipe,id=m,path=/tmp/$1 -mon chardev=m,mode=readline"
}
# of the vCPU that is direct now; is NAME VALUE
migrated()
{
	echo "info migrate" >/tmp/source.in
	grep -q "tatus:[[:space:]]*completed" /tmp/source.log
}
mods kvm-amd
exits_setup
insmod /exitless_kvm.ko || fail "the module does not load"
monitor source
# shellcheck disable=SC2086 # words
l2_start $NET $MONITOR && {
	SOURCE=$QEMU
	check "L2's network answers" l2_net
	l2_async "(while :; do ping -q -c 50 -i 0.02 10.0.2.2; done) >/tmp/ping & P=\$!;" \
		"cyclictest -q -m -p 90 -i 2000 -h 20000 >/tmp/cyclic & C=\$!"
	l2_wait 60
	direct_on
	check "the timer is the guest's" patiently is timer 1
	check "entries are direct" patiently above 100 entries_direct
	ticks_begin

	monitor destination
	CPU=2
	# shellcheck disable=SC2086
	l2_qemu /tmp/l2b.in $NET $MONITOR -incoming unix:/tmp/migration
	fifo_open 7 '>' /tmp/l2b.in
	check "there is a VMM to go to" patiently [ -S /tmp/migration ]
	pin
	sed 's/^/NOTE: before: /' $CTL
	echo "migrate_set_parameter max-bandwidth 30M" >/tmp/source.in
	echo "migrate -d unix:/tmp/migration" >/tmp/source.in
	check "its memory is logged: entries are stock" patiently is why dirty-log
	check "and its timer is KVM's" patiently is timer 0
	sed 's/^/NOTE: on its way: /' $CTL
	i=0
	until migrated || [ $i -gt 300 ]; do
		i=$((i + 1))
		sleep 0.5
	done
	check "it has migrated" migrated
	note "$(tr -d '\r' </tmp/source.log | grep -i '^ *\(status\|time\|total time\|downtime\)' | tail -n 2 | tr -s '\n\t ' ' ')"
	echo quit >/tmp/source.in
	exec 9>&7 7>&-
	wait $SOURCE
	check "the guest answers there" l2 true
	check "nothing is left of the first one" patiently sh -c "! grep -q '^vcpu' $CTL"
	direct_on
	check "its timer is its own again" patiently is timer 1
	check "its entries are direct there" patiently above 100 entries_direct
	l2 "sleep 3"
	sed 's/^/NOTE: after: /' $CTL
	ticks_end "through it all"
	ticks_check "through it all" 5
	l2 "kill \$P; kill -INT \$C; wait; tail -n 4 /tmp/ping"
	l2_value "awk '/received/ { sent += \$1; got += \$4; last = \$4 } END { print sent, got, last }' /tmp/ping;" \
		"grep '^# Total' /tmp/cyclic"
	note "pings sent, received, of the last 50: $VALUE"
	check "the network goes on" sh -c "set -- $VALUE; [ \$3 = 50 ] && [ \$((\$1 - \$2)) -le 5 ]"
	direct_off
	l2_stop
}
check "the module unloads" rmmod exitless_kvm
