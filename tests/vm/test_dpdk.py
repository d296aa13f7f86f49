# SPDX-License-Identifier: BSD-2-Clause
"""DPDK's testpmd on its virtio-user: a driver of others, without a guest and without huge pages.

One testpmd has two of our devices and sends what one receives out of the other, with addresses of
its own, so that the frames it began with go round through the switch. What it counts and what we
count must be the same.
"""

import os
import pty
import re
import subprocess
import threading

from lib import lan
from lib.context import limit, needs
from lib.process import Failure, spawn, wait_for
from lib.vm import tail, tool

FRAMES = 3000
BUFFERS = 256  # of each ring; what a driver receives at once is less


class Testpmd:
    """testpmd with a device for each text of drivers (arguments of net_virtio_user). Commands are
    read and carried out one after the other."""

    def __init__(self, t, drivers, options):
        cpus = ",".join(str(cpu) for cpu in sorted(os.sched_getaffinity(0)))
        argv = [tool("fetch-dpdk.sh"), "--lcores", "0@({0}),1@({0})".format(cpus), "--no-pci",
                "--no-huge", "-m", "128", "--single-file-segments", "--no-shconf", "--no-telemetry",
                "--file-prefix", os.path.basename(t.directory)]
        for number, text in enumerate(drivers):
            argv += ["--vdev", "net_virtio_user%d,path=%s,mac=%s,queue_size=%d,%s" %
                     (number, t.path("vm%d-net0.sock" % (number + 1)), lan.mac(number + 1),
                      BUFFERS, text)]
        argv += ["--", "-i", "--nb-cores=1", "--forward-mode=mac", "--total-num-mbufs=4096",
                 "--no-mlockall", "--eth-peer=0," + lan.mac(2), "--eth-peer=1," + lan.mac(1),
                 *options]
        self.log = os.path.join(t.logs, "testpmd.log")
        # a terminal, for its output to come line by line
        master, slave = pty.openpty()
        self.process = spawn(argv, self.log, stdin=subprocess.PIPE, stdout=slave)
        os.close(slave)
        t.later(self.kill)
        self.output = ""
        threading.Thread(target=self._read, args=[master], daemon=True).start()
        self.wait_output("testpmd> ")

    def _read(self, master):
        with open(self.log, "w") as log:
            while True:
                try:
                    text = os.read(master, 65536).decode(errors="replace").replace("\r", "")
                except OSError:  # nobody has its other end any more
                    break
                log.write(text)
                log.flush()
                self.output += text
        os.close(master)

    def check_alive(self):
        if self.process.poll() is not None:
            raise Failure("testpmd ended with status %d\n%s" %
                          (self.process.returncode, tail(self.log)))

    def wait_output(self, pattern, begin=0):
        """The match of what it printed since begin."""
        def found():
            match = re.search(pattern, self.output[begin:], re.S)
            if not match:
                self.check_alive()
            return match
        return wait_for("testpmd prints " + pattern, found, 60, 0.02)

    def send(self, *commands):
        """Commands, and the output of all of them."""
        begin = len(self.output)
        # there is no such command, and it says so when those before it are done
        mark = "done-%d" % begin
        self.process.stdin.write(("\n".join([*commands, mark]) + "\n").encode())
        self.process.stdin.flush()
        self.wait_output(mark + r"\s*Command not found", begin)
        return self.output[begin:]

    def counts(self):
        """What each port received and sent so far."""
        found = re.findall(r"NIC statistics for port \d.*?RX-packets: (\d+).*?TX-packets: (\d+)",
                           self.send("show port stats all"), re.S)
        return [(int(received), int(sent)) for received, sent in found]

    def kill(self):
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()


def counts(daemon):
    """What each device's driver received and sent, as we count."""
    found = [daemon.device("vm%d" % n)["counters"]["device"] for n in (1, 2)]
    return [(c["rx_packets"], c["tx_packets"]) for c in found]


def start(t, **device):
    config = lan.config(["", ""])
    for machine in config["machines"]:
        del machine["devices"][0]["model"]
        machine["devices"][0].update(kind="virtio-net", **device)
    return t.daemon(config)


def go_round(daemon, testpmd, bursts=1):
    """Frames go round for a while; then both sides have counted the same."""
    before = counts(daemon)

    def enough():
        testpmd.check_alive()
        return all(now[0] - then[0] > FRAMES for then, now in zip(before, counts(daemon)))

    testpmd.send("set fwd mac", "start tx_first %d" % bursts)
    wait_for("frames go round", enough, 60)
    testpmd.send("stop")
    sent = [port[1] for port in testpmd.counts()]
    wait_for("all that was sent arrives: %s" % sent,
             lambda: counts(daemon) == [(sent[1], sent[0]), (sent[0], sent[1])], 20)

    def same():
        # of each queue it takes a burst at least before it stops
        testpmd.send("set fwd rxonly", *["start", "stop"] * (BUFFERS // 32))
        found = testpmd.counts(), counts(daemon)
        print("testpmd counts %s, we %s" % found)
        return found[0] == found[1]

    # we count a frame before the driver can see it
    wait_for("testpmd has all that we have counted", same, 20)


def check_devices(daemon, *taken):
    """They did what they should, and of the features that the drivers took these are some."""
    for n in (1, 2):
        features = daemon.call("show", object="device", machine="vm%d" % n, name="net0")["features"]
        for name in ("VERSION_1", *taken):
            assert name in features, (name, features)
        assert ("RING_PACKED" in features) == (n == 2), features
        stats = daemon.device("vm%d" % n)
        for name in ("bad_chains", "rings_broken", "tx_malformed", "rx_bad_buffer"):
            assert stats["counters"]["device"][name] == 0, (name, stats)
        for queue in stats["queues"]:
            assert queue["packets"] > 0, queue


@needs("fetch-dpdk.sh")
@limit(120)
def test_rings(t):
    """Split rings on one side, packed ones on the other, one buffer for each frame."""
    daemon = start(t)
    plain = "mrg_rxbuf=0,in_order=0"
    testpmd = Testpmd(t, [plain, "packed_vq=1," + plain], ["--txpkts=64"])
    go_round(daemon, testpmd)
    check_devices(daemon)


@needs("fetch-dpdk.sh")
@limit(120)
def test_in_order(t):
    """Two pairs of queues, used in order; merged buffers, and frames of three pieces, by tables."""
    daemon = start(t, queues=2)
    more = "mrg_rxbuf=1,in_order=1,queues=2"
    testpmd = Testpmd(t, [more, "packed_vq=1," + more],
                      ["--rxq=2", "--txq=2", "--txpkts=64,200,900", "--txonly-multi-flow"])
    go_round(daemon, testpmd, 2)
    # more pieces than it makes a table of
    testpmd.send("set txpkts " + ",".join(["64"] * 9))
    go_round(daemon, testpmd, 2)
    check_devices(daemon, "IN_ORDER", "MRG_RXBUF", "MQ", "INDIRECT_DESC")


@needs("fetch-dpdk.sh")
@limit(120)
def test_listens(t):
    """testpmd is the one who listens."""
    daemon = start(t, vmm_listens=True)
    testpmd = Testpmd(t, ["server=1", "server=1,packed_vq=1"], [])
    go_round(daemon, testpmd)
    check_devices(daemon)
