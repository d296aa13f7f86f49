#!/usr/bin/python3
# SPDX-License-Identifier: BSD-2-Clause
"""exitless bench against exitlessd: test_bench.py EXITLESSD EXITLESS [unittest args]

That the loads run, and that what they report is what was asked for: figures mean nothing here.
"""

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import unittest

from fake_control import FakeControl

EXITLESSD, EXITLESS = sys.argv[1:3]


class Server(unittest.TestCase):
    """A daemon with devices() of the machine "vm"."""

    @classmethod
    def setUpClass(cls):
        cls.dir = tempfile.mkdtemp(prefix="exitless-bench-")
        with open(cls.dir + "/disk.img", "wb") as f:
            f.truncate(64 << 20)
        config = {"control": {"socket": cls.dir + "/control.sock", "directory": cls.dir},
                  "switches": [{"name": "lan"}],
                  "machines": [{"name": "vm", "devices": cls.devices()}]}
        with open(cls.dir + "/config.json", "w") as f:
            json.dump(config, f)
        with open(cls.dir + "/log", "w") as log:
            cls.daemon = subprocess.Popen([EXITLESSD, "--config", cls.dir + "/config.json"],
                                          stderr=log)
        end = time.monotonic() + 60
        while not os.path.exists(cls.dir + "/control.sock") and time.monotonic() < end:
            time.sleep(0.01)

    @classmethod
    def tearDownClass(cls):
        if cls.daemon.poll() is not None:
            with open(cls.dir + "/log") as log:
                sys.stderr.write("the daemon ended: %d\n%s" % (cls.daemon.returncode, log.read()))
        cls.daemon.kill()
        cls.daemon.wait()
        shutil.rmtree(cls.dir)

    def run_bench(self, load, args, status, enough=None):
        # short; but where the machine has no time for a load, something has to come of it
        for seconds in ("0.2", "3", "20"):
            start = time.monotonic()
            done = subprocess.run([EXITLESS, "--json", "--socket", self.dir + "/control.sock",
                                   "bench", load, "--seconds", seconds, "--warmup", "0.1", *args],
                                  text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                                  timeout=120)
            self.elapsed = time.monotonic() - start
            report = json.loads(done.stdout) if done.stdout else None
            if enough(report) if enough else status or not self.too_short(done, report):
                break
        self.assertEqual(done.returncode, status, done.stderr)
        if status:
            self.assertNotEqual(done.stderr, "")
        if status == 1:
            for why in report["error"]["message"].split("; "):
                self.assertIn("exitless bench: %s\n" % why, done.stderr)
        elif not status:
            self.assertNotIn("error", report)
        return report

    def text(self, *args):
        """What the command prints without --json."""
        return subprocess.run([EXITLESS, "--socket", self.dir + "/control.sock", *args], text=True,
                              check=True, stdout=subprocess.PIPE, timeout=120).stdout

    def expect_tops(self, load, device, what):
        """While there is a load in the background, top shows it and what the scheduler does."""
        bench = subprocess.Popen([EXITLESS, "bench", *load, "--seconds", "100"],
                                 stdout=subprocess.DEVNULL)
        try:
            end = time.monotonic() + 60
            while True:
                rates = json.loads(self.text("top", "--json", "--interval", "0.2", "--count", "1"))
                queue = max(rates["queues"], key=lambda queue: queue["cycles_ps"])
                shown = {d["name"]: d for d in rates["devices"]}[device]
                if (all(queue[key] > 0 for key in ("found_ps", "kicks_ps", "parked_ps", "cycles_ps",
                                                   "packets_ps", "bytes_ps")) and
                        shown[what] > 0 and all(rates["cores"][0][key] > 0 for key in
                                                ("busy_share", "idle_share", "sleep_share"))):
                    break
                self.assertLess(time.monotonic(), end, rates)
            self.assertEqual(queue["name"][:3 + len(device)], "vm/" + device)
            self.assertGreater(queue["cycles_per_packet"], 0)
            self.assertIn("migrated", queue)
            self.assertRegex(self.text("top", "--interval", "0.5", "--count", "1"),
                             r"QUEUE +STATE +FOUND .*\n(.*\n)?vm/%s/" % device)
        finally:
            bench.kill()
            bench.wait()

    @contextlib.contextmanager
    def moving(self, *devices):
        """Meanwhile these change between two cores all the time, by hand."""
        self.text("add", "core", "io1")
        ending = threading.Event()
        moves = []

        def move():
            while not ending.is_set():
                for device in devices:
                    self.text("set", "device", "vm/" + device, "core=io%d" % (len(moves) % 2))
                    moves.append(device)

        thread = threading.Thread(target=move)
        thread.start()
        try:
            yield moves
        finally:
            ending.set()
            thread.join()
            for device in devices:
                self.text("set", "device", "vm/" + device, "core=io0")
            self.text("remove", "core", "io1")

    def bench_stalled(self, load, *args, answer_takes=0):
        """The server stands still from before what is measured to after it, and gives its counters
        slowly: the report, and for how long there was something to measure at most."""
        times = []

        def answer(n, _):
            # --stats asks before and after
            if n == 0:
                os.kill(self.daemon.pid, signal.SIGSTOP)
                os.waitpid(self.daemon.pid, os.WUNTRACED)
                time.sleep(answer_takes)
            times.append(time.monotonic())
            if n:
                os.kill(self.daemon.pid, signal.SIGCONT)
            return {"devices": [], "cores": []}

        try:
            with FakeControl(self.dir + "/fake.sock", answer) as fake:
                done = subprocess.run([EXITLESS, "--json", "--socket", fake.path, "bench", load,
                                       "--seconds", "1", "--warmup", "0.1", "--stats", *args],
                                      stdout=subprocess.PIPE, timeout=120)
        finally:
            os.kill(self.daemon.pid, signal.SIGCONT)
        # nothing was done meanwhile
        self.assertEqual(done.returncode, 1)
        return json.loads(done.stdout), times[1] - times[0]

    def expect_charged(self, result, rate, seconds):
        """All that was due waited from then to the end."""
        latency, ns = result["latency_ns"], 1e9 * seconds
        self.assertGreaterEqual(result["due"], int(rate * seconds))
        self.assertGreaterEqual(latency["count"], int(rate * seconds))
        self.assertGreaterEqual(latency["max"], 0.99 * ns)
        self.assertGreaterEqual(latency["p50"], 0.49 * ns)
        self.assertGreaterEqual(latency["p99"], 0.98 * ns)

    def expect_not_charged(self, result, rate, seconds, room):
        """What was due while the client waited for the counters is not sent later."""
        self.assertLessEqual(result["due"], rate * seconds + room)
        # those on their way were sent before
        self.assertLessEqual(result["latency_ns"]["p50"], 1e9 * seconds)

    def counters(self, device):
        stats = json.loads(self.text("stats", "--json", "vm/" + device))["devices"][0]
        return stats["counters"]["device"]

    @staticmethod
    def too_short(done, report):
        if done.returncode:
            return "nothing was received" in done.stderr or "nothing was done" in done.stderr
        return any(not flow["latency_ns"]["count"] for flow in report.get("flows", [])) or any(
            disk["depth"] and (disk["read_percent"] > 0 and not disk["reads"] or
                               disk["read_percent"] < 100 and not disk["writes"])
            for disk in report.get("disks", []))


class Net(Server):
    @classmethod
    def devices(cls):
        virtio = [{"name": "net%d" % i, "kind": "virtio-net", "switch": "lan"} for i in range(4)]
        return virtio + [{"name": "e0", "model": "82574L", "switch": "lan"},
                         {"name": "e1", "model": "82540EM", "switch": "lan"}]

    def bench(self, *args, ports=("net0", "net1"), status=0):
        paths = [("vfio:" if p[0] == "e" else "") + "%s/vm-%s.sock" % (self.dir, p) for p in ports]
        report = self.run_bench("net", [*args, *paths], status)
        if status:
            return report
        total = report["total"]
        self.assertEqual((total["corrupt"], total["device_errors"]), (0, 0))
        for flow in report["flows"]:
            self.assertGreater(flow["received"], 0, flow)
            self.assertGreater(flow["latency_ns"]["count"], 0)
            self.assertGreaterEqual(flow["latency_ns"]["p99"], flow["latency_ns"]["p50"])
        return report

    def test_rings(self):
        for rings in ([], ["--packed"], ["--mergeable"], ["--packed", "--mergeable"],
                      ["--in-order"]):
            for size in ("64", "1500"):
                with self.subTest(rings=rings, size=size):
                    report = self.bench("--size", size, "--verify", *rings)
                    self.assertEqual(len(report["flows"]), 2)
                    self.assertGreater(report["client"]["busy_share"], 0)
                    self.assertLessEqual(report["client"]["busy_share"], 1)
                    self.assertEqual(report["rings"],
                                     "packed" if "--packed" in rings else "split")

    def test_large_segments(self):
        for rings in ([], ["--packed"], ["--mergeable"]):
            with self.subTest(rings=rings):
                report = self.bench("--size", "65550", "--gso", "1448", "--window", "16",
                                    "--verify", "--memcpy", *rings)
                self.assertGreater(report["memcpy_bps"], 0)

    def test_e1000(self):
        for size in ("64", "1500"):
            self.bench("--size", size, "--verify", ports=("e0", "e1"))
        self.bench("--size", "1500", "--verify", ports=("e0", "net0"))

    def test_open_loop(self):
        report = self.bench("--rate", "5k")
        for flow in report["flows"]:
            self.assertEqual((flow["rate"], flow["window"]), (5000, 0))
            # no more than was due since it began
            self.assertLessEqual(flow["sent"], 5000 * self.elapsed)
            self.assertEqual(flow["due"], flow["sent"] + flow["unsent"])
            self.assertLessEqual(flow["due"], 5000 * self.elapsed)
        self.assertNotIn("due", self.bench("--window", "8")["flows"][0])

    def test_stall_at_the_end(self):
        for sample in ([], ["--sample", "4"]):
            ports = ("%s/vm-%s.sock" % (self.dir, p) for p in ("net0", "net1"))
            report, _ = self.bench_stalled("net", "--rate", "2k", "--flow", "0-1", *sample, *ports)
            flow = report["flows"][0]
            self.assertGreater(flow["unsent"], 0)
            if sample:
                flow["latency_ns"]["count"] *= 4
            self.expect_charged(flow, 2000, report["seconds"])

    def test_slow_counters(self):
        report, seconds = self.bench_stalled("net", "--rate", "2k", "--flow", "0-1", *(
            "%s/vm-%s.sock" % (self.dir, p) for p in ("net0", "net1")), answer_takes=2)
        self.expect_not_charged(report["flows"][0], 2000, seconds, 256)

    def test_mixed(self):
        report = self.bench("--stats", "--flow", "0-1,size=1500", "--flow", "2-3,window=1",
                            "--flow", "1-0,rate=1k", "--pid", str(self.daemon.pid),
                            ports=("net0", "net1", "net2", "net3"))
        self.assertEqual([(f["from"], f["to"], f["size"], f["window"]) for f in report["flows"]],
                         [(0, 1, 1500, 256), (2, 3, 64, 1), (1, 0, 64, 0)])
        self.assertGreater(report["server"]["polls"], 0)
        self.assertGreater(report["server"]["busy_s"], 0)
        self.assertIn("cpu_s", report["server"])

    def test_tables(self):
        out = self.text("bench", "net", "--seconds", "0.2", "--warmup", "0",
                        *("%s/vm-%s.sock" % (self.dir, p) for p in ("net0", "net1")))
        self.assertRegex(out, r"^FLOW +SIZE +FRAMES/S +BITS/S +LOST +P50 ns +P99 ns +P99.9 ns\n"
                              r"0-1 +64 .*\n1-0 +64 .*\nall ")

    def test_top(self):
        self.expect_tops(["net", "--rate", "500", "--flow", "0-1",
                          *("%s/vm-%s.sock" % (self.dir, p) for p in ("net0", "net1"))],
                         "net0", "sent_pps")

    def test_moves(self):
        """Between cores under load: what one device sent, the other one got."""
        window, runs = 64, 0
        before = [self.counters(name) for name in ("net0", "net1")]
        with self.moving("net0", "net1", "net0") as moves:
            while len(moves) < 4:
                self.bench("--window", str(window), "--verify")
                runs += 1
        grown = [{key: value - then[key] for key, value in self.counters(name).items()}
                 for name, then in zip(("net0", "net1"), before)]
        for sender, receiver in (grown, reversed(grown)):
            # those on their way when the client ended have no ring, or no buffer, any more
            late = receiver["rx_off"] + receiver["rx_no_buffer"]
            self.assertEqual(sender["tx_packets"], receiver["rx_packets"] + late, grown)
            self.assertLessEqual(late, window * runs, grown)

    def test_nothing_comes(self):
        socket = self.dir + "/control.sock"
        subprocess.run([EXITLESS, "--socket", socket, "link", "vm/net1", "down"], check=True)
        try:
            self.bench(status=1)
        finally:
            subprocess.run([EXITLESS, "--socket", socket, "link", "vm/net1", "up"], check=True)

    def test_usage(self):
        for args in (["--size", "10"], ["--flow", "0"], ["--flow", "0-1,x=1"], ["--nonsense"],
                     ["--seconds", "never"], ["--window", "1.9"], ["--pid", "0"],
                     ["--ring", "256.5"], ["--size", "64.5"], ["--size", "1kB"], ["--cpu", "0.5"],
                     *(["--flow", flow] for flow in ("0-1x", "x0-1", "0-1 ", "0- 1", "0--1", "0-",
                                                     "+0-1", "0-4294967297"))):
            self.bench(*args, status=2)
        self.bench(ports=("net0",), status=2)
        # bytes are counted in powers of 1024, all else in those of 1000
        flow, = self.bench("--size", "1k", "--flow", "0-1", "--window", "1k")["flows"]
        self.assertEqual((flow["size"], flow["window"]), (1024, 1000))
        for ports in (("nowhere", "net0"), ("e0", "elsewhere")):
            report = self.bench(ports=ports, status=1)
            self.assertIn("where.sock: No such file", report["error"]["message"])
        self.bench("--cpu", "100000", status=1)
        report = self.bench("--pid", "4194304", status=1)
        self.assertIn("no process 4194304", report["error"]["message"])
        self.bench("--flow", "0-7", status=1)
        self.bench("--size", "9000", ports=("e0", "e1"), status=1)
        for args in (["bench"], ["bench", "nonsense"]):
            done = subprocess.run([EXITLESS, *args], stderr=subprocess.PIPE, timeout=20)
            self.assertEqual(done.returncode, 2)


class Blk(Server):
    @classmethod
    def devices(cls):
        disk = {"kind": "virtio-blk", "queues": 2}
        return [{"name": "file", "model": "file", "file": cls.dir + "/disk.img", **disk},
                {"name": "memory", "model": "malloc", "size_bytes": 16 << 20, **disk},
                {"name": "null", "model": "null", "size_bytes": 1 << 30, **disk},
                {"name": "fixed", "model": "null", "size_bytes": 1 << 30, "read_only": True,
                 **disk}]

    def bench(self, *args, disks=("null",), status=0, enough=None):
        paths = []
        for disk in disks:
            name, comma, rest = disk.partition(",")
            paths.append("%s/vm-%s.sock%s%s" % (self.dir, name, comma, rest))
        report = self.run_bench("blk", [*args, *paths], status, enough)
        if status:
            return report
        self.assertEqual((report["total"]["errors"], report["total"]["wrong"]), (0, 0))
        for disk in report["disks"]:
            done = disk["reads"] + disk["writes"]
            # in an open loop also what waited at the end
            self.assertEqual(disk["latency_ns"]["count"], disk.get("due", done))
            self.assertGreaterEqual(disk["latency_ns"]["p99"], disk["latency_ns"]["p50"])
            self.assertEqual(done > 0, disk["depth"] > 0)
        return report

    def test_rings(self):
        for rings in ([], ["--packed"], ["--indirect"], ["--packed", "--indirect"],
                      ["--event-idx"], ["--packed", "--event-idx"]):
            for depth in ("1", "32"):
                with self.subTest(rings=rings, depth=depth):
                    report = self.bench("--depth", depth, *rings)
                    self.assertEqual(report["rings"],
                                     "packed" if "--packed" in rings else "split")
                    self.assertEqual(report["disks"][0]["writes"], 0)

    def test_data(self):
        for rings in ([], ["--packed", "--indirect"]):
            for size in ("512", "4k", "64k"):
                with self.subTest(rings=rings, size=size):
                    report = self.bench("--verify", "--read", "50", "--queues", "2", "--size",
                                        size, *rings, disks=("file", "memory"))
                    for disk in report["disks"]:
                        self.assertGreater(disk["reads"], 0)
                        self.assertGreater(disk["writes"], 0)

    def test_device_in_use(self):
        with socket.socket(socket.AF_UNIX) as other:
            other.connect(self.dir + "/vm-null.sock")
            done = subprocess.run([EXITLESS, "bench", "blk", self.dir + "/vm-null.sock"],
                                  stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                                  timeout=60)
        self.assertEqual(done.returncode, 1)
        self.assertIn("another client may have the device", done.stderr)

    def test_wrong_data(self):
        """The null disk loses what is written to it."""
        report = self.bench("--verify", "--read", "50", "--span", "64k", status=1,
                            enough=lambda report: report and report["total"]["wrong"])
        self.assertGreater(report["total"]["wrong"], 0)

    def test_open_loop(self):
        report = self.bench("--rate", "2k")
        # no more than was due since it began
        self.assertLessEqual(report["total"]["requests"], 2000 * self.elapsed)
        disk = report["disks"][0]
        self.assertEqual(disk["rate"], 2000)
        self.assertEqual(disk["due"], disk["reads"] + disk["unfinished"] + disk["unsent"])
        self.assertLessEqual(disk["due"], 2000 * self.elapsed)
        self.assertNotIn("due", self.bench("--depth", "8")["disks"][0])
        idle = self.bench("--rate", "2k", disks=("null,depth=0", "memory"))["disks"][0]
        self.assertEqual(idle["due"], 0)

    def test_stall_at_the_end(self):
        report, _ = self.bench_stalled("blk", "--rate", "2k", "--depth", "8",
                                       self.dir + "/vm-null.sock")
        disk = report["disks"][0]
        self.assertEqual(disk["unfinished"], 8)
        self.assertEqual(disk["due"], disk["latency_ns"]["count"])
        self.expect_charged(disk, 2000, report["seconds"])

    def test_slow_counters(self):
        report, seconds = self.bench_stalled("blk", "--rate", "2k", "--depth", "8",
                                             self.dir + "/vm-null.sock", answer_takes=2)
        self.expect_not_charged(report["disks"][0], 2000, seconds, 8)

    def test_tables(self):
        out = self.text("bench", "blk", "--seconds", "0.2", "--warmup", "0",
                        self.dir + "/vm-memory.sock")
        self.assertRegex(out, r"^DISK +.*P99.9 ns\n.*vm-memory.sock ")

    def test_top(self):
        self.expect_tops(["blk", "--rate", "500", self.dir + "/vm-memory.sock"], "memory",
                         "received_pps")

    def test_moves(self):
        """Between cores under load: no request is lost, and each block is what was written last."""
        for disk in ("memory", "file"):
            with self.moving(disk, disk, disk) as moves:
                while len(moves) < 4:
                    self.bench("--verify", "--read", "50", "--queues", "2", disks=(disk,))

    def test_limits(self):
        """A disk's own rates, set while it lives, and taken away again."""
        for key, rate, per in (("max_packets_per_s", 2000, 1), ("max_bytes_per_s", 8 << 20, 4096)):
            self.text("set", "device", "vm/null", "%s=%d" % (key, rate))
            report = self.bench("--depth", "16", disks=("null",))
            # and a burst before, in each of its runs
            most = (self.elapsed + 0.1) * rate / per + 100
            self.assertLessEqual(report["total"]["requests"], most)
            stats = json.loads(self.text("stats", "--json", "vm/null"))["devices"][0]
            self.assertGreater(sum(queue["limited"] for queue in stats["queues"]), 0)
            self.text("set", "device", "vm/null", key + "=0")
        for seconds in ("0.3", "3", "30"):
            report = self.bench("--depth", "16", "--seconds", seconds, disks=("null",))
            if report["total"]["requests"] > (self.elapsed + 0.1) * 2000 + 100:
                break
        else:
            self.fail("it is still held back")

    def test_many(self):
        report = self.bench("--stats", "--pid", str(self.daemon.pid), "--sequential",
                            disks=("null,depth=0", "memory,size=8k,depth=2,read=0", "file"))
        self.assertEqual([(d["depth"], d["size"], d["read_percent"]) for d in report["disks"]],
                         [(0, 4096, 100), (2, 8192, 0), (32, 4096, 100)])
        self.assertEqual(report["disks"][1]["capacity_bytes"], 16 << 20)
        self.assertGreater(report["server"]["polls"], 0)
        self.assertIn("cpu_s", report["server"])

    def test_usage(self):
        for args in (["--size", "100"], ["--size", "513"], ["--depth", "2000"], ["--nonsense"],
                     ["--read", "101"], ["--queues", "0"], ["--depth", "1.9"], ["--read", "0.5"],
                     ["--size", "512.5"], ["--queues", "1.5"], ["--seed", "0.1"], ["--depth", ""]):
            self.bench(*args, status=2)
        disk, = self.bench("--size", "1.5k", "--rate", "0.5k")["disks"]
        self.assertEqual((disk["size"], disk["rate"]), (1536, 500))
        self.bench(disks=(), status=2)
        self.bench(disks=("null,x=1",), status=2)
        self.bench("--read", "50", disks=("fixed",), status=1)
        report = self.bench(disks=("nowhere",), status=1)
        self.assertIn("nowhere.sock: No such file", report["error"]["message"])
        report = self.bench("--queues", "3", status=1)
        self.assertIn("the disk has 2 queues, not 3", report["error"]["message"])


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1] + sys.argv[3:], verbosity=2)
