#!/usr/bin/python3
# SPDX-License-Identifier: BSD-2-Clause
"""The unit under systemd: a start, a reload, a kill, a hang and a stop."""

import os
import shutil
import subprocess
import tempfile
import unittest

from daemon_case import EXITLESS, EXITLESSD, TOP, main

CONFIG = """// As a service.
{ "machines": [ { "name": "vm1", "devices": [ { "name": "net0" } ] } ] }
"""
# What systemd is to start besides; it says what it sees, and ends it all.
TEST_UNIT = """[Unit]
DefaultDependencies=no
[Service]
Type=oneshot
ExecStart=/bin/sh /mnt/test.sh
StandardOutput=file:/mnt/result
StandardError=file:/mnt/errors
"""
TARGET = "[Unit]\nWants=test.service\n"
# Nothing of a system is there.
ALONE = "[Unit]\nDefaultDependencies=no\n[Service]\nStandardError=append:/mnt/log\n"
TEST = """
show() { systemctl show exitlessd -p "$1" --value; }
# waits until systemd has started it again
until_again() { n=0; until [ "$(show NRestarts)" != 0 ] && [ "$(show ActiveState)" = active ]; do
	n=$((n + 1)); [ $n -lt 600 ] || { echo "it is $(show ActiveState)"; break; }; sleep 0.1; done; }
tell() { echo "$1: $(show ActiveState) $(exitless status --json | grep -c '"pid": '"$(show MainPID),")"; }
echo began
systemctl start exitlessd && tell started
ls /run/exitless
systemctl reload exitlessd && tell reloaded
until grep -q "is what runs" /mnt/log; do sleep 0.1; done
systemctl kill -s KILL exitlessd
until_again; tell killed
mkdir -p /run/systemd/system/exitlessd.service.d
printf '[Service]\\nWatchdogSec=5\\n' >/run/systemd/system/exitlessd.service.d/watchdog.conf
systemctl daemon-reload && systemctl restart exitlessd && tell restarted
kill -STOP "$(show MainPID)"
until_again; tell hung
systemctl stop exitlessd
echo "stopped: $(show ActiveState) $(show Result)"
ls /run/exitless
echo ended
systemctl poweroff -ff
"""
EXPECTED = ["began", "started: active 1", "exitless.sock", "vm1-net0.sock", "reloaded: active 1",
            "killed: active 1", "restarted: active 1", "hung: active 1",
            "stopped: inactive success", "ended"]


class Service(unittest.TestCase):
    def setUp(self):
        if os.getuid():
            self.skipTest("only root can start systemd")
        self.dir = tempfile.mkdtemp(prefix="exitless-test-")
        self.addCleanup(shutil.rmtree, self.dir)

    def write(self, name, text):
        path = os.path.join(self.dir, name)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "w") as f:
            f.write(text)

    def read(self, name):
        try:
            with open(os.path.join(self.dir, name)) as f:
                return f.read()
        except FileNotFoundError:
            return ""

    def test_life(self):
        with open(os.path.join(TOP, "systemd", "exitlessd.service.in")) as f:
            unit = f.read().replace("@sbindir@", "/usr/local/sbin")
        for name, text in (("exitlessd.service", unit), ("exitlessd.service.d/test.conf", ALONE),
                           ("test.service", TEST_UNIT), ("test.target", TARGET)):
            self.write("files/etc/systemd/system/" + name, text)
        self.write("files/etc/exitless/exitless.json", CONFIG)
        self.write("test.sh", TEST)
        for program, folder in ((EXITLESSD, "sbin"), (EXITLESS, "bin")):
            path = os.path.join(self.dir, "files/usr/local", folder, os.path.basename(program))
            os.makedirs(os.path.dirname(path), exist_ok=True)
            shutil.copy(program, path)
        script = os.path.join(os.path.dirname(os.path.abspath(__file__)), "systemd_root.sh")
        done = subprocess.run([script, self.dir], text=True, timeout=240, stdin=subprocess.DEVNULL,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        said = self.read("result").splitlines()
        if not said:  # systemd itself does not get that far here
            self.skipTest("no systemd here: status %d %s" % (done.returncode, done.stdout))
        self.assertEqual(said, EXPECTED, self.read("errors") + self.read("log"))


if __name__ == "__main__":
    main()
