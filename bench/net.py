#!/usr/bin/python3
# SPDX-License-Identifier: BSD-2-Clause
"""Measures network devices of exitlessd and its peers, in rounds that are interleaved.

    net.py [--rounds N] [--seconds S] [--out FILE] [--cases NAME,...] [--servers NAME,...]

In each round every case is run with every server, one after the other, all with the same client
(`exitless bench net`): so what the machine does meanwhile strikes all alike. Each measurement is
one line of JSON, appended to FILE (build/bench/net.jsonl); bench/report makes a page of it.

Needs root and bench/deps.sh.
"""

import argparse
import datetime
import json
import os
import subprocess
import sys
import time

import servers
from servers import BUILD, CLIENT_CPU, EXITLESS, Exitless, ExitlessE1000, Ovs, OvsPorts, Testpmd

PEERS = [Exitless, Testpmd, OvsPorts, Ovs]


class Case:
    """Some load on servers that have so many devices; which ones take part is the load's."""

    def __init__(self, name, title, load, on=None, devices=2, ports=None, huge=True):
        self.name, self.title = name, title
        self.load, self.on, self.devices = load, on or PEERS, devices
        self.ports = ports or list(range(devices))
        self.huge = huge


def flows(*texts):
    return [word for text in texts for word in ("--flow", text)]


BULK = 16
MIXED = flows("0-1,window=1,size=64") + flows(
    *("%d-%d,size=1500" % (2 * i + 2, 2 * i + 3) for i in range(BULK)))
ALONE = flows("0-1,window=1,size=64")

CASES = [
    Case("split-64", "split rings, 64 B", ["--size", "64"]),
    Case("split-1500", "split rings, 1500 B", ["--size", "1500"]),
    Case("packed-64", "packed rings, 64 B", ["--size", "64", "--packed"]),
    Case("packed-1500", "packed rings, 1500 B", ["--size", "1500", "--packed"]),
    Case("pingpong", "ping-pong, 64 B", ALONE),
    Case("segments", "64 KB segments", ["--size", "65550", "--gso", "1448", "--window", "16",
                                        "--memcpy"], on=[Exitless], huge=False),
    Case("e1000-64", "82574L, 64 B", ["--size", "64"], on=[ExitlessE1000], huge=False),
    Case("e1000-1500", "82574L, 1500 B", ["--size", "1500"], on=[ExitlessE1000], huge=False),
]


def measure(server, case, seconds, warmup):
    prefix = "vfio:" if isinstance(server, ExitlessE1000) else "vhost:"
    argv = [EXITLESS, "--json"]
    if isinstance(server, Exitless):
        argv += server.client_globals()
    argv += ["bench", "net", "--cpu", str(CLIENT_CPU), "--seconds", str(seconds), "--warmup",
             str(warmup), *server.client_options(), *case.load]
    if case.huge:
        argv.append("--huge")
    argv += [prefix + server.sockets[i] for i in case.ports]
    for _ in range(2):
        done = subprocess.run(argv, capture_output=True, text=True, timeout=60 + 4 * seconds,
                              check=False)
        # for the server to see that its clients are gone
        time.sleep(0.1)
        if not done.returncode:
            break
    else:
        raise servers.Failed("%s with %s: %s" % (case.name, server.name, done.stderr))
    return json.loads(done.stdout), " ".join(argv)


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
                    if type(server) not in case.on:
                        continue
                    server.go_on()
                    report, command = measure(server, case, options.seconds, options.warmup)
                    server.pause()
                    row = {"suite": "net", "case": case.name, "title": case.title,
                           "server": server.name, "label": server.label,
                           "version": server.version(), "round": number,
                           "time": datetime.datetime.now(datetime.timezone.utc).isoformat(),
                           "command": command, "started_with": server.commands,
                           "report": report}
                    out.write(json.dumps(row) + "\n")
                    out.flush()
                    print("%3d  %-14s %-16s %8.3f Mpps" %
                          (number, case.name, server.name, report["total"]["pps"] / 1e6),
                          flush=True)
        finally:
            for server in running:
                server.stop()


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--seconds", type=float, default=1)
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
    kinds = PEERS + [ExitlessE1000]
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
    try:
        main()
    except servers.Failed as e:
        sys.exit("net.py: %s" % e)
