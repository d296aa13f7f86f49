#!/usr/bin/python3
# SPDX-License-Identifier: BSD-2-Clause
"""Disks whose image somebody else has, or whose storage is stuck."""

import fcntl
import json
import os
import signal
import subprocess
import sys

from daemon_case import CONFIG, EXITLESS, Daemon, main, wait_for


class Images(Daemon):
    """An image that another process has: its disk waits, and nobody else does."""

    config = CONFIG.replace('"name": "vm2", "devices": [', """"name": "vm2", "devices": [
        { "name": "d", "kind": "virtio-blk", "model": "file", "file": "%(dir)s/image" },
        { "name": "m", "kind": "virtio-blk", "model": "malloc", "size_bytes": 1048576 },""")

    def setUp(self):
        super().setUp()
        self.image = self.dir + "/image"
        with open(self.image, "wb") as f:
            f.truncate(1 << 20)

    def state(self, name="d"):
        return self.cli_json("show", "device", "vm2/" + name)["state"]

    def bench(self, name):
        """Plays the driver, and returns how many requests were done."""
        for seconds in ("0.1", "3", "20"):  # the machine may have no time for it
            done = subprocess.run([EXITLESS, "bench", "blk", "--json", "--seconds", seconds,
                                   "--warmup", "0", "%s/vm2-%s.sock" % (self.dir, name)],
                                  text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                                  timeout=120)
            if "nothing was done" not in done.stderr:
                break
        self.assertEqual(done.returncode, 0, done.stderr)
        return json.loads(done.stdout)["total"]["requests"]

    def test_waits_for_it(self):
        with open(self.image, "r+b") as other:
            fcntl.flock(other, fcntl.LOCK_EX)
            self.start()
            self.assertEqual(self.state(), "waiting for its image")
            self.assertRegex(self.cli("status"), r"vm2/d .* none \(waiting for its image\) ")
            self.assertIn("another process has " + self.image, self.read_log())
            self.assertEqual((self.state("m"), self.state("net0")), ("ready", "ready"))
            self.assertGreater(self.bench("m"), 0)
            # whoever had it may have made it larger
            other.truncate(3 << 20)
        wait_for(lambda: self.state() == "ready", "the image")
        stats = self.cli_json("stats", "vm2/d")["devices"][0]["counters"]["device"]
        self.assertEqual(stats["size_bytes"], 3 << 20)
        self.assertGreater(self.bench("d"), 0)
        self.assertEqual(self.stop(), 0)

    def test_ends_while_it_waits(self):
        with open(self.image, "r+b") as other:
            fcntl.flock(other, fcntl.LOCK_EX)
            self.start()
            self.cli("remove", "device", "vm2/d")
            said = self.cli_json("add", "device", "vm2/d", "kind=virtio-blk", "model=file",
                                 "file=" + self.image)
            self.assertEqual(said, {"state": "waiting for its image"})
            self.assertEqual(self.state(), "waiting for its image")
            self.assertEqual(self.stop(), 0)

    def test_killed_and_started_again(self):
        """Always gets its disk back, however long its last requests hold the image; and ends well
        under load when it is told to."""
        self.start()
        for end in (signal.SIGKILL, signal.SIGTERM) * 3:
            load = subprocess.Popen([EXITLESS, "bench", "blk", "--seconds", "60", "--read", "0",
                                     self.dir + "/vm2-d.sock"], stdout=subprocess.DEVNULL,
                                    stderr=subprocess.DEVNULL)
            wait_for(lambda: self.cli_json("stats", "vm2/d")["devices"][0]["packets"] > 100, "load")
            self.assertEqual(self.stop(end), 0 if end == signal.SIGTERM else -end)
            load.kill()
            load.wait()
            os.unlink(self.log)
            self.start()
            wait_for(lambda: self.state() == "ready", "the image")
            self.assertGreater(self.bench("d"), 0)

    def test_one_image_for_two(self):
        self.start()
        other = self.dir + "/more/image"
        os.link(self.image, other)
        spec = ["add", "device", "vm1/d", "kind=virtio-blk", "model=file", "file=" + other]
        self.assertIn("another disk has the image", self.run_cli(*spec, status=1).stderr)
        self.assertIn("another disk", self.run_cli(*spec, "read_only=true", status=1).stderr)
        self.cli("remove", "device", "vm2/d")
        self.cli(*spec, "read_only=true")
        spec[2] = "vm2/d"
        self.cli(*spec, "read_only=true")
        wait_for(lambda: self.state() == "ready", "the image")


class StuckStorage(Daemon):
    """An image that does not answer: its disk can go all the same, and nobody waits for it."""

    config = CONFIG.replace('"name": "vm2", "devices": [', """"name": "vm2", "devices": [
        { "name": "d", "kind": "virtio-blk", "model": "file", "file": "%(dir)s/stuck/image" },""")

    def setUp(self):
        super().setUp()
        os.mkdir(self.dir + "/stuck")
        script = os.path.join(os.path.dirname(os.path.abspath(__file__)), "stuck_fs.py")
        self.fs = subprocess.Popen([sys.executable, script, self.dir + "/stuck"], text=True,
                                   stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self.addCleanup(self.release)
        if self.fs.stdout.readline() != "mounted\n":
            self.assertEqual(self.fs.wait(timeout=120), 77)
            self.skipTest("FUSE cannot be used here")

    def release(self):
        """The storage fails all that it has."""
        self.fs.stdin.close()
        self.fs.wait(timeout=120)
        self.fs.stdout.close()

    def command(self):
        return ["nsenter", "--mount=/proc/%d/ns/mnt" % self.fs.pid, *super().command()]

    def stuck(self):
        """Starts the daemon and gets a request stuck."""
        self.start()
        load = subprocess.Popen([EXITLESS, "bench", "blk", "--depth", "1",
                                 self.dir + "/vm2-d.sock"], stdout=subprocess.DEVNULL,
                                stderr=subprocess.DEVNULL)
        self.assertEqual(self.fs.stdout.readline(), "stuck\n")
        load.kill()
        load.wait()

    def test_goes_without_it(self):
        self.stuck()
        state = {"state": "waiting for its last requests"}
        self.assertEqual(self.cli_json("remove", "device", "vm2/d"), state)
        self.assertNotIn("vm2/d", self.devices())
        self.assertFalse(os.path.exists(self.dir + "/vm2-d.sock"))
        self.assertEqual(self.cli_json("status")["leaving"], ["vm2/d"])
        self.assertIn("vm2/d was removed", self.cli("status"))
        # the next one of the image waits for it, and can go with its machine
        again = ("add", "device", "vm2/d", "kind=virtio-blk", "file=" + self.dir + "/stuck/image")
        self.assertEqual(self.cli_json(*again), {"state": "waiting for its image"})
        self.assertEqual(self.cli("remove", "machine", "vm2"), state["state"] + "\n")
        self.assertIn("still polls", self.run_cli("remove", "core", "io0", status=1).stderr)
        self.release()
        wait_for(lambda: not self.cli_json("status")["leaving"], "it is gone")
        self.assertEqual(self.stop(), 0)

    def test_ends_without_it(self):
        self.stuck()
        self.process.send_signal(signal.SIGTERM)
        wait_for(lambda: "vm2/d: its storage is stuck" in self.read_log(), "the daemon gives up")
        # the kernel keeps what is left of the process until then
        self.release()
        self.assertEqual(self.process.wait(timeout=120), 0)


class BlockDevice(Daemon):
    """A disk on a block device of the host, by a link to it."""

    config = CONFIG.replace('"name": "vm2", "devices": [', """"name": "vm2", "devices": [
        { "name": "d", "kind": "virtio-blk", "file": "%(dir)s/disk", "queues": 2 },""")

    def setUp(self):
        super().setUp()
        image = self.dir + "/image"
        with open(image, "wb") as f:
            f.truncate(16 << 20)
        try:
            done = subprocess.run(["/sbin/losetup", "--find", "--show", image], text=True,
                                  stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, timeout=60)
        except FileNotFoundError:
            done = None
        if not done or done.returncode:
            self.tearDown()
            self.skipTest("loop devices cannot be made here")
        device = done.stdout.strip()
        self.addCleanup(subprocess.run, ["/sbin/losetup", "--detach", device], check=True)
        os.symlink(device, self.dir + "/disk")

    def test_block_device(self):
        self.start()
        for options in ((), ("--size", "512"), ("--size", "64k", "--packed", "--indirect")):
            for seconds in ("0.3", "3", "20"):  # the machine may have no time for it
                done = subprocess.run([EXITLESS, "bench", "blk", "--seconds", seconds, "--warmup",
                                       "0", "--queues", "2", "--verify", "--read", "50", *options,
                                       self.dir + "/vm2-d.sock"], text=True, timeout=120,
                                      stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
                if "nothing was done" not in done.stderr:
                    break
            self.assertEqual(done.returncode, 0, done.stderr)
        counters = self.cli_json("stats", "vm2/d")["devices"][0]["counters"]["device"]
        self.assertEqual(counters["size_bytes"], 16 << 20)
        self.assertGreater(counters["writes"], 0)
        self.assertEqual(counters.get("errors", 0), 0)
        self.assertEqual(self.stop(), 0)
        with open(self.dir + "/image", "rb") as f:
            self.assertNotEqual(f.read(), bytes(16 << 20))


if __name__ == "__main__":
    main()
