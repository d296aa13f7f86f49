#!/usr/bin/python3
# SPDX-License-Identifier: BSD-2-Clause
"""What the daemon gave up at its start."""

import os

from daemon_case import CONFIG, Daemon, main


class Sandbox(Daemon):
    """What the daemon cannot do any more, as the kernel sees it."""

    def start(self, *args, **more):
        super().start(*args, **more)
        self.sandbox = self.cli_json("status")["sandbox"]
        if self.sandbox["landlock"] is None:
            self.skipTest("the kernel has no Landlock")

    def field(self, task, name):
        with open("/proc/%d/task/%s/status" % (self.process.pid, task)) as f:
            return dict(line.rstrip("\n").split(":\t", 1) for line in f if ":\t" in line)[name]

    def test_all_threads_are_in_it(self):
        self.start()
        self.cli("add", "core", "io1")
        tasks = os.listdir("/proc/%d/task" % self.process.pid)
        self.assertGreater(len(tasks), 2)
        for task in tasks:
            self.assertEqual(self.field(task, "Seccomp"), "2")
            self.assertEqual(self.field(task, "NoNewPrivs"), "1")
        self.assertEqual((self.sandbox["files"], self.sandbox["calls"]), ("on", "kill"))
        self.assertRegex(self.cli("status"), r"files limited \(Landlock \d+\), other system calls kill")

    def test_files_elsewhere_are_refused(self):
        self.start()
        secret = self.dir + "/secret"
        said = self.run_cli("add", "port", "p", "kind=pcap", "capture_file=" + secret,
                            status=1).stderr
        self.assertIn("sandbox.paths", said)
        self.assertIn(secret, said)
        said = self.run_cli("add", "device", "vm1/d", "kind=virtio-blk", "model=file",
                            "file=/etc/passwd", status=1).stderr
        self.assertIn("sandbox.paths", said)
        said = self.run_cli("add", "device", "vm1/d", "socket=/tmp/exitless-test-x.sock",
                            status=1).stderr
        self.assertIn("sandbox.paths", said)
        said = self.run_cli("add", "port", "p", "kind=user", "tftp_directory=/etc",
                            status=1).stderr
        self.assertIn("sandbox.paths", said)
        # a file that the daemon may not have made either
        self.assertFalse(os.path.exists(secret))
        self.assertEqual(len(self.devices()), 2)
        # below "paths" all is well
        inside = self.dir + "/more/capture"
        self.cli("add", "port", "p", "kind=pcap", "capture_file=" + inside)
        self.assertTrue(os.path.exists(inside))
        self.cli("add", "device", "vm1/d", "socket=" + self.dir + "/more/d.sock")
        self.cli("remove", "device", "vm1/d")
        self.assertFalse(os.path.exists(self.dir + "/more/d.sock"))

    def test_configured_files_are_allowed_and_no_others(self):
        with open(self.dir + "/image", "wb") as f:
            f.truncate(1 << 20)
        self.write(CONFIG.replace('"name": "vm2", "devices": [', """"name": "vm2", "devices": [
            { "name": "d", "kind": "virtio-blk", "model": "file", "file": "%(dir)s/image" },""")
                   .replace('"kind": "null"', '"kind": "pcap", "capture_file": "%(dir)s/capture"'))
        self.start()
        # away and back again
        self.cli("remove", "device", "vm2/d")
        self.cli("add", "device", "vm2/d", "kind=virtio-blk", "model=file",
                 "file=" + self.dir + "/image")
        self.cli("remove", "port", "out")
        self.cli("add", "port", "out", "kind=pcap", "capture_file=" + self.dir + "/capture")
        # another file of that name is another file: here only the kernel says no
        self.cli("remove", "device", "vm2/d")
        os.rename(self.dir + "/image", self.dir + "/old")
        with open(self.dir + "/image", "wb") as f:
            f.truncate(1 << 20)
        said = self.run_cli("add", "device", "vm2/d", "kind=virtio-blk", "model=file",
                            "file=" + self.dir + "/image", status=1).stderr
        self.assertIn("Permission denied", said)

    def test_off(self):
        self.write(CONFIG.replace('"calls"', '"files": "off", "calls"')
                   .replace("%(calls)s", "off"))
        Daemon.start(self)
        self.assertEqual(self.field(self.process.pid, "Seccomp"), "0")
        self.cli("add", "port", "p", "kind=pcap", "capture_file=" + self.dir + "/anywhere")
        self.assertIn("files not limited, system calls not limited", self.cli("status"))


if __name__ == "__main__":
    main()
