# SPDX-License-Identifier: BSD-2-Clause
"""libvirt of Debian 13 from the private tree, in namespaces of its own.

Files that its programs write outside of the test's directory go into a layer over the tree that ends
with them.
"""

import os
import subprocess

from .process import run
from .vm import TOP

PACKAGES = ["qemu-system-x86/trixie-backports", "libvirt-daemon-driver-qemu", "libvirt-clients",
            "libxml2-utils"]
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
        return ["unshare", "--mount", "--pid", "--fork", "--kill-child", "--propagation", "private",
                "sh", "-c", ENTER, "sh", self.tree, top, self.directory, "/usr/bin/env",
                "PATH=/usr/sbin:/usr/bin", "LC_ALL=C", *argv]

    def available(self):
        """Whether such namespaces and layers can be made here."""
        return not subprocess.run(self.argv("true"), stdout=subprocess.DEVNULL,
                                  stderr=subprocess.DEVNULL).returncode

    def validate(self, xml_file):
        """Check a domain against libvirt's schema."""
        run(self.argv("virt-xml-validate", xml_file, "domain"))
