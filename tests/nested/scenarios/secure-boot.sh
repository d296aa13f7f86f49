# SPDX-License-Identifier: BSD-2-Clause
# Secure Boot, and so a locked-down kernel: it takes our module if it is signed by a key that the
# machine's owner has enrolled, and not otherwise; and the module does there what it does elsewhere.
. /tiny.sh

mount -t securityfs s /sys/kernel/security
insmod /efivarfs.ko
mount -t efivarfs e /sys/firmware/efi/efivars
check "Secure Boot is on" sh -c "dmesg | grep -q 'secureboot: Secure boot enabled'"
check "the kernel is locked down" grep -qF '[integrity]' /sys/kernel/security/lockdown
mods kvm-amd
check "kvm is signed by Debian" [ -e /sys/module/kvm_amd ]
refused /exitless_kvm.ko "unsigned module"
refused /signed.ko "module with unavailable key"

exitless doctor >/tmp/doctor
sed 's/^/NOTE: /' /tmp/doctor
check "doctor: Secure Boot" grep -q "Secure Boot on; modules must be signed" /tmp/doctor

check "the module with the owner's key loads" insmod /trusted.ko
tiny_start
kicks stock
on
kicks direct
check "entries are direct" patiently above 0 entries_direct
selftest "under lockdown"
off
kicks "stock again"
echo "on pid=$TINY vcpu=0 cpu=$CPU timer=1" >$CTL || fail "on, with the timer"
mode count
check "the timer is the guest's" patiently is timer 1
off
vectors_check
tiny_end
check "the module unloads" rmmod exitless_kvm
