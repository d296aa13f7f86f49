#!/usr/bin/python3
# SPDX-License-Identifier: BSD-2-Clause
"""The daemon and the command as a user has them: test_daemon.py EXITLESSD EXITLESS [unittest args]

Runs as any user, needs no network, leaves nothing behind.
"""

import fcntl
import json
import os
import re
import select
import shlex
import shutil
import signal
import socket
import stat
import subprocess
import sys
import tempfile
import time
import unittest
import xml.etree.ElementTree as ElementTree

EXITLESSD, EXITLESS = (os.path.abspath(program) for program in sys.argv[1:3])
TOP = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
CONFIG = """
// Two machines on a switch.
{
	"control": { "socket": "%(dir)s/control.sock", "directory": "%(dir)s", "mode": "0600" },
	"sandbox": { "calls": "%(calls)s", "paths": [ "%(dir)s/more" ] },
	"switches": [ { "name": "lan" } ],
	"ports": [ { "name": "out", "kind": "null", "switch": "lan" } ],
	"machines": [
		{ "name": "vm1", "devices": [ { "name": "net0", "model": "82574L", "switch": "lan",
			"mac": "52:54:00:00:00:01", "socket_mode": "0640" } ] },
		{ "name": "vm2", "devices": [ { "name": "net0", "model": "82540EM", "switch": "lan" } ] }
	]
}
"""


def wait_for(condition, what, seconds=120):
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            raise AssertionError("not in time: " + what)
        time.sleep(0.01)


class Daemon(unittest.TestCase):
    config = CONFIG

    calls = "kill"  # what the sandbox forgot would not stay unnoticed

    def setUp(self):
        self.dir = tempfile.mkdtemp(prefix="exitless-test-")
        os.mkdir(os.path.join(self.dir, "more"))
        self.path = os.path.join(self.dir, "config.json")
        self.socket = os.path.join(self.dir, "control.sock")
        self.log = os.path.join(self.dir, "log")
        self.process = None
        self.write(self.config)

    def tearDown(self):
        if self.process and self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        shutil.rmtree(self.dir)

    def write(self, text):
        with open(self.path, "w") as f:
            f.write(text.replace("%(dir)s", self.dir).replace("%(calls)s", self.calls))

    def command(self):
        return [EXITLESSD, "--config", self.path]

    def start(self, *args, env=None, wait=True):
        with open(self.log, "a") as log:
            self.process = subprocess.Popen([*self.command(), *args], stderr=log,
                                            env=dict(os.environ, **(env or {})))
        if wait:
            wait_for(lambda: self.process.poll() is not None or
                     "control socket" in self.read_log(), "start: " + self.read_log())
            self.assertIsNone(self.process.poll(), self.read_log())
        return self.process

    def read_log(self):
        with open(self.log) as f:
            return f.read()

    def stop(self, sig=signal.SIGTERM):
        self.process.send_signal(sig)
        return self.process.wait(timeout=120)

    def run_cli(self, *args, status=0):
        done = subprocess.run([EXITLESS, "--socket", self.socket, *args], text=True,
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=120)
        self.assertEqual(done.returncode, status, (args, done.stdout, done.stderr))
        if status:
            self.assertNotEqual(done.stderr, "")
        return done

    def cli(self, *args, status=0):
        return self.run_cli(*args, status=status).stdout

    def cli_json(self, *args):
        return json.loads(self.cli(*args, "--json"))

    def devices(self):
        return {m["name"] + "/" + d["name"]: d for m in self.cli_json("status")["machines"]
                for d in m["devices"]}


class Life(Daemon):
    def test_serves_and_ends(self):
        self.start()
        for name in ("vm1-net0.sock", "vm2-net0.sock"):
            self.assertTrue(stat.S_ISSOCK(os.stat(os.path.join(self.dir, name)).st_mode))
        self.assertEqual(self.stop(), 0)
        self.assertEqual(sorted(os.listdir(self.dir)), ["config.json", "log", "more"])

    def test_interrupt_ends_too(self):
        self.start()
        self.assertEqual(self.stop(signal.SIGINT), 0)

    def test_modes(self):
        self.start()
        self.assertEqual(os.stat(self.socket).st_mode & 0o777, 0o600)
        self.assertEqual(os.stat(self.dir + "/vm1-net0.sock").st_mode & 0o777, 0o640)
        self.assertEqual(os.stat(self.dir + "/vm2-net0.sock").st_mode & 0o777, 0o660)

    def test_owners(self):
        if os.getuid():
            self.skipTest("only root gives files away")
        self.write(CONFIG.replace('"mode": "0600"', '"owner": 12, "group": 34')
                   .replace('"socket_mode": "0640"', '"socket_owner": 56, "socket_group": 78'))
        self.start()
        st = os.stat(self.socket)
        self.assertEqual((st.st_uid, st.st_gid), (12, 34))
        st = os.stat(self.dir + "/vm1-net0.sock")
        self.assertEqual((st.st_uid, st.st_gid), (56, 78))

    def test_stale_sockets_are_replaced(self):
        self.start()
        self.stop(signal.SIGKILL)
        self.assertTrue(os.path.exists(self.socket))
        os.unlink(self.log)
        self.start()
        self.assertEqual(len(self.devices()), 2)

    def test_live_sockets_are_not(self):
        first = self.start()
        second = subprocess.run([EXITLESSD, "--config", self.path], stderr=subprocess.PIPE,
                                text=True, timeout=120)
        self.assertEqual(second.returncode, 3)
        self.assertIn("listens", second.stderr)
        self.assertIsNone(first.poll())
        self.assertEqual(len(self.devices()), 2)

    def test_supervisor_is_told(self):
        """At the start, at SIGHUP, at the end; by a path, and in the abstract namespace."""
        for name in (self.dir + "/notify", "\0" + self.dir):
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as supervisor:
                supervisor.bind(name)
                supervisor.settimeout(120)
                self.start(env={"NOTIFY_SOCKET": name.replace("\0", "@")})
                self.assertEqual(supervisor.recv(64), b"READY=1")
                self.process.send_signal(signal.SIGHUP)
                self.assertEqual(supervisor.recv(64), b"RELOADING=1")
                self.assertEqual(supervisor.recv(64), b"READY=1")
                self.stop()
                self.assertEqual(supervisor.recv(64), b"STOPPING=1")
                os.unlink(self.log)

    def test_supervisor_hears_that_it_lives(self):
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as supervisor:
            supervisor.bind(self.dir + "/notify")
            supervisor.settimeout(120)
            self.start(env={"NOTIFY_SOCKET": self.dir + "/notify", "WATCHDOG_USEC": "20000"})
            self.assertEqual(supervisor.recv(64), b"READY=1")
            for _ in range(5):
                self.assertEqual(supervisor.recv(64), b"WATCHDOG=1")
            self.stop(signal.SIGKILL)
            os.unlink(self.log)
            # that of another process is none of ours
            while supervisor in select.select([supervisor], [], [], 0)[0]:
                supervisor.recv(64)
            self.start(env={"NOTIFY_SOCKET": self.dir + "/notify", "WATCHDOG_USEC": "1",
                            "WATCHDOG_PID": "1"})
            self.assertEqual(supervisor.recv(64), b"READY=1")
            self.process.send_signal(signal.SIGHUP)
            self.assertEqual(supervisor.recv(64), b"RELOADING=1")

    def test_unit_file(self):
        """systemd finds nothing wrong with the unit, and knows each of its keys."""
        if not shutil.which("systemd-analyze"):
            self.skipTest("there is no systemd-analyze")
        unit = self.dir + "/exitlessd.service"
        with open(os.path.join(TOP, "systemd", "exitlessd.service.in")) as f:
            text = f.read().replace("@sbindir@", os.path.dirname(EXITLESSD))
        for wrong in ("", "Nonsense=yes\n"):
            with open(unit, "w") as f:
                f.write(text.replace("[Service]\n", "[Service]\n" + wrong))
            done = subprocess.run(["systemd-analyze", "verify", "--man=no", unit], text=True,
                                  stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=120)
            if done.returncode and "exitlessd.service" not in done.stdout:
                self.skipTest("systemd-analyze does not work here: " + done.stdout)
            self.assertEqual("exitlessd.service" in done.stdout, bool(wrong), done.stdout)

    def test_hangup_reports(self):
        self.start()
        self.cli("add", "machine", "vm3")
        self.write(CONFIG.replace('"name": "out"', '"name": "in"').replace("0640", "0600"))
        self.process.send_signal(signal.SIGHUP)
        wait_for(lambda: "vm3 runs" in self.read_log(), "report")
        log = self.read_log()
        self.assertIn("port in is in the file and does not run", log)
        self.assertIn("port out runs and is not in the file", log)
        self.assertIn('device vm1/net0 runs with another "socket_mode"', log)
        self.write("{")
        self.process.send_signal(signal.SIGHUP)
        wait_for(lambda: "is not good" in self.read_log(), "report")
        self.assertEqual(len(self.devices()), 2)

    def test_without_file(self):
        self.process = subprocess.Popen([EXITLESSD, "--socket", self.socket],
                                        stderr=subprocess.DEVNULL)
        wait_for(lambda: os.path.exists(self.socket), "start")
        self.assertEqual([c["name"] for c in self.cli_json("status")["cores"]], ["io0"])
        self.assertEqual(self.stop(), 0)

    def test_gives_up_privileges(self):
        self.write(CONFIG.replace('"mode"', '"allow_tap": false, "mode"'))
        self.start()
        tasks = os.listdir("/proc/%d/task" % self.process.pid)
        self.assertGreater(len(tasks), 1)
        for task in tasks:
            with open("/proc/%d/task/%s/status" % (self.process.pid, task)) as f:
                fields = dict(line.split(":\t", 1) for line in f if ":\t" in line)
            self.assertEqual(int(fields["NoNewPrivs"]), 1)
            # CHOWN DAC_OVERRIDE FOWNER NET_BIND_SERVICE NET_RAW IPC_LOCK
            allowed = 1 << 0 | 1 << 1 | 1 << 3 | 1 << 10 | 1 << 13 | 1 << 14
            self.assertEqual(int(fields["CapPrm"], 16) & ~allowed, 0, task)

    def test_many_connections(self):
        self.start()
        fds = "/proc/%d/fd" % self.process.pid
        paths = [self.socket, self.dir + "/vm1-net0.sock"]

        def storm(count):
            for i in range(count):
                with socket.socket(socket.AF_UNIX) as s:
                    s.connect(paths[i % 2])
                    if i % 3 == 0:
                        s.send(b"nonsense" * (i % 7))

        storm(100)
        self.devices()
        before = len(os.listdir(fds))
        storm(10000)
        self.assertEqual(len(self.devices()), 2)
        wait_for(lambda: len(os.listdir(fds)) <= before, "descriptors closed")


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


class Options(Daemon):
    def test_usage(self):
        for args in (["--nonsense"], ["word"], ["--check"], ["--log-level", "loud"],
                     ["--socket", "/" + "x" * 200]):
            done = subprocess.run([EXITLESSD, *args], stderr=subprocess.PIPE, timeout=120)
            self.assertEqual(done.returncode, 2, args)
            self.assertNotEqual(done.stderr, b"")
        for arg in ("--help", "--version", "--reference"):
            done = subprocess.run([EXITLESSD, arg], stdout=subprocess.PIPE, timeout=120)
            self.assertEqual(done.returncode, 0)
            self.assertNotEqual(done.stdout, b"")

    def check(self, text, status):
        self.write(text)
        done = subprocess.run([EXITLESSD, "--check", "--config", self.path], text=True,
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=120)
        self.assertEqual(done.returncode, status, done.stderr)
        return done.stderr

    def test_check(self):
        self.assertEqual(self.check(CONFIG, 0), "")
        said = self.check(CONFIG.replace('"lan" }', '"lam" }', 1).replace("82574L", "82575"), 1)
        self.assertIn('config.json:7: ports[0].switch: there is no switch "lan"; '
                      'did you mean "lam"?', said)
        self.assertIn('config.json:9: machines[0].devices[0].model: there is no model "82575"',
                      said)
        self.assertIn("config.json:2: ", self.check("{\n", 1))
        # what an object needs by itself
        said = self.check("""{ "ports": [
            { "name": "a", "kind": "user", "ipv4_net": "10.0.2.1/24" },
            { "name": "b", "kind": "user", "ipv6_net": "fd00::/48" },
            { "name": "c", "kind": "user", "forwards": [ "22" ] },
            { "name": "d", "kind": "pcap" } ],
            "machines": [ { "name": "m", "devices": [
            { "name": "a", "kind": "virtio-blk" },
            { "name": "b", "kind": "virtio-blk", "model": "malloc" },
            { "name": "c", "kind": "virtio-blk", "model": "null", "size_bytes": 4096,
              "block_bytes": 1024 } ] } ] }""", 1)
        for line in ("2: ports[0].ipv4_net: ipv4_net has bits beyond its length",
                     "3: ports[1].ipv6_net: ipv6_net is written as ",
                     "4: ports[2].forwards: a forward is written as ",
                     "5: ports[3].capture_file: a pcap port needs ",
                     '7: machines[0].devices[0].file: a disk of the model "file" needs a file',
                     "8: machines[0].devices[1].size_bytes: a disk of the model ",
                     "10: machines[0].devices[2].block_bytes: blocks have 512 or 4096 bytes"):
            self.assertIn("config.json:" + line, said)
        self.assertEqual(len(said.splitlines()), 7)
        # and it does not start with it either
        done = subprocess.run([EXITLESSD, "--config", self.path], stderr=subprocess.PIPE,
                              timeout=120)
        self.assertEqual(done.returncode, 1)

    def test_check_finds_what_a_start_would(self):
        """What the manager would refuse at start has a line here."""
        long = "a" * 31
        said = self.check("""{ "control": { "directory": "/run/%s", "socket": "/run/x/m-c.sock" },
            "machines": [
            { "name": "m", "min_packets_per_s": 10,
              "max_packets_per_s": 5, "devices": [
            { "name": "a", "socket": "/run/x/m-c.sock" },
            { "name": "%s" },
            { "name": "b", "socket": "/run/x" },
            { "name": "c", "socket": "/run/x" },
            { "name": "d", "kind": "virtio-blk", "model": "null", "size_bytes": 512, "file": "/x" },
            { "name": "e", "kind": "virtio-blk", "file": "/y" },
            { "name": "f", "kind": "virtio-blk", "file": "/y", "shared": true } ] } ],
            "ports": [
            { "name": "a", "kind": "tap", "ifname": "a/b" },
            { "name": "b" } ] }""" % ("b" * 70, long), 1)
        for line in ("3: machines[0].min_packets_per_s: it is above ",
                     "5: machines[0].devices[0].socket: its socket would be /run/x/m-c.sock, which is "
                     "the control socket",
                     "6: machines[0].devices[1]: the path of its socket would be longer than 107 ",
                     "8: machines[0].devices[3].socket: machines[0].devices[2] has the same socket",
                     '9: machines[0].devices[4].file: a disk of the model "null" has no file',
                     "11: machines[0].devices[6].file: machines[0].devices[5] has the same image",
                     "13: ports[0].ifname: the name of an interface ",
                     '14: ports[1]: a port needs the key "kind"'):
            self.assertIn("config.json:" + line, said)
        self.assertEqual(len(said.splitlines()), 8, said)
        # sockets that nobody named
        said = self.check("""{ "control": { "directory": "/run", "socket": "/run/c-d.sock" },
            "machines": [
            { "name": "m-a", "devices": [ { "name": "b" } ] },
            { "name": "m", "devices": [ { "name": "a-b" } ] },
            { "name": "c", "devices": [ { "name": "d" } ] } ] }""", 1)
        self.assertIn("config.json:4: machines[1].devices[0]: machines[0].devices[0] has the same "
                      "socket, /run/m-a-b.sock", said)
        self.assertIn("config.json:5: machines[2].devices[0]: its socket would be", said)
        self.assertEqual(len(said.splitlines()), 2, said)

    def refused(self, objects, words):
        """A start with these fails, and says these words."""
        self.write('{ "control": { "socket": "%(dir)s/control.sock", "directory": "%(dir)s" }, ' +
                   objects + " }")
        done = subprocess.run([EXITLESSD, "--config", self.path], stderr=subprocess.PIPE,
                              text=True, timeout=120)
        self.assertEqual(done.returncode, 3, done.stderr)
        self.assertIn(words.replace("%(dir)s", self.dir), done.stderr)
        self.assertFalse(os.path.exists(self.socket))

    def test_what_the_host_refuses(self):
        disk = ('"machines": [ { "name": "m", "devices": [ { "name": "d", "kind": "virtio-blk", '
                '"file": "%(dir)s/{}" {} } ] } ]')
        open(self.dir + "/empty", "w").close()
        self.refused(disk.replace("{}", "none", 1).replace("{}", ""),
                     "disk m/d cannot be made of %(dir)s/none: No such file or directory")
        self.refused(disk.replace("{}", "more", 1).replace("{}", ""), "Is a directory")
        self.refused(disk.replace("{}", "empty", 1).replace("{}", ""),
                     "the image %(dir)s/empty of disk m/d is empty")
        with open(self.dir + "/empty", "w") as f:
            f.truncate(4096)
        self.refused(disk.replace("{}", "empty", 1).replace("{}", ', "size_bytes": 8192'),
                     "the image %(dir)s/empty of disk m/d is smaller than the disk is to be")
        port = '"ports": [ { "name": "p", %s } ]'
        self.refused(port % '"kind": "pcap", "replay_file": "%(dir)s/none"',
                     "port p: cannot read %(dir)s/none: No such file or directory")
        self.refused(port % '"kind": "pcap", "replay_file": "%(dir)s/empty"',
                     "port p: the file to replay is not one of pcap's")
        self.refused(port % '"kind": "pcap", "capture_file": "%(dir)s/none/more"',
                     "port p: cannot write %(dir)s/none/more: No such file or directory")
        self.refused(port % '"kind": "tap", "netns": "%(dir)s/none"',
                     "port p: cannot enter the network namespace %(dir)s/none: No such file")
        with socket.socket() as other:
            other.bind(("127.0.0.1", 0))
            other.listen()
            forward = "tcp:127.0.0.1:%d-10.0.2.15:22" % other.getsockname()[1]
            self.refused(port % ('"kind": "user", "forwards": [ "%s" ]' % forward),
                         "port p: cannot listen for " + forward + ": ")
        self.refused('"cores": [ { "name": "io0", "cpu": 4095 } ]',
                     "core io0 cannot be on CPU 4095")
        self.refused('"machines": [ { "name": "m", "devices": [ { "name": "d", "socket": '
                     '"%(dir)s/none/d.sock" } ] } ]',
                     "socket %(dir)s/none/d.sock cannot be made: No such file or directory")

    def test_examples(self):
        folder = os.path.join(TOP, "docs", "examples")
        names = os.listdir(folder)
        self.assertTrue(names)
        for name in names:
            done = subprocess.run([EXITLESSD, "--check", "--config", os.path.join(folder, name)],
                                  stderr=subprocess.PIPE, text=True, timeout=120)
            self.assertEqual(done.returncode, 0, done.stderr)

    def test_reference_is_up_to_date(self):
        done = subprocess.run([EXITLESSD, "--reference"], stdout=subprocess.PIPE, text=True)
        with open(os.path.join(TOP, "docs", "config.md")) as f:
            written = f.read().split("a test compares them. -->\n\n", 1)[1]
        self.assertEqual(written, done.stdout)

    def test_busy_path_is_refused(self):
        with open(self.dir + "/vm1-net0.sock", "w") as f:
            f.write("precious")
        process = self.start(wait=False)
        self.assertEqual(process.wait(timeout=120), 3)
        self.assertIn("vm1-net0.sock", self.read_log())
        with open(self.dir + "/vm1-net0.sock") as f:
            self.assertEqual(f.read(), "precious")


class Command(Daemon):
    def setUp(self):
        super().setUp()
        self.start()

    def test_status(self):
        text = self.cli("status")
        self.assertRegex(text, r"vm1/net0 +82574L +52:54:00:00:00:01 +up +lan +io0 +none")
        self.assertRegex(text, r"out +null +lan")
        status = self.cli_json("status")
        self.assertEqual(status["pid"], self.process.pid)
        self.assertEqual([m["name"] for m in status["machines"]], ["vm1", "vm2"])
        # --json and --socket work on both sides of the command
        self.assertEqual(json.loads(self.cli("--json", "status"))["pid"], self.process.pid)
        subprocess.run([EXITLESS, "status", "--socket=" + self.socket], check=True,
                       stdout=subprocess.DEVNULL)
        subprocess.run([EXITLESS, "status"], env={"EXITLESS_SOCKET": self.socket}, check=True,
                       stdout=subprocess.DEVNULL)

    def test_stats(self):
        self.assertIn("TRAPS/PACKET", self.cli("stats"))
        self.assertIn("vm1/net0", self.cli("stats", "vm1/net0"))
        stats = self.cli_json("stats")
        self.assertEqual(len(stats["devices"]), 2)
        self.assertEqual(stats["devices"][0]["packets"], 0)
        self.assertIsNone(stats["devices"][0]["traps_per_packet"])
        for group in ("device", "pci", "transport", "memory", "switch"):
            self.assertIn(group, stats["devices"][0]["counters"])
        self.assertTrue(stats["devices"][0]["queues"])
        self.assertEqual(len(self.cli_json("stats", "vm1")["devices"]), 1)
        said = self.run_cli("stats", "vm9", status=1).stderr
        self.assertEqual(said, "exitless: there is no machine vm9\n")
        said = self.run_cli("stats", "vm1/net9", status=1).stderr
        self.assertEqual(said, "exitless: there is no device vm1/net9\n")

    def test_show(self):
        for what in (["core", "io0"], ["switch", "lan"], ["port", "out"], ["machine", "vm1"],
                     ["device", "vm1/net0"], ["config"]):
            self.assertNotEqual(self.cli("show", *what), "")
            self.assertTrue(self.cli_json("show", *what))
        registers = {r["name"] for r in self.cli_json("show", "device", "vm1/net0")["registers"]}
        for name in ("CTRL", "STATUS", "ICR"):
            self.assertIn(name, registers)
        self.assertRegex(self.cli("show", "device", "vm1/net0"), r"\bCTRL +0x00000 +0x")
        self.assertIn("vm1/net0", self.cli_json("show", "switch", "lan")["ports"])
        text = self.cli("show", "machine", "vm1")
        self.assertRegex(text, r"\bweight +1\n")
        self.assertRegex(text, r"\bvm1/net0 +82574L")
        for what in (["core", "io9"], ["device", "vm1/net9"], ["thing", "x"]):
            self.run_cli("show", *what, status=1)
        for what in ([], ["device", "vm1"], ["core"], ["config", "io0"]):
            self.run_cli("show", *what, status=2)

    def test_what_runs_is_a_configuration(self):
        self.write(self.cli("show", "config"))
        subprocess.run([EXITLESSD, "--check", "--config", self.path], check=True,
                       stdout=subprocess.DEVNULL)

    def test_add_and_remove(self):
        before = self.cli_json("show", "config")
        for _ in range(3):
            self.cli("add", "core", "io1")
            self.cli("add", "switch", "wan", "vlan_aware=true")
            self.cli("add", "port", "p", "kind=null", "switch=wan", "trunk=true", "vids=[5,6]")
            self.cli("add", "machine", "vm3", "weight=3")
            self.cli("add", "device", "vm3/net0", "model=82574L", "switch=wan", "core=io1",
                     "pvid=5")
            self.cli("add", "machine", "vm4", "--spec",
                     '{"devices": [{"name": "a", "switch": "wan"}, {"name": "b"}]}')
            self.assertIn("vm4/b", self.devices())
            self.assertEqual(self.devices()["vm3/net0"]["core"], "io1")
            self.assertTrue(os.path.exists(self.dir + "/vm3-net0.sock"))
            self.assertEqual(self.cli_json("add", "device", "vm3/net1"), {})
            self.assertIn("still", self.run_cli("remove", "core", "io1", status=1).stderr)
            self.run_cli("remove", "switch", "wan", status=1)
            self.cli("remove", "device", "vm3/net1")
            self.cli("remove", "machine", "vm3")
            self.assertFalse(os.path.exists(self.dir + "/vm3-net0.sock"))
            self.cli("remove", "machine", "vm4")
            self.cli("remove", "port", "p")
            self.cli("remove", "switch", "wan")
            self.cli("remove", "core", "io1")
        self.assertEqual(self.cli_json("show", "config"), before)

    def test_kinds(self):
        image = self.dir + "/more/image"
        with open(image, "wb") as f:
            f.truncate(1 << 20)
        self.cli("add", "machine", "vm3")
        self.cli("add", "device", "vm3/net0", "kind=virtio-net", "switch=lan", "queues=2")
        self.cli("add", "device", "vm3/disk0", "kind=virtio-blk", "model=file", "file=" + image)
        self.cli("add", "device", "vm3/disk1", "kind=virtio-blk", "model=null",
                 "size_bytes=1048576", "read_only=true")
        self.cli("show", "device", "vm3/disk0")
        self.assertIsNone(self.devices()["vm3/disk0"]["mac"])
        words = self.cli_json("vmm", "vm3", "--qemu")
        for name in ("net0", "disk0", "disk1"):
            self.assertTrue(any(w.endswith("path=%s/vm3-%s.sock,reconnect-ms=1000" %
                                           (self.dir, name)) for w in words), words)
        self.assertEqual(len(self.cli_json("stats", "vm3")["devices"]), 3)
        for spec in (["kind=virtio-blk", "switch=lan"], ["kind=virtio-blk"], ["file=" + image],
                     ["kind=virtio-net", "trap_doorbells=true"]):
            self.run_cli("add", "device", "vm3/other", *spec, status=1)
        for state in ("down", "up"):
            self.assertIn("no link", self.run_cli("link", "vm3/disk0", state, status=1).stderr)
        self.cli("link", "vm3/net0", "down")
        self.test_what_runs_is_a_configuration()
        self.cli("remove", "machine", "vm3")

    def test_add_refused(self):
        said = self.run_cli("add", "device", "vm1/net1", "modle=82574L", "pvid=9999",
                            status=1).stderr
        self.assertIn('did you mean "model"?', said)
        self.assertIn("from 0 to 4094", said)
        self.assertIn("already", self.run_cli("add", "device", "vm1/net0", status=1).stderr)
        self.assertIn("no machine", self.run_cli("add", "device", "vm9/net0", status=1).stderr)
        error = json.loads(self.cli("add", "core", "io0", "--json", status=1))["error"]
        self.assertEqual(error["code"], -32002)
        self.run_cli("add", "device", "vm1", status=2)
        self.run_cli("add", "core", "io1", "cpu", status=2)
        self.run_cli("add", "core", status=2)
        # --spec is an object
        for spec in (["--spec"], ["--spec", "[]"], ["--spec", "3"], ["--spec", "{"]):
            said = self.run_cli("add", "device", "vm1/net2", *spec, status=2).stderr
            self.assertIn("--spec", said)
        self.assertEqual(len(self.devices()), 2)

    def test_set(self):
        self.cli("set", "device", "vm1/net0", "link=down", "isolated=true")
        self.assertEqual(self.devices()["vm1/net0"]["link"], "down")
        self.cli("set", "core", "io0", "turn_packets=32", "park_after_us=100")
        spec = self.cli_json("show", "core", "io0")["spec"]
        self.assertEqual((spec["turn_packets"], spec["park_after_us"]), (32, 100))
        self.cli("set", "machine", "vm1", "weight=9", "latency=low")
        self.cli("add", "core", "io1")
        self.cli("set", "device", "vm1/net0", "core=io1")
        self.assertEqual(self.devices()["vm1/net0"]["core"], "io1")
        self.cli("set", "port", "out", "core=io1")
        self.assertIn("cannot change",
                      self.run_cli("set", "device", "vm1/net0", "model=82540EM", status=1).stderr)
        self.run_cli("set", "device", "vm1/net0", "switch=none", status=1)
        # VLANs: on at any time, off without trunks
        self.cli("set", "switch", "lan", "vlan_aware=true", "addresses_max=100")
        self.cli("set", "device", "vm1/net0", "trunk=true")
        self.assertIn("device vm1/net0 is a trunk",
                      self.run_cli("set", "switch", "lan", "vlan_aware=false", status=1).stderr)
        self.cli("set", "device", "vm1/net0", "trunk=false")
        self.cli("set", "switch", "lan", "vlan_aware=false")
        self.run_cli("set", "device", "vm1/net0", status=2)

    # what to set each live key to; and "core" last, which others move
    LIVE = {
        "core": {"turn_packets": 32, "turn_bytes": 65536, "park_after_us": 100, "park_look_us": 7,
                 "wake_bound_us": 2000, "quantum_us": 40, "slice_us": 3,
                 "round_robin": True},
        "switch": {"vlan_aware": True, "addresses_max": 1000, "port_addresses_max": 17,
                   "age_s": 5},
        "port": {"switch": "lan2", "trunk": True, "pvid": 7, "vids": [7, 8], "isolated": True,
                 "core": "io1"},
        "machine": {"weight": 9, "latency": "low", "max_packets_per_s": 1000000,
                    "max_bytes_per_s": 2000000000, "min_packets_per_s": 10,
                    "min_bytes_per_s": 20},
        "device": {"link": "down", "switch": "lan2", "trunk": True, "pvid": 7, "vids": [7, 8],
                   "isolated": True, "check_source": True, "max_rate_bps": 5000000,
                   "size_bytes": 2 << 20, "core": "io1"},
        "balance": {"mode": "dry_run", "interval_us": 2000000, "high_percent": 70,
                    "gain_percent": 20, "hold_us": 5000000},
    }

    def test_disk_sizes(self):
        """Of each model, up and down; what cannot be is refused, and changes nothing."""
        image = self.dir + "/more/image"
        with open(image, "wb") as f:
            f.truncate(1 << 20)
        for model, spec in (("malloc", "size_bytes=1048576"), ("null", "size_bytes=1048576"),
                            ("file", "file=" + image)):
            self.cli("add", "device", "vm1/d", "kind=virtio-blk", "model=" + model, spec)

            def size():
                stats = self.cli_json("stats", "vm1/d")["devices"][0]
                return stats["counters"]["device"]["size_bytes"]

            for bytes in (512, 1 << 20, 4096, 1 << 19):
                self.cli("set", "device", "vm1/d", "size_bytes=%d" % bytes)
                self.assertEqual(size(), bytes)
            said = self.run_cli("set", "device", "vm1/d", "size_bytes=1000", status=1).stderr
            self.assertIn("multiple of 512", said)
            if model == "file":
                said = self.run_cli("set", "device", "vm1/d", "size_bytes=2097152",
                                    status=1).stderr
                self.assertIn("its file is smaller", said)
                self.cli("set", "device", "vm1/d", "size_bytes=0")
                self.assertEqual(size(), 1 << 20)
            else:
                self.run_cli("set", "device", "vm1/d", "size_bytes=0", status=1)
                self.cli("set", "device", "vm1/d", "size_bytes=8388608")
                self.assertEqual(size(), 8 << 20)
            if model == "malloc":
                said = self.run_cli("set", "device", "vm1/d", "size_bytes=%d" % (1 << 60),
                                    status=1).stderr
                self.assertIn("cannot have that size: Cannot allocate memory", said)
                self.assertEqual(size(), 8 << 20)
            self.cli("remove", "device", "vm1/d")

    def configured(self, kind, name):
        config = json.loads(self.cli("show", "config"))
        machine, slash, name = name.rpartition("/")
        if slash:
            config = {m["name"]: m for m in config["machines"]}[machine]
        objects = config["switches" if kind == "switch" else kind + "s"]
        return {o["name"]: o for o in objects}[name]

    def test_every_live_key(self):
        """Those that the reference calls live, no more and no fewer; one by one."""
        reference = subprocess.run([EXITLESSD, "--reference"], stdout=subprocess.PIPE,
                                   text=True).stdout
        live, section = {}, None
        for line in reference.splitlines():
            cells = [c.strip() for c in line.split("|")]
            if line.startswith("## "):
                section = line[3:]
            elif line.startswith("| `") and cells[4] == "yes":
                live.setdefault(section, set()).add(cells[1].strip("`"))
        self.assertEqual(live, {name: set(keys) for name, keys in self.LIVE.items()})

        self.cli("add", "core", "io1")
        self.cli("add", "switch", "lan2", "vlan_aware=true")
        self.cli("add", "device", "vm1/disk", "kind=virtio-blk", "model=null",
                 "size_bytes=1048576")
        for kind, name in (("core", "io0"), ("switch", "lan"), ("port", "out"),
                           ("machine", "vm1"), ("device", "vm1/net0")):
            values = dict(self.LIVE[kind])
            size = values.pop("size_bytes", None)
            if "vids" in values:  # which make no sense without a trunk
                self.cli("set", kind, name, "switch=lan2")
            for key, value in values.items():
                said = json.dumps(value) if not isinstance(value, str) else value
                self.cli("set", kind, name, "%s=%s" % (key, said))
                self.assertEqual(self.configured(kind, name)[key], value)
            if size:
                self.cli("set", kind, "vm1/disk", "size_bytes=%d" % size)
                self.assertEqual(self.configured(kind, "vm1/disk")["size_bytes"], size)
        for key, value in self.LIVE["balance"].items():
            self.assertEqual(self.cli_json("balance", "%s=%s" % (key, value))[key], value)
        # and what runs now is a configuration that can be started
        config = json.loads(self.cli("show", "config"))
        with open(self.dir + "/again.json", "w") as f:
            json.dump(config, f)
        subprocess.run([EXITLESSD, "--check", "--config", self.dir + "/again.json"], check=True)

    def test_link_and_the_rest(self):
        self.cli("link", "vm1/net0", "down")
        self.assertEqual(self.devices()["vm1/net0"]["link"], "down")
        self.assertEqual(self.cli_json("link", "vm1/net0", "up"), {})
        self.assertEqual(self.devices()["vm1/net0"]["link"], "up")
        self.run_cli("link", "vm1/net0", "sideways", status=1)
        self.run_cli("link", "vm1/net0", status=2)
        self.cli("disconnect", "vm1/net0")
        self.assertIn("control: changed device vm1/net0\n", self.read_log())
        self.cli("flush", "lan")
        self.run_cli("flush", "wan", status=1)
        self.assertEqual(self.cli("log"), "info\n")
        self.assertEqual(self.cli("log", "debug"), "debug\n")
        self.assertEqual(self.cli_json("log"), {"level": "debug"})
        self.assertEqual(self.cli_json("rpc", "log", '{"level": "info"}'), {"level": "info"})
        self.run_cli("rpc", "none", status=1)

    def test_balance(self):
        self.assertEqual(self.cli_json("balance")["mode"], "off")
        self.assertRegex(self.cli("balance", "mode=dry_run", "interval_us=10000"),
                         r"mode +dry_run")
        wait_for(lambda: self.cli_json("balance")["rounds"] > 2, "rounds")
        self.assertEqual(self.cli_json("show", "config")["balance"]["interval_us"], 10000)
        self.run_cli("balance", "mode=sometimes", status=1)
        self.run_cli("balance", "mode", status=2)
        self.cli("set", "device", "vm1/net0", "core=auto")

    def test_metrics(self):
        text = self.cli("metrics")
        self.assertIn('\nexitless_device_traps{machine="vm1",device="net0"} ', text)
        seen = None
        finished = set()
        for line in text.splitlines():
            if line.startswith("# TYPE "):
                self.assertNotIn(line, finished)
                finished.add(line)
                seen = line.split()[2]
            else:
                self.assertRegex(line, r"^%s\{[a-z]+=\"[^\"]*\"(,[a-z]+=\"[^\"]*\")*\} -?\d+$" % seen)

    def test_top(self):
        self.assertIn("TRAPS/PACKET", self.cli("top", "--interval", "0.1", "--count", "2"))
        lines = self.cli("top", "--interval", "0.1", "--count", "2", "--json").splitlines()
        self.assertEqual(len(lines), 2)
        self.assertEqual(len(json.loads(lines[0])["devices"]), 2)
        self.assertEqual([m["name"] for m in json.loads(lines[1])["machines"]], ["vm1", "vm2"])
        for args, words in ((["--interval", "x"], '"x" is no number'), (["--interval"], "needs a"),
                            (["--interval", "0"], "0.05 to 3600"), (["--interval", "nan"], "nan"),
                            (["--count", "-1"], "no number"), (["vm1"], 'what is "vm1"?')):
            self.assertIn(words, self.run_cli("top", *args, status=2).stderr)
        process = subprocess.Popen([EXITLESS, "--socket", self.socket, "top", "--json",
                                    "--interval", "0.05"], stdout=subprocess.PIPE)
        self.assertTrue(json.loads(process.stdout.readline()))
        process.send_signal(signal.SIGINT)
        self.assertEqual(process.wait(timeout=120), 0)
        process.stdout.close()

    def test_vmm_qemu(self):
        line = self.cli("vmm", "vm1", "--qemu", "--memory", "1G", "--cpus", "2")
        self.assertEqual(line.count("\n"), 1)
        words = shlex.split(line)
        self.assertEqual(words, json.loads(self.cli("vmm", "vm1", "--qemu", "--memory", "1024M",
                                                    "--cpus", "2", "--json")))
        self.assertIn("memory-backend-memfd,id=mem,size=1024M,share=on", words)
        port, device = (json.loads(w) for w in words if w.startswith("{"))
        self.assertEqual(device["driver"], "vfio-user-pci")
        self.assertEqual(device["socket"]["path"], self.dir + "/vm1-net0.sock")
        self.assertEqual((port["driver"], port["id"]), ("pcie-root-port", device["bus"]))
        # the conventional one sits on the root bus
        words = json.loads(self.cli("vmm", "vm2", "--qemu", "--json"))
        self.assertEqual(json.loads(words[-1])["bus"], "pcie.0")
        self.run_cli("vmm", "vm9", "--qemu", status=1)
        self.run_cli("vmm", "vm1", status=2)
        self.run_cli("vmm", "vm1", "--qemu", "--memory", "lots", status=2)

    def test_vmm_libvirt(self):
        text = self.cli("vmm", "vm1", "--libvirt", "--memory", "2G")
        domain = ElementTree.fromstring(text)
        self.assertEqual(domain.find("memory").text, "2048")
        self.assertEqual(domain.find("memoryBacking/access").get("mode"), "shared")
        ns = "{http://libvirt.org/schemas/domain/qemu/1.0}"
        args = [a.get("value") for a in domain.findall(ns + "commandline/" + ns + "arg")]
        qemu = json.loads(self.cli("vmm", "vm1", "--qemu", "--json"))
        # but for the id, which must not be one of libvirt's
        self.assertEqual([a.replace('"exitless-net0"', '"net0"') for a in args],
                         qemu[-len(args):])
        self.assertIn('"id":"exitless-net0"', args[-1])
        self.assertEqual(self.cli_json("vmm", "vm1", "--libvirt", "--memory", "2G")["xml"], text)

    def test_vmm_cloud_hypervisor(self):
        words = shlex.split(self.cli("vmm", "vm1", "--cloud-hypervisor"))
        self.assertIn("size=512M,shared=on", words)
        self.assertEqual(words[words.index("--user-device") + 1],
                         "socket=%s/vm1-net0.sock,id=net0" % self.dir)

    def test_vmm_virtio(self):
        self.cli("add", "machine", "vm3")
        self.cli("add", "device", "vm3/net0", "kind=virtio-net", "switch=lan", "queues=4",
                 "mac=52:54:00:00:00:33")
        self.cli("add", "device", "vm3/net1", "kind=virtio-net", "switch=lan", "vmm_listens=true")
        self.cli("add", "device", "vm3/disk0", "kind=virtio-blk", "model=null",
                 "size_bytes=1048576", "queues=2")
        self.cli("add", "device", "vm3/disk1", "kind=virtio-blk", "model=null",
                 "size_bytes=1048576", "vmm_listens=true")
        text = self.cli("vmm", "vm3", "--libvirt")
        domain = ElementTree.fromstring(text)
        nets, disks = domain.findall("devices/interface"), domain.findall("devices/disk")
        self.assertEqual([n.get("type") for n in nets + disks], ["vhostuser"] * 3)
        self.assertEqual([n.find("source").get("mode") for n in nets], ["client", "server"])
        self.assertEqual([n.find("source/reconnect") is not None for n in nets], [True, False])
        self.assertEqual(nets[0].find("mac").get("address"), "52:54:00:00:00:33")
        self.assertEqual(nets[0].find("driver").get("queues"), "4")
        self.assertEqual(disks[0].find("source").get("path"), self.dir + "/vm3-disk0.sock")
        self.assertEqual(disks[0].find("target").get("dev"), "vda")
        # libvirt's disks cannot listen: QEMU's arguments then
        ns = "{http://libvirt.org/schemas/domain/qemu/1.0}"
        args = [a.get("value") for a in domain.findall(ns + "commandline/" + ns + "arg")]
        self.assertEqual(len([a for a in args if a.startswith("vhost-user-blk-pci,id=exitless-disk1,")]), 1)
        self.assertEqual(len(args), 4)
        words = shlex.split(self.cli("vmm", "vm3", "--cloud-hypervisor"))
        self.assertEqual(words[words.index("--net") + 1],
                         "vhost_user=true,socket=%s/vm3-net0.sock,id=net0,mac=52:54:00:00:00:33,"
                         "num_queues=8" % self.dir)
        self.assertTrue(words[words.index("--net") + 2].endswith(",vhost_mode=server"))
        self.assertIn("num_queues=2", words[words.index("--disk") + 1])

    def test_no_daemon(self):
        done = subprocess.run([EXITLESS, "--socket", self.dir + "/none", "status"],
                              stderr=subprocess.PIPE, text=True, timeout=120)
        self.assertEqual(done.returncode, 3)
        self.assertIn("no daemon answers", done.stderr)

    def test_usage(self):
        for args in ([], ["nonsense"], ["--socket"], ["status", "more"], ["help", "nonsense"]):
            done = subprocess.run([EXITLESS, *args], stderr=subprocess.PIPE, timeout=120)
            self.assertEqual(done.returncode, 2, args)
        for args in (["help"], ["--help"], ["--version"], ["help", "add"], ["add", "--help"]):
            done = subprocess.run([EXITLESS, *args], stdout=subprocess.PIPE, timeout=120)
            self.assertEqual(done.returncode, 0, args)
            self.assertNotEqual(done.stdout, b"")

    def test_everything_is_documented(self):
        usage = subprocess.run([EXITLESS, "help"], stdout=subprocess.PIPE, text=True).stdout
        with open(os.path.join(TOP, "docs", "man", "exitless.1")) as f:
            manual = f.read()
        for command in re.findall(r"^  ([a-z]+)", usage, re.M):
            self.assertRegex(manual, r"\.It Cm %s\b" % command)
        with open(os.path.join(TOP, "src", "control", "methods.c")) as f:
            methods = re.findall(r'^\t\{ "([a-z]+)", [a-z_]+ \},', f.read(), re.M)
        self.assertGreater(len(methods), 5)
        with open(os.path.join(TOP, "docs", "rpc.md")) as f:
            manual = f.read()
        for method in methods:
            self.assertIn("\n| `%s` | " % method, manual)


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1] + sys.argv[3:], verbosity=2)
