# SPDX-License-Identifier: BSD-2-Clause
# A kernel that takes only modules signed by a key it trusts: neither ours without a signature, nor
# signed by a key that was not enrolled. The command says what is to be done.
check "signatures are enforced" [ "$(cat /sys/module/module/parameters/sig_enforce)" = Y ]
mods kvm-amd
check "kvm is signed by Debian" [ -e /sys/module/kvm_amd ]
refused /exitless_kvm.ko "unsigned module"
refused /signed.ko "module with unavailable key"
exitless doctor >/tmp/doctor
sed 's/^/NOTE: /' /tmp/doctor
check "doctor: they must be signed" grep -q "modules must be signed" /tmp/doctor
check "doctor: how to enrol the key" grep -q "mokutil --import /var/lib/dkms/mok.pub" /tmp/doctor
