#!/usr/bin/python3
# SPDX-License-Identifier: BSD-2-Clause
"""Measures network devices of exitlessd and its peers, in rounds that are interleaved.

    net.py [--rounds N] [--seconds S] [--out FILE] [--cases NAME,...] [--servers NAME,...]

In each round every case is run with every server, one after the other, all with the same client
(`exitless bench net`; for the cases user-*, testpmd's virtio-user): so what the machine does
meanwhile strikes all alike. Each figure is one line of JSON, appended to FILE
(build/bench/net.jsonl); bench/report makes a page of them.

Needs root and bench/deps.sh.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import time

import rounds
import servers
import virtio_user
from servers import (BUILD, CLIENT_CPU, EXITLESS, SERVER_CPU, Exitless, ExitlessE1000,
                     ExitlessRoundRobin, Ovs, OvsPorts, Testpmd)

PEERS = [Exitless, Testpmd, OvsPorts, Ovs]
PAIRS = 8 # each of 16 devices sends to its neighbour as much as it can


class Metric:
    """One figure of a report. unit: of the figure; better: which way."""

    def __init__(self, value, unit, better, suffix="", title=""):
        self.value, self.unit, self.better = value, unit, better
        self.suffix, self.title = suffix, title


PPS = Metric(lambda r: r["total"]["pps"], "frames/s", "higher")
P99 = Metric(lambda r: r["flows"][0]["latency_ns"]["p99"], "ns", "lower")
OF_MEMCPY = Metric(lambda r: r["total"]["bps"] / r["memcpy_bps"], "of memcpy", "higher")
CYCLES = Metric(lambda r: r["server"]["busy_cycles_per_operation"], "cycles/frame", "lower")
IDLE = [Metric(lambda r: r["server"]["cpu_share"], "of a core", "lower", "-cpu", ": CPU"),
        Metric(lambda r: r["flows"][0]["latency_ns"]["max"], "ns", "lower", "-first",
               ": slowest first frame")]


class Case:
    """A load on servers with so many devices, all of them connected."""

    def __init__(self, name, title, load, metrics=PPS, on=None, devices=2, huge=True, seconds=1):
        """load: options of `exitless bench net`, or a VirtioUser."""
        self.name, self.title, self.load = name, title, load
        self.metrics = metrics if isinstance(metrics, list) else [metrics]
        self.on, self.devices = on or PEERS, devices
        self.huge, self.seconds = huge, seconds


class VirtioUser:
    """The load of a client that is not ours: frames of so many bytes, both ways."""

    def __init__(self, size, packed=False):
        self.size, self.packed = size, packed


def flows(*texts):
    return [word for text in texts for word in ("--flow", text)]


BOTH_WAYS = flows("0-1", "1-0")
PING = flows("0-1,window=1,size=64")
MIXED = PING + flows(*("%d-%d,size=1500" % (2 + i, 2 + (i ^ 1)) for i in range(2 * PAIRS)))
SCHEDULED = [Exitless, ExitlessRoundRobin, Testpmd, Ovs]

CASES = [
    Case("split-64", "split rings, 64 B", ["--size", "64"]),
    Case("split-1500", "split rings, 1500 B", ["--size", "1500"]),
    Case("packed-64", "packed rings, 64 B", ["--size", "64", "--packed"]),
    Case("packed-1500", "packed rings, 1500 B", ["--size", "1500", "--packed"]),
    Case("segments", "64 KB segments", ["--size", "65550", "--gso", "1448", "--window", "16",
                                        "--memcpy"], OF_MEMCPY, on=[Exitless], huge=False),
    Case("pingpong", "ping-pong, p99, the only pair", PING, P99),
    Case("alone", "ping-pong, p99, beside %d quiet devices" % (2 * PAIRS), PING, P99, on=SCHEDULED,
         devices=2 * PAIRS + 2),
    Case("mixed", "ping-pong, p99, beside %d bulk senders" % (2 * PAIRS), MIXED, P99, on=SCHEDULED,
         devices=2 * PAIRS + 2),
] + [
    Case("user-" + name, title + ", testpmd's virtio-user as the client", load)
    for name, title, load in (
        ("split-64", "split rings, 64 B", VirtioUser(64)),
        ("split-1500", "split rings, 1500 B", VirtioUser(1500)),
        ("packed-64", "packed rings, 64 B", VirtioUser(64, True)),
        ("packed-1500", "packed rings, 1500 B", VirtioUser(1500, True)))
] + [
    Case("devices-%d" % n, "one busy pair of %d devices" % n, BOTH_WAYS, CYCLES, on=[Exitless],
         devices=n, huge=False)
    for n in (2, 16, 64, 256)
] + [
    Case("idle-64", "64 virtio-net devices, idle", flows("0-1,rate=2"), IDLE, on=[Exitless],
         devices=64, huge=False, seconds=5),
    Case("idle-64-e1000", "64 82574L, idle", flows("0-1,rate=2"), IDLE, on=[ExitlessE1000],
         devices=64, huge=False, seconds=5),
    Case("e1000-64", "82574L, 64 B", ["--size", "64"], on=[ExitlessE1000], huge=False),
    Case("e1000-1500", "82574L, 1500 B", ["--size", "1500"], on=[ExitlessE1000], huge=False),
]


def machine_time():
    """Seconds that the two CPUs were stolen by the host, and busy (proc_stat(5))."""
    stolen = busy = 0
    with open("/proc/stat") as f:
        for line in f:
            words = line.split()
            if words[0] in ("cpu%d" % CLIENT_CPU, "cpu%d" % SERVER_CPU):
                n = [int(w) for w in words[1:9]]
                stolen += n[7]
                busy += sum(n) - n[3] - n[4] - n[7]
    return stolen / os.sysconf("SC_CLK_TCK"), busy / os.sysconf("SC_CLK_TCK")


def cpu_time(pid):
    with open("/proc/%d/stat" % pid) as f:
        words = f.read().rsplit(")", 1)[1].split()
    return (int(words[11]) + int(words[12])) / os.sysconf("SC_CLK_TCK")


def ours(server, case, seconds, warmup):
    """The command of `exitless bench net`."""
    prefix = "vfio:" if isinstance(server, ExitlessE1000) else "vhost:"
    argv = [EXITLESS, "--json"]
    if isinstance(server, Exitless):
        argv += server.client_globals()
    argv += ["bench", "net", "--cpu", str(CLIENT_CPU), "--seconds", str(seconds), "--warmup",
             str(warmup), *server.client_options(), *case.load]
    if case.huge:
        argv.append("--huge")
    return argv + [prefix + path for path in server.sockets]


def run(argv, case, seconds, warmup):
    """The client's report."""
    if isinstance(case.load, VirtioUser):
        return virtio_user.load(argv, seconds, warmup)
    done = subprocess.run(argv, capture_output=True, text=True, timeout=60 + 4 * seconds,
                          check=False)
    if done.returncode:
        raise servers.Failed(done.stderr)
    return json.loads(done.stdout)


def measure(server, case, seconds, warmup):
    """(the report, the command, what others took of the two CPUs)"""
    if isinstance(case.load, VirtioUser):
        argv = virtio_user.command(server.sockets, CLIENT_CPU, case.load.size, case.load.packed)
    else:
        argv = ours(server, case, seconds, warmup)
    for attempt in range(2):
        start, used = time.monotonic(), cpu_time(server.pid)
        stolen, busy = machine_time()
        client = resource.getrusage(resource.RUSAGE_CHILDREN)
        try:
            report = run(argv, case, seconds, warmup)
        except (servers.Failed, virtio_user.Failed) as e:
            if attempt:
                raise servers.Failed("%s with %s: %s" % (case.name, server.name, e)) from e
            continue
        finally:
            # for the server to see that its clients are gone
            time.sleep(0.1)
        client_end = resource.getrusage(resource.RUSAGE_CHILDREN)
        stolen_end, busy_end = machine_time()
        known = (cpu_time(server.pid) - used + client_end.ru_utime + client_end.ru_stime -
                 client.ru_utime - client.ru_stime)
        lost = stolen_end - stolen + max(0, busy_end - busy - known)
        return report, " ".join(argv), lost / (time.monotonic() - start)
    raise AssertionError


def one_round(cases, kinds, options, number, out):
    """All cases that want the same number of devices share their servers."""
    for devices in sorted({c.devices for c in cases}):
        mine = [c for c in cases if c.devices == devices]
        running = []
        try:
            for kind in kinds:
                if any(kind in c.on for c in mine):
                    running.append(kind(devices))
                    running[-1].pause()
            for case in mine:
                for server in running:
                    if type(server) in case.on:
                        server.go_on()
                        result = measure(server, case, case.seconds * options.seconds,
                                         options.warmup)
                        server.pause()
                        write(case, server, number, out, *result)
        finally:
            for server in running:
                server.stop()


def write(case, server, number, out, report, command, lost):
    for metric in case.metrics:
        value = metric.value(report)
        rounds.record(out, suite="net", case=case.name + metric.suffix,
                      title=case.title + metric.title, server=server.name, label=server.label,
                      value=value, unit=metric.unit, better=metric.better, lost_cpu=lost,
                      version=server.version(), round=number, command=command,
                      started_with=server.commands, report=report)
        print("%3d  %-20s %-22s %12.6g %s%s" %
              (number, case.name + metric.suffix, server.name, value, metric.unit,
               "  (others took %.0f %%)" % (100 * lost) if lost > 0.02 else ""), flush=True)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--seconds", type=float, default=1,
                        help="per measurement; some take a multiple")
    parser.add_argument("--warmup", type=float, default=0.3)
    parser.add_argument("--out", default=os.path.join(BUILD, "bench", "net.jsonl"))
    parser.add_argument("--cases", default=",".join(c.name for c in CASES))
    parser.add_argument("--servers")
    options = parser.parse_args()

    wanted = options.cases.split(",")
    unknown = set(wanted) - {c.name for c in CASES}
    if unknown:
        parser.error("there is no case %s" % ", ".join(unknown))
    cases = [c for c in CASES if c.name in wanted]
    kinds = PEERS + [ExitlessRoundRobin, ExitlessE1000]
    if options.servers:
        kinds = [k for k in kinds if k.name in options.servers.split(",")]
    os.makedirs(os.path.dirname(options.out), exist_ok=True)
    # before all that is not measured; inherited by the servers and the client
    os.nice(-20)
    undo = servers.huge_pages(2048)
    try:
        with open(options.out, "a") as out:
            for number in range(1, options.rounds + 1):
                one_round(cases, kinds, options, number, out)
    finally:
        undo()


if __name__ == "__main__":
    rounds.clean_up_at_the_end()
    try:
        main()
    except servers.Failed as e:
        sys.exit("net.py: %s" % e)
