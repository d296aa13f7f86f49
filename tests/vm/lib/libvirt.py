# SPDX-License-Identifier: BSD-2-Clause
"""libvirt of Debian 13 from the private tree, with its own QEMU, in namespaces of its own.

virt-qemu-run starts a domain by the driver that libvirtd has, without a daemon. Files that it and
the driver write outside of the test's directory go into a layer over the tree that ends with it.
"""

import os
import shlex
import socket
import subprocess

from .process import Failure, run, spawn
from .vm import EMULATED, TOP, VM, guest_image

PACKAGES = ["qemu-system-x86/trixie-backports", "dash", "libvirt-daemon-driver-qemu",
            "libvirt-clients", "libxml2-utils"]
QEMU_CONF = """user = "root"
group = "root"
security_driver = "none"
cgroup_controllers = []
namespaces = []
stdio_handler = "file"
"""
# $1 the tree, $2 an empty directory, $3 the directories to share (with no blanks), the rest is run. The
# shell stays: it is the first process there, and takes orphans away, which libvirt waits for.
ENTER = """
set -e
tree=$1; top=$2; share=$3; shift 3
mount -t tmpfs tmpfs "$top"
mkdir "$top/upper" "$top/work" "$top/root"
mount -t overlay overlay -o "lowerdir=$tree,upperdir=$top/upper,workdir=$top/work" "$top/root"
cd "$top/root"
mkdir -p dev proc sys run tmp etc
mount --rbind /dev dev
mount --rbind /sys sys
mount -t proc proc proc
for d in $share; do mkdir -p ".$d"; mount --bind "$d" ".$d"; done
printf '%s:x:%d:%d::/:/bin/sh\\n' root 0 0 libvirt-qemu 64055 994 >etc/passwd
printf '%s:x:%d:\\n' root 0 kvm 994 libvirt-qemu 64055 >etc/group
chroot . "$@"
"""


# For @needs.
FETCH = "debian-root.sh trixie add " + " ".join(PACKAGES)


class Libvirt:
    """One private place for libvirt, in the directory of a test."""

    def __init__(self, directory):
        script = os.path.join(TOP, "tools", "debian-root.sh")
        run([script, "trixie", "add", *PACKAGES], timeout=600)
        self.tree = run([script, "trixie", "path"]).strip()
        self.directory = directory

    def argv(self, *argv):
        """The command line that runs argv inside."""
        top = os.path.join(self.directory, "libvirt-root")
        os.makedirs(top, exist_ok=True)
        share = " ".join([self.directory, guest_image()])
        return ["unshare", "--mount", "--pid", "--fork", "--kill-child", "--propagation", "private",
                "sh", "-c", ENTER, "sh", self.tree, top, share, "/usr/bin/env",
                "PATH=/usr/sbin:/usr/bin", "LC_ALL=C", *argv]

    def available(self):
        """Whether such namespaces and layers can be made here."""
        return not subprocess.run(self.argv("true"), stdout=subprocess.DEVNULL,
                                  stderr=subprocess.DEVNULL).returncode

    def validate(self, xml_file):
        """Check a domain against libvirt's schema."""
        run(self.argv("virt-xml-validate", xml_file, "domain"))


class Domain(VM):
    """A guest that libvirt runs, from the XML that the exitless command prints."""

    def __init__(self, libvirt, name, xml, log_directory):
        super().__init__(name, libvirt.directory, log_directory=log_directory)
        self.libvirt = libvirt
        self.xml_file = self._path("xml")
        self.console_log = self._path("console.log")
        with open(self.xml_file, "w") as f:
            f.write(self._complete(xml))

    def _complete(self, xml):
        """What a user adds to it: something to boot, and here a serial port to talk over."""
        image = guest_image()
        if self._accel != "kvm":
            xml = xml.replace("<domain type='kvm'", "<domain type='qemu'")
        args = "console=ttyS0 quiet loglevel=5 panic=0 random.trust_cpu=on no_timer_check "
        xml = xml.replace("  </os>\n", "    <kernel>%s/kernel</kernel>\n"
                          "    <initrd>%s/initramfs.cpio</initrd>\n"
                          "    <cmdline>%s</cmdline>\n  </os>\n  <features><acpi/><apic/></features>\n"
                          % (image, image, args + ("" if self._accel == "kvm" else EMULATED)))
        return xml.replace("  <devices>\n", "  <devices>\n"
                           "    <emulator>/usr/bin/qemu-system-x86_64</emulator>\n"
                           "    <serial type='file'><source path='%s'/><target port='0'/></serial>\n"
                           "    <serial type='unix'><source mode='connect' path='%s'/>"
                           "<target port='1'/></serial>\n"
                           % (self.console_log, self._path("agent")))

    def start(self):
        root = self._path("libvirt")
        os.makedirs(os.path.join(root, "etc"))
        with open(os.path.join(root, "etc", "qemu.conf"), "w") as f:
            f.write(QEMU_CONF)
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(self._path("agent"))
        listener.listen(1)
        listener.settimeout(0.2)
        argv = self.libvirt.argv("virt-qemu-run", "--verbose", "--root", root, self.xml_file)
        try:
            with open(self.qemu_log, "a") as f:
                f.write("+ %s\n" % shlex.join(argv))
            self.process = spawn(argv, self.qemu_log)
            self.agent = self._accept(listener)
        except Failure as failure:
            for folder, _, files in os.walk(os.path.join(root, "log")):
                for name in files:
                    with open(os.path.join(folder, name)) as f:
                        print(f.read())
            raise failure
        finally:
            listener.close()
        return self
