#!/usr/bin/python3
# SPDX-License-Identifier: BSD-2-Clause
"""make demo: two stock guests on exitlessd's NICs, what they reach and what it costs.

Starts exitlessd with a switch and a user-mode network port (no privileges needed), boots Debian's
own kernel in two guests, one with an 82574L and one with an 82540EM, and measures. Then the same
guests with the e1000e and e1000 that QEMU emulates itself, in the same ways: through QEMU's
user-mode network, and from guest to guest through its socket network. Prints a table and writes
build/demo/results.json. Leaves nothing running; logs are in build/demo.
"""

import argparse
import json
import os
import shutil
import sys
import time

TOP = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
sys.path.insert(0, os.path.join(TOP, "tests", "vm"))

from lib import lan, vm  # noqa: E402
from lib.context import Context  # noqa: E402
from lib.process import Failure, cpu_seconds, run  # noqa: E402

OUT = os.path.join(TOP, "build", "demo")
BUILTIN = {"82574L": "e1000e", "82540EM": "e1000"}


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


def measure(progress, what, guests, seconds, host_port, counters=None):
    """Ping and iperf3 between two guests and to the outside; counters(n): traps of guest n."""
    a, b = guests
    result = {"guests": [], "ping_ms": {}, "tcp_mbit_s": {}, "traps_per_packet": {}}
    progress.step("%s: drivers and ping" % what)
    for guest in guests:
        result["guests"].append(facts(guest))
    for number, guest in enumerate(guests, 1):
        result["ping_ms"]["vm%d to outside" % number] = \
            lan.expect_ping(guest, lan.GATEWAY, count=20, interval=0.1)
    result["ping_ms"]["vm1 to vm2"] = lan.expect_ping(a, result_address(b, 2), count=30,
                                                      interval=0.1)
    for number, guest in enumerate(guests, 1):
        for label, more in (("vm%d to outside", ""), ("outside to vm%d", "-R")):
            label = label % number
            progress.step("%s: TCP, %s" % (what, label))
            traffic(result, label, guest, lan.GATEWAY, seconds, more, host_port, counters,
                    [number])
    lan.guest_iperf_server(b)
    for label, more in (("vm1 to vm2", ""), ("vm2 to vm1", "-R")):
        progress.step("%s: TCP, %s" % (what, label))
        traffic(result, label, a, result_address(b, 2), seconds, more, 5201, counters, [1, 2])
    return result


def result_address(guest, number):
    """Where guest number is reached by the other: on its own link, if it has one."""
    return getattr(guest, "peer_address", lan.address(number))


def traffic(result, label, guest, to, seconds, more, port, counters, numbers):
    before = {n: counters(n) for n in numbers} if counters else {}
    mbit, _ = lan.iperf(guest, to, seconds, more, port)
    result["tcp_mbit_s"][label] = round(mbit, 1)
    for n in before:
        after = counters(n)
        packets = after["packets"] - before[n]["packets"]
        result["traps_per_packet"]["%s, at vm%d" % (label, n)] = {
            "packets": packets,
            "traps": after["traps"] - before[n]["traps"],
            "interrupts": after["interrupts"] - before[n]["interrupts"],
            "ratio": round((after["traps"] - before[n]["traps"]) / max(packets, 1), 5),
        }


def idle_share(pid, seconds):
    """The share of a CPU that a process uses while nothing happens."""
    before, start = cpu_seconds(pid), time.monotonic()
    time.sleep(seconds)
    return (cpu_seconds(pid) - before) / (time.monotonic() - start)


def with_exitless(t, progress, seconds, host_port):
    progress.step("starting exitlessd and two guests")
    daemon = t.daemon(lan.config(ports=[lan.USER_PORT]))
    guests = [t.guest(daemon, n) for n in (1, 2)]
    for number, guest in enumerate(guests, 1):
        guest.wait_boot()
        lan.configure(guest, number)
        lan.wait_ping(guest, lan.GATEWAY)
    result = measure(progress, "exitless", guests, seconds, host_port,
                     lambda n: daemon.device("vm%d" % n))
    progress.step("exitless: idle")
    time.sleep(1)
    result["idle_cpu_share"] = round(idle_share(daemon.process.pid, 5), 4)
    result["commands"] = [" ".join(guest.argv) for guest in guests]
    for guest in guests:
        guest.kill()
    daemon.stop()
    return result


def with_qemu(t, progress, seconds, host_port):
    progress.step("starting the same guests on QEMU's own NICs")
    path = t.path("peer.sock")
    guests = []
    for number, model in enumerate(lan.MODELS, 1):
        device = BUILTIN[model]
        end = "server=on" if number == 1 else "server=off,reconnect-ms=100"
        guests.append(t.vm("qemu%d" % number, [
            "-netdev", "user,id=n0", "-device", "%s,netdev=n0,mac=%s" % (device, lan.mac(number)),
            "-netdev", "stream,id=n1,%s,addr.type=unix,addr.path=%s" % (end, path),
            "-device", "%s,netdev=n1,mac=%s" % (device, lan.mac(16 + number))]))
    for number, guest in enumerate(guests, 1):
        guest.wait_boot()
        guest.peer_address = "192.168.77.%d" % number
        lan.configure(guest, number)
        guest.run("ip link set eth1 up; ip addr add %s/24 dev eth1" % guest.peer_address)
        lan.wait_ping(guest, lan.GATEWAY)
    lan.wait_ping(guests[0], guests[1].peer_address)
    result = measure(progress, "QEMU", guests, seconds, host_port)
    for guest in guests:
        guest.kill()
    return result


def ratio(a, b):
    return a / b if a and b else None


def table(results):
    ours, theirs = results["exitless"], results["qemu"]
    names = {1: "82574L", 2: "82540EM"}
    out = ["", "Guests: Debian's %s, on %s, %d CPUs" %
           (ours["guests"][0]["kernel"], results["accelerator"].upper(), results["cpus"])]
    for n, g in enumerate(ours["guests"], 1):
        out.append("  vm%d  %-8s driver %-7s link %s, %s, %s%s" %
                   (n, names[n], g["driver"], g["link"], g["speed"], g["interrupts"],
                    "; kernel warnings: %s" % g["log_warnings"] if g["log_warnings"] else ""))
    row = "%-24s %12s %12s %8s"
    out += ["", row % ("", "exitless", "QEMU's own", "ratio")]
    for what, title in (("ping_ms", "ping, ms"), ("tcp_mbit_s", "TCP, Mbit/s")):
        out.append(title)
        for label, value in ours[what].items():
            other = theirs[what][label]
            r = ratio(value, other)
            out.append(row % ("  " + label, "%.2f" % value if what == "ping_ms" else "%.0f" % value,
                              "%.2f" % other if what == "ping_ms" else "%.0f" % other,
                              "%.2f" % r if r else "-"))
    out += ["", "%-32s %10s %10s %10s %12s" % ("Traps under that traffic", "packets", "traps",
                                               "interrupts", "per packet")]
    for label, c in ours["traps_per_packet"].items():
        out.append("  %-30s %10d %10d %10d %12.4f" % (label, c["packets"], c["traps"],
                                                     c["interrupts"], c["ratio"]))
    out += ["", "exitlessd while its guests are idle: %.1f %% of a CPU" %
            (100 * ours["idle_cpu_share"]),
            "Every figure: %s (%.0f s)" % (os.path.relpath(os.path.join(OUT, "results.json")),
                                           results["seconds"])]
    return "\n".join(out)


def main():
    parser = argparse.ArgumentParser(description="two guests, their traffic, and what it costs")
    parser.add_argument("--seconds", type=int, default=4, help="of each TCP run")
    options = parser.parse_args()
    start = time.monotonic()
    os.makedirs(OUT, exist_ok=True)
    for name in os.listdir(OUT):
        os.unlink(os.path.join(OUT, name))
    progress = Progress(17)
    try:
        progress.step("QEMU and the guests' image")
        results = {
            "qemu_version": run([vm.qemu_path(), "--version"]).splitlines()[0],
            "accelerator": vm.accelerator(),
            "cpus": os.cpu_count(),
            "tcp_seconds": options.seconds,
        }
        with Context(OUT) as t:
            port = lan.host_iperf_server(t, os.path.join(OUT, "iperf3.log"))
            results["exitless"] = with_exitless(t, progress, options.seconds, port)
            results["qemu"] = with_qemu(t, progress, options.seconds, port)
        results["seconds"] = round(time.monotonic() - start, 1)
        for what in ("ping_ms", "tcp_mbit_s"):
            results["ratio_" + what] = {
                label: ratio(value, results["qemu"][what][label])
                for label, value in results["exitless"][what].items()}
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
