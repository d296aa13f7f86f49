#!/usr/bin/python3
# SPDX-License-Identifier: BSD-2-Clause
"""Measures disks of exitlessd and its peers, in rounds that are interleaved.

    blk.py [--rounds N] [--seconds S] [--out FILE] [--directory DIR] [--cases NAME,...]
           [--servers NAME,...]

In each round every case is run with every server, one after the other, all with the same client
(`exitless bench blk`), 4 KiB random reads: so what the machine does meanwhile strikes all alike.
Each measurement is one line of JSON, appended to FILE (build/bench/blk.jsonl). In the end: medians
over the rounds, and the median of the ratio to exitless within a round.

The images are made in DIR (build/bench) and in /dev/shm. EXITLESS_SPDK_VHOST names SPDK's vhost
program, if it shall take part.
"""

import argparse
import json
import os
import subprocess
import sys

import disks
from rounds import clean_up_at_the_end, ratio, record, spread
from servers import BUILD, CLIENT_CPU, EXITLESS, Failed

CASES = {"%s-%d" % (disk, depth): (disk, depth) for disk in disks.DISKS for depth in (1, 32)}
TITLES = {"null": "no storage", "file": "a file on storage", "tmpfs": "a file in memory"}


def measure(server, case, options):
    disk, depth = CASES[case]
    argv = [EXITLESS, "--json", *server.client_globals(), "bench", "blk", "--cpu", str(CLIENT_CPU),
            "--seconds", str(options.seconds), "--warmup", str(options.warmup), "--depth",
            str(depth), *server.client_options(), server.sockets[disks.DISKS.index(disk)]]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=60 + 4 * options.seconds,
                          check=False)
    if done.returncode:
        raise Failed("%s with %s: %s" % (case, server.name, done.stderr))
    return json.loads(done.stdout), " ".join(argv)


def one_round(running, cases, options, number, out):
    result = {}
    for case in cases:
        for server in running:
            server.go_on()
            report, command = measure(server, case, options)
            server.pause()
            disk, depth = CASES[case]
            iops = report["total"]["iops"]
            record(out, suite="blk", case=case, server=server.name,
                   title="4 KiB random reads, %s, depth %d" % (TITLES[disk], depth),
                   value=iops, unit="IOPS", better="higher", label=server.label,
                   version=server.version(), round=number, command=command,
                   started_with=server.commands, report=report)
            result[case, server.name] = iops
            print("%3d  %-10s %-12s %9.1f kIOPS" % (number, case, server.name, iops / 1e3),
                  flush=True)
    return result


def summary(rounds, cases, names):
    print("\n%-10s %-12s %10s %22s %26s" % ("case", "server", "kIOPS", "range", "exitless is faster by"))
    for case in cases:
        for name in names:
            values = [r[case, name] / 1e3 for r in rounds]
            line = "%-10s %-12s %10.1f %22s" % (case, name, spread(values)["median"],
                                                "%(min).1f..%(max).1f" % spread(values))
            if "exitless" in names and name != "exitless":
                ratios = ratio([r[case, "exitless"] / 1e3 for r in rounds], values)
                line += " %26s" % ("%(median).2f (%(min).2f..%(max).2f)" % ratios)
            print(line)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--seconds", type=float, default=1)
    parser.add_argument("--warmup", type=float, default=0.3)
    parser.add_argument("--out", default=os.path.join(BUILD, "bench", "blk.jsonl"))
    parser.add_argument("--directory", default=os.path.join(BUILD, "bench"))
    parser.add_argument("--size-mib", type=int, default=256, help="of each image")
    parser.add_argument("--cases", default=",".join(CASES))
    parser.add_argument("--servers", default=",".join(s.name for s in disks.ALL))
    options = parser.parse_args()

    cases, names = options.cases.split(","), options.servers.split(",")
    if set(cases) - set(CASES) or set(names) - {s.name for s in disks.ALL}:
        parser.error("cases are %s; servers are %s" %
                     (", ".join(CASES), ", ".join(s.name for s in disks.ALL)))
    os.makedirs(os.path.dirname(options.out), exist_ok=True)
    running, rounds = [], []
    images = disks.DiskServer.images = disks.Images(
        {"file": options.directory, "tmpfs": "/dev/shm"}, options.size_mib << 20)
    try:
        for kind in disks.ALL:
            if kind.name in names:
                running.append(kind())
                running[-1].pause()
        with open(options.out, "a") as out:
            for number in range(1, options.rounds + 1):
                rounds.append(one_round(running, cases, options, number, out))
    finally:
        for server in running:
            server.stop()
        images.remove()
        if rounds:
            summary(rounds, cases, names)


if __name__ == "__main__":
    clean_up_at_the_end()
    try:
        main()
    except Failed as e:
        sys.exit("blk.py: %s" % e)
