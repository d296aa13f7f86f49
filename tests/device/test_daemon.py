#!/usr/bin/python3
# SPDX-License-Identifier: BSD-2-Clause
"""The daemon: its life, its options, its configuration, and what the host refuses."""

import os
import resource
import select
import shutil
import signal
import socket
import stat
import subprocess

from daemon_case import CONFIG, EXITLESSD, TOP, Daemon, main, wait_for


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

    def test_directory_is_for_all(self):
        """The daemon's umask, 0077 in the unit, does not hide the sockets from VMMs' users."""
        self.write(CONFIG.replace('"directory": "%(dir)s"', '"directory": "%(dir)s/own"'))
        mask = os.umask(0o077)
        try:
            self.start()
        finally:
            os.umask(mask)
        self.assertEqual(os.stat(self.dir + "/own").st_mode & 0o7777, 0o755)
        self.assertTrue(os.path.exists(self.dir + "/own/vm1-net0.sock"))

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

    def test_hangup_reports_the_daemon(self):
        """What is no object is compared too; what the options say is in the place of the file's."""
        def hangup(expected):
            before = len(self.read_log())
            self.process.send_signal(signal.SIGHUP)
            wait_for(lambda: expected in self.read_log()[before:], "report of " + expected)
            return self.read_log()[before:]

        self.start("--log-level", "info", "--socket", self.socket)
        same = CONFIG.replace('"switches"', '"log_level": "debug", "switches"')
        self.write(same.replace("control.sock", "other.sock"))
        hangup("config.json is what runs")
        self.cli("rpc", "log", '{"level": "debug"}')
        hangup('the log runs with another "log_level" than the file has')
        self.cli("rpc", "log", '{"level": "info"}')
        self.write(same.replace('"mode": "0600"', '"owner": 0, "stop_wait_us": 1')
                   .replace('"calls": "%(calls)s", ', '"files": "off", "calls": "%(calls)s", ')
                   .replace('"switches"', '"balance": { "mode": "on" }, "switches"'))
        log = hangup('the sandbox was started with another "files" than the file has, which '
                     'needs a new start\n')
        for key in ("mode", "owner", "stop_wait_us"):
            self.assertIn('the control was started with another "%s" than the file has, which '
                          'needs a new start' % key, log)
        self.assertIn('the balance runs with another "mode" than the file has', log)
        self.assertEqual(log.count("configuration: "), 5, log)
        self.cli("rpc", "balance", '{"mode": "on"}')
        self.write(same.replace('"switches"', '"balance": { "mode": "on" }, "switches"'))
        hangup("config.json is what runs")

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


    def test_no_descriptor_left(self):
        """Who cannot be accepted waits until he can, at each of the daemon's kinds of socket."""
        self.write(CONFIG.replace('"model": "82540EM"', '"kind": "virtio-net"'))
        self.start()
        used = {int(fd) for fd in os.listdir("/proc/%d/fd" % self.process.pid)}
        free = min(set(range(len(used) + 1)) - used)
        _, hard = resource.prlimit(self.process.pid, resource.RLIMIT_NOFILE)
        soft, _ = resource.prlimit(self.process.pid, resource.RLIMIT_NOFILE, (free, hard))
        clients = []
        for path, name in ((self.socket, "control"), (self.dir + "/vm1-net0.sock", "vm1/net0"),
                           (self.dir + "/vm2-net0.sock", "vm2/net0")):
            clients.append(socket.socket(socket.AF_UNIX))
            clients[-1].connect(path)
            wait_for(lambda: name + ": clients wait to be accepted: " in self.read_log(), name)
        resource.prlimit(self.process.pid, resource.RLIMIT_NOFILE, (soft, hard))
        wait_for(lambda: all(d["connected"] for d in self.devices().values()), "all accepted")
        clients[0].send(b'{"jsonrpc":"2.0","id":1,"method":"log"}\n')
        self.assertIn(b'"result"', clients[0].recv(4096))
        for client in clients:
            client.close()


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


if __name__ == "__main__":
    main()
