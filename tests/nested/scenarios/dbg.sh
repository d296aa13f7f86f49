mods kvm-amd
ls -la /l2x /l2/initrd
l2_start && {
	ls -la /tmp/initrd
	l2 "insmod /exitless_guest.ko; echo ST \$?; ls -la /exitless_guest.ko; ls /; dmesg | tail -5"
	l2 "insmod /exitless_guest.ko ipi=1; echo ST \$?; dmesg | tail -5"
	tail -40 /tmp/l2.out
	l2_stop
}
fail dbg
