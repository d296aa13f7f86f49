# SPDX-License-Identifier: BSD-2-Clause
"""A second client, one that is not ours: DPDK's testpmd with two virtio-user devices.

It forwards what it receives from one device to the other, addresses as they are, so the frames that
it began with go round through the server for ever: a closed loop each way, as `exitless bench net`
has it. What it counts in a second is the figure. It checks nothing, and a frame that was lost is not
made up for; how many were is in the report.
"""

import os
import re
import subprocess
import tempfile
import time

BURST = 32
WINDOW = 256 # frames each way; not more than a ring has
MACS = ("02:00:00:00:00:01", "02:00:00:00:00:02")
MEMORY = 256 # MiB
SETTLE_S = 0.2
TRIES = 20


class Failed(Exception):
    pass


def command(sockets, cpu, size, packed):
    argv = ["stdbuf", "-oL", "dpdk-testpmd", "--lcores", "0@%d,1@%d" % (cpu, cpu), "--no-pci",
            "--in-memory", "--single-file-segments", "-m", str(MEMORY), "--file-prefix",
            "virtio-user"]
    for i, path in enumerate(sockets[:2]):
        argv += ["--vdev", "net_virtio_user%d,path=%s,mac=%s,queue_size=%d,packed_vq=%d" %
                 (i, path, MACS[i], WINDOW, packed)]
    return argv + ["--", "-i", "--nb-cores=1", "--forward-mode=io", "--total-num-mbufs=4096",
                   "--burst=%d" % BURST, "--txpkts=%d" % size, "--eth-peer=0," + MACS[1],
                   "--eth-peer=1," + MACS[0]]


class Session:
    """testpmd at its prompt; commands are carried out one after the other."""

    def __init__(self, argv):
        self.log = tempfile.TemporaryFile()
        self.process = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=self.log,
                                        stderr=subprocess.STDOUT, text=True)

    def output(self):
        # not by seek(): the position in the file is testpmd's too
        log = self.log.fileno()
        return os.pread(log, os.fstat(log).st_size, 0).decode(errors="replace")

    def do(self, commands, seconds=60):
        """What it printed meanwhile."""
        begin, end = len(self.output()), time.monotonic() + seconds
        # there is no such command, and it says so when those before it are done
        mark = "done-%d" % begin
        self.process.stdin.write("\n".join([*commands, mark]) + "\n")
        self.process.stdin.flush()
        while not re.search(mark + r"\s*Command not found", self.output()[begin:]):
            if self.process.poll() is not None or time.monotonic() > end:
                raise Failed("testpmd as a client:\n" + self.output()[-2000:])
            time.sleep(0.01)
        return self.output()[begin:]

    def close(self):
        if self.process.poll() is None:
            self.process.kill()
        self.process.communicate()
        self.log.close()


def counts(text):
    """[(received, sent)] of each port."""
    return [(int(a), int(b)) for a, b in
            re.findall(r"RX-packets: (\d+).*?TX-packets: (\d+)", text, re.S)]


def drain(session):
    """Frames that were lost on the way to each port, since this was asked last."""
    # what is on its way is received and kept; of each queue at least a burst at a time
    session.do(["stop", "set fwd rxonly", *["start", "stop"] * (WINDOW // BURST + 1)])
    first, second = counts(session.do(["show port stats all"]))
    session.do(["clear port stats all", "set fwd io"])
    return second[1] - first[0], first[1] - second[0]


def load(argv, seconds, warmup):
    """A report in the form of `exitless bench net`, as far as it goes."""
    session = Session(argv)
    try:
        # its prompt comes before a server has all the rings; until then frames are lost
        for _ in range(TRIES):
            session.do(["start tx_first 1"])
            time.sleep(SETTLE_S)
            if drain(session) == (0, 0):
                break
        session.do(["start tx_first %d" % (WINDOW // BURST)])
        time.sleep(warmup)
        # a rate is since it was asked last, by testpmd's own clock
        session.do(["show port stats all"])
        time.sleep(seconds)
        pps = [int(n) for n in re.findall(r"Rx-pps:\s+(\d+)", session.do(["show port stats all"]))]
        lost = drain(session)
        if not all(pps):
            raise Failed("nothing comes any more; lost: %s" % (lost,))
        return {"total": {"pps": sum(pps)},
                "flows": [{"pps": n, "lost": l} for n, l in zip(pps, lost)]}
    finally:
        session.close()
