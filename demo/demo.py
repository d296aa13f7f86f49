#!/usr/bin/python3
# SPDX-License-Identifier: BSD-2-Clause
"""make demo: two stock guests on exitlessd's NICs, what they reach and what it costs.

Starts exitlessd with a switch and a user-mode network port (no privileges needed), and boots
Debian's own kernel in two guests, one with an 82574L and one with an 82540EM. Beside them the same
guests with the e1000e and e1000 that QEMU emulates itself, in the same ways: through QEMU's
user-mode network, and from guest to guest through its socket network. Then it measures in rounds:
each figure on one side and at once on the other, while the guests of the side that is not measured
stand still. Prints medians and writes every figure to build/demo/results.json. Leaves nothing
running; logs are in build/demo.
"""

import argparse
import json
import os
import shutil
import sys
import time

TOP = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
sys.path[:0] = [os.path.join(TOP, "tests", "vm"), os.path.join(TOP, "bench")]

from lib import lan, vm  # noqa: E402
from lib.context import Context  # noqa: E402
from lib.process import Failure, cpu_seconds, run  # noqa: E402
from rounds import ratio, spread  # noqa: E402

OUT = os.path.join(TOP, "build", "demo")
BUILTIN = {"82574L": "e1000e", "82540EM": "e1000"}
SIDES = ("exitless", "qemu")
TITLES = {"ping_ms": "ping, ms", "tcp_mbit_s": "TCP, Mbit/s",
          "access_us": "a register access, us"}


class Progress:
    """One line that is redrawn on a terminal, and a line per step elsewhere."""

    def __init__(self, steps):
        self.steps = steps
        self.done = 0
        self.start = time.monotonic()
        self.terminal = sys.stdout.isatty()

    def step(self, text):
        self.done += 1
        width = 24
        filled = width * min(self.done, self.steps) // self.steps
        line = "[%s%s] %3d s  %s" % ("#" * filled, "." * (width - filled),
                                     time.monotonic() - self.start, text)
        if self.terminal:
            columns = shutil.get_terminal_size().columns
            print("\r\033[K" + line[:columns - 1], end="", flush=True)
        else:
            print(line, flush=True)

    def clear(self):
        if self.terminal:
            print("\r\033[K", end="", flush=True)


class Side:
    """Two guests, on our devices or on QEMU's."""

    def __init__(self, name, guests, addresses, daemon=None):
        self.name = name
        self.guests = guests
        self.addresses = addresses  # at which the guests reach each other
        self.daemon = daemon
        self.traps = {}

    def halt(self):
        for guest in self.guests:
            guest.qmp.command("stop")

    def go_on(self):
        for guest in self.guests:
            guest.qmp.command("cont")

    def counters(self):
        if not self.daemon:
            return [None, None]
        return [self.daemon.device("vm%d" % n) for n in (1, 2)]

    def processes(self):
        pids = {"guest %d" % n: guest.process.pid for n, guest in enumerate(self.guests, 1)}
        if self.daemon:
            pids["exitlessd"] = self.daemon.process.pid
        return pids


def facts(guest):
    """Driver, its version and the link, as the guest sees them."""
    info = dict(line.split(": ", 1) for line in guest.run("ethtool -i eth0").splitlines()
                if ": " in line)
    link = dict(line.strip().split(": ", 1) for line in guest.run("ethtool eth0").splitlines()
                if ": " in line)
    interrupts = guest.run("grep -c eth0 /proc/interrupts").strip()
    return {
        "kernel": guest.run("uname -r").strip(),
        "driver": info["driver"],
        "pci": info["bus-info"],
        "link": link["Link detected"],
        "speed": link["Speed"],
        "interrupts": ("MSI-X, %s vectors" % interrupts if int(interrupts) > 1 else
                       "MSI" if "MSI" in guest.run("grep eth0 /proc/interrupts") else "INTx"),
        "log_warnings": guest.log_warnings(),
    }


# ---- what is measured: name -> function(side) -> value -----------------------------------------


def ping(number, to):
    """Average round trip from guest number to the outside (0) or to the other guest."""
    def measure(side):
        address = side.addresses[to - 1] if to else lan.GATEWAY
        return lan.expect_ping(side.guests[number - 1], address, count=12, interval=0.1)
    return measure


def tcp(label, number, to, more, seconds, port):
    def measure(side):
        address = side.addresses[to - 1] if to else lan.GATEWAY
        before, start = side.counters(), time.monotonic()
        cpu = {what: cpu_seconds(pid) for what, pid in side.processes().items()}
        mbit, _ = lan.iperf(side.guests[number - 1], address, seconds, more,
                            5201 if to else port)
        passed = time.monotonic() - start
        shares = {what: round((cpu_seconds(pid) - cpu[what]) / passed, 3)
                  for what, pid in side.processes().items()}
        if side.daemon:
            count_traps(side, label, before, [number, to] if to else [number])
        return {"mbit_s": round(mbit, 1), "cpu": shares}
    return measure


def count_traps(side, label, before, numbers):
    after = side.counters()
    for n in numbers:
        sums = side.traps.setdefault("%s, at vm%d" % (label, n),
                                     {"packets": 0, "traps": 0, "interrupts": 0})
        for what in sums:
            sums[what] += after[n - 1][what] - before[n - 1][what]


def access(number):
    """What one trapped register access takes: the shell reads the I/O BAR byte by byte. Beside it
    the same with a file that is empty; the shortest of three each."""
    resource = "/sys/class/net/eth0/device/resource%d" % (2, 1)[number - 1]
    times = 40

    def measure(side):
        guest = side.guests[number - 1]
        taken = {"/dev/null": [], resource: []}
        for path in 3 * list(taken):
            start = time.monotonic()
            guest.run("i=0; while [ $i -lt %d ]; do read x <%s; i=$((i + 1)); done" %
                      (times, path), check=False)
            taken[path].append(time.monotonic() - start)
        size = int(guest.run("stat -c %%s -L %s" % resource))
        return 1e6 * (min(taken[resource]) - min(taken["/dev/null"])) / (times * size)
    return measure


def measurements(seconds, port):
    yield "ping_ms", "vm1 to outside", ping(1, 0)
    yield "ping_ms", "vm2 to outside", ping(2, 0)
    yield "ping_ms", "vm1 to vm2", ping(1, 2)
    for label, number, to, more in (("vm1 to outside", 1, 0, ""), ("outside to vm1", 1, 0, "-R"),
                                    ("vm2 to outside", 2, 0, ""), ("outside to vm2", 2, 0, "-R"),
                                    ("vm1 to vm2", 1, 2, ""), ("vm2 to vm1", 1, 2, "-R")):
        yield "tcp_mbit_s", label, tcp(label, number, to, more, seconds, port)
    yield "access_us", "vm1", access(1)
    yield "access_us", "vm2", access(2)


# ---- the course of it ---------------------------------------------------------------------------


def start(t):
    """Boot all four guests, and halt them."""
    daemon = t.daemon(lan.config(ports=[lan.USER_PORT]))
    ours = Side("exitless", [t.guest(daemon, n) for n in (1, 2)],
                [lan.address(n) for n in (1, 2)], daemon)
    path = t.path("peer.sock")
    theirs = Side("qemu", [], ["192.168.77.%d" % n for n in (1, 2)])
    for number, model in enumerate(lan.MODELS, 1):
        device = BUILTIN[model]
        end = "server=on" if number == 1 else "server=off,reconnect-ms=100"
        theirs.guests.append(t.vm("qemu%d" % number, [
            "-netdev", "user,id=n0", "-device", "%s,netdev=n0,mac=%s" % (device, lan.mac(number)),
            "-netdev", "stream,id=n1,%s,addr.type=unix,addr.path=%s" % (end, path),
            "-device", "%s,netdev=n1,mac=%s" % (device, lan.mac(16 + number))]))
    for side in (ours, theirs):
        for number, guest in enumerate(side.guests, 1):
            guest.wait_boot()
            lan.configure(guest, number)
            if not side.daemon:
                guest.run("ip link set eth1 up; ip addr add %s/24 dev eth1" %
                          side.addresses[number - 1])
        for guest, other in zip(side.guests, reversed(side.addresses)):
            lan.wait_ping(guest, lan.GATEWAY)
            lan.wait_ping(guest, other)
        lan.guest_iperf_server(side.guests[1])
    theirs.halt()
    return ours, theirs


def idle_share(pid, seconds):
    """The share of a CPU that a process uses while nothing happens."""
    before, begin = cpu_seconds(pid), time.monotonic()
    time.sleep(seconds)
    return (cpu_seconds(pid) - before) / (time.monotonic() - begin)


def rounds(progress, sides, options, port):
    """{what: {label: {side: [values]}}}; which side is first changes from round to round."""
    values = {}
    running = sides[0]
    for n in range(options.rounds):
        for what, label, measure in measurements(options.seconds, port):
            progress.step("round %d: %s, %s" % (n + 1, TITLES[what].split(",")[0], label))
            for side in reversed(sides) if n % 2 else sides:
                if side is not running:
                    running.halt()
                    side.go_on()
                    running = side
                values.setdefault(what, {}).setdefault(label, {}).setdefault(
                    side.name, []).append(measure(side))
    if running is not sides[0]:
        running.halt()
        sides[0].go_on()
    return values


def summary(values):
    """Medians, extremes, and the ratios of what was measured side by side."""
    result = {}
    for what, labels in values.items():
        for label, by_side in labels.items():
            plain = {side: [v["mbit_s"] if isinstance(v, dict) else v for v in by_side[side]]
                     for side in SIDES}
            entry = {side: spread(plain[side]) for side in SIDES}
            ratios = ratio(plain["exitless"], plain["qemu"])
            if ratios:
                entry["ratio"] = ratios
            result.setdefault(what, {})[label] = entry
    return result


def table(results):
    names = {1: "82574L", 2: "82540EM"}
    guests = results["guests"]["exitless"]
    out = ["", "Guests: Debian's %s, on %s, %d CPUs; medians of %d rounds" %
           (guests[0]["kernel"], results["accelerator"].upper(), results["cpus"],
            results["rounds"])]
    for n, g in enumerate(guests, 1):
        out.append("  vm%d  %-8s driver %-7s link %s, %s, %s%s" %
                   (n, names[n], g["driver"], g["link"], g["speed"], g["interrupts"],
                    "; kernel warnings: %s" % g["log_warnings"] if g["log_warnings"] else ""))
    row = "%-24s %10s %12s %8s   %s"
    out += ["", row % ("", "exitless", "QEMU's own", "ratio", "least to most")]
    for what, labels in results["summary"].items():
        out.append(TITLES[what])
        form = "%.0f" if what == "tcp_mbit_s" else "%.2f"
        for label, entry in labels.items():
            ratio = entry.get("ratio")
            out.append(row % ("  " + label, form % entry["exitless"]["median"],
                              form % entry["qemu"]["median"],
                              "%.2f" % ratio["median"] if ratio else "-",
                              "%.2f to %.2f" % (ratio["min"], ratio["max"]) if ratio else ""))
    out += ["", "%-32s %10s %10s %10s %12s" % ("Traps under that traffic", "packets", "traps",
                                               "interrupts", "per packet")]
    for label, c in results["traps"].items():
        out.append("  %-30s %10d %10d %10d %12.4f" % (label, c["packets"], c["traps"],
                                                     c["interrupts"], c["ratio"]))
    out += ["", "exitlessd while its guests are idle: %.1f %% of a CPU" %
            (100 * results["idle_cpu_share"]),
            "Every figure: %s (%.0f s)" % (os.path.relpath(os.path.join(OUT, "results.json")),
                                           results["seconds"])]
    return "\n".join(out)


def demonstrate(t, progress, options):
    port = lan.host_iperf_server(t, os.path.join(OUT, "iperf3.log"))
    progress.step("starting exitlessd and four guests")
    ours, theirs = sides = start(t)
    progress.step("drivers and links")
    results = {"guests": {ours.name: [facts(guest) for guest in ours.guests]}}
    values = rounds(progress, sides, options, port)
    for counts in ours.traps.values():
        counts["ratio"] = round(counts["traps"] / max(counts["packets"], 1), 5)
    progress.step("idle")
    time.sleep(2)
    results.update({
        "summary": summary(values), "values": values, "traps": ours.traps,
        "idle_cpu_share": round(idle_share(ours.daemon.process.pid, 5), 4),
        "commands": {side.name: [" ".join(guest.argv) for guest in side.guests]
                     for side in sides},
    })
    for side in sides:
        for guest in side.guests:
            guest.kill()
    ours.daemon.stop()
    return results


def main():
    parser = argparse.ArgumentParser(description="two guests, their traffic, and what it costs")
    parser.add_argument("--rounds", type=int, default=4, help="how often all is measured")
    parser.add_argument("--seconds", type=int, default=1, help="of each TCP run")
    options = parser.parse_args()
    begin = time.monotonic()
    os.makedirs(OUT, exist_ok=True)
    for name in os.listdir(OUT):
        os.unlink(os.path.join(OUT, name))
    progress = Progress(4 + options.rounds * len(list(measurements(1, 0))))
    try:
        progress.step("QEMU and the guests' image")
        results = {
            "qemu_version": run([vm.qemu_path(), "--version"]).splitlines()[0],
            "accelerator": vm.accelerator(),
            "cpus": os.cpu_count(),
            "rounds": options.rounds,
            "tcp_seconds": options.seconds,
        }
        with Context(OUT) as t:
            results.update(demonstrate(t, progress, options))
        results["seconds"] = round(time.monotonic() - begin, 1)
        with open(os.path.join(OUT, "results.json"), "w") as f:
            json.dump(results, f, indent=1)
            f.write("\n")
    except Failure as failure:
        progress.clear()
        print("demo: %s\ndemo: the logs are in %s" % (failure, OUT), file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        progress.clear()
        return 130
    progress.clear()
    print(table(results))
    return 0


if __name__ == "__main__":
    sys.exit(main())
