#!/usr/bin/python3
# SPDX-License-Identifier: BSD-2-Clause
"""Saves a host's topology in the form of tree.h.

    save_host.py [ROOT] >trees/NAME.txt

Only what host/topology.c reads, and no names, addresses or serial numbers.
"""
import glob
import os
import re
import sys

CPU = "/sys/devices/system/cpu"
WANTED = [CPU + "/online", CPU + "/isolated", CPU + "/nohz_full", "/sys/devices/cpu_*/cpus",
          "/sys/devices/system/node/online", "/sys/devices/system/node/node*/cpulist",
          "/sys/devices/system/node/node*/distance"]
PER_CPU = ["topology/physical_package_id", "topology/core_cpus_list",
           "topology/thread_siblings_list", "cpufreq/base_frequency"]


def ranges(numbers):
    """A list in the kernel's form."""
    parts = []
    for n in sorted(numbers):
        if parts and parts[-1][1] == n - 1:
            parts[-1][1] = n
        else:
            parts.append([n, n])
    return ",".join("%d" % a if a == b else "%d-%d" % (a, b) for a, b in parts)


def main():
    root = (sys.argv[1] if len(sys.argv) > 1 else "").rstrip("/")

    def read(path):
        try:
            with open(root + path, encoding="ascii", errors="replace") as f:
                return f.read().replace("\0", "").strip()
        except OSError:
            return None

    for pattern in WANTED:
        for path in sorted(glob.glob(root + pattern)):
            text = read(path[len(root):])
            print(path[len(root):] + (": " + text if text else ":"))
    groups = {}
    for directory in glob.glob(root + CPU + "/cpu[0-9]*"):
        cpu = int(re.search(r"\d+$", directory).group())
        # the widest cache alone
        last = max(glob.glob(directory + "/cache/index[0-9]*"), default=None)
        names = PER_CPU + ([] if not last else
                           ["cache/index0/level", "cache/index0/shared_cpu_list"])
        caches = {"cache/index0/" + name: "cache/%s/%s" % (os.path.basename(last), name)
                  for name in ("level", "shared_cpu_list")} if last else {}
        for name in names:
            text = read("%s/cpu%d/%s" % (CPU, cpu, caches.get(name, name)))
            if text is not None:
                groups.setdefault((name, text), []).append(cpu)
    # "core_cpus_list" is the newer name of the same
    newer = any(name == "topology/core_cpus_list" for name, _ in groups)
    for (name, text), cpus in sorted(groups.items(), key=lambda g: (g[0][0], min(g[1]))):
        if not (newer and name == "topology/thread_siblings_list"):
            print("%s/cpu{%s}/%s: %s" % (CPU, ranges(cpus), name, text))


if __name__ == "__main__":
    main()
