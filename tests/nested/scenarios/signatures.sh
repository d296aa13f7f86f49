# SPDX-License-Identifier: BSD-2-Clause
# A kernel that takes only modules signed by a key it trusts: neither ours without a signature, nor
# signed by a key that was not enrolled. The command says what is to be done.

# refused MODULE WHY: the kernel does not take it, and says so
refused()
{
	dmesg -c >/dev/null
	check "the kernel refuses $1" sh -c "! insmod $1 2>/tmp/insmod"
	note "insmod: $(cat /tmp/insmod)"
	note "dmesg: $(dmesg)"
	check "and says why: $2" sh -c "dmesg | grep -q 'Loading of $2 is rejected'"
	check "there is no module" [ ! -e /sys/module/exitless_kvm ]
}
check "signatures are enforced" [ "$(cat /sys/module/module/parameters/sig_enforce)" = Y ]
mods kvm-amd
check "kvm is signed by Debian" [ -e /sys/module/kvm_amd ]
refused /exitless_kvm.ko "unsigned module"
refused /signed.ko "module with unavailable key"
exitless doctor >/tmp/doctor
sed 's/^/NOTE: /' /tmp/doctor
check "doctor: they must be signed" grep -q "modules must be signed" /tmp/doctor
check "doctor: how to enrol the key" grep -q "mokutil --import /var/lib/dkms/mok.pub" /tmp/doctor
