#!/usr/bin/python3
# SPDX-License-Identifier: BSD-2-Clause
"""Measures virtio devices of exitlessd and QEMU's own, in one guest, in rounds that are interleaved.

    guest.py [--rounds N] [--seconds S] [--out FILE] [--json FILE] [--cases NAME,...]
             [--servers NAME,...]

The guest is the stock Linux of the VM tests, started with what `exitless vmm` prints. It has of each
kind of device one of exitlessd (vhost-user) and QEMU's own: virtio-net to a user-mode network and,
with privileges, to a tap device in a network namespace of this script; virtio-blk on one image in
memory, which QEMU reads past the cache in an I/O thread, by io_uring ("qemu") and by its pool of
threads ("qemu-threads"). In each round every case is run with every server, one after the other
and in turn from either end: so what the machine does meanwhile strikes all alike.

Beside each figure is what it took, per MB, echo or request: kicks (the guest's writes to the
device's doorbell, counted in the guest: each would be an exit of KVM), interrupts, and CPU time on
the host outside of the vCPU (of exitlessd and of QEMU's other threads).

Each figure is a line of JSON, appended to FILE (build/bench/guest.jsonl) for bench/report; --json
writes medians, extremes and ratios. Logs are in build/bench/guest.
"""

import argparse
import ctypes
import json
import os
import sys
import time

import disks
import rounds
from servers import BUILD, CLIENT_CPU, SERVER_CPU, TOP, Failed
from servers import Exitless as ExitlessServer

sys.path.insert(0, os.path.join(TOP, "tests", "vm"))

from lib import lan, netns, vm  # noqa: E402
from lib.context import Context  # noqa: E402
from lib.process import Failure, run, spawn  # noqa: E402
from test_disk import disk, fio, ready, tools  # noqa: E402
from test_virtio import network, wait_devices  # noqa: E402

LOGS = os.path.join(BUILD, "bench", "guest")
LABELS = {"exitless": "exitless (vhost-user)", "qemu": "QEMU's own",
          "qemu-threads": "QEMU's own, aio=threads"}
AIO = {"qemu": "io_uring", "qemu-threads": "threads"}
# (network, server): MAC, the guest's address, the outside's
NICS = {
    ("user", "exitless"): (lan.mac(1), lan.address(1), lan.GATEWAY),
    ("user", "qemu"): (lan.mac(2), "10.0.3.11", "10.0.3.2"),
    ("tap", "exitless"): (lan.mac(3), "10.0.4.11", "10.0.4.2"),
    ("tap", "qemu"): (lan.mac(4), "10.0.5.11", "10.0.5.2"),
}
TAPS = {"exitless": "ours", "qemu": "theirs"}
IMAGE_BYTES = 64 << 20
PINGS = 25
CLONE_NEWNET = 0x40000000


class Case:
    """unit, better: of the figure; scale: of a shown_unit; operation: what the costs are for."""

    def __init__(self, name, title, unit, better, shown_unit, scale, operation):
        self.name, self.title, self.unit, self.better = name, title, unit, better
        self.shown_unit, self.scale, self.operation = shown_unit, scale, operation


class Ping(Case):
    servers = ("exitless", "qemu")

    def __init__(self, network_name):
        super().__init__(network_name + "-ping", "virtio-net in a guest, %s, round trip" %
                         network_name, "ns", "lower", "ms", 1e6, "echo")
        self.network = network_name

    def measure(self, guest, server):
        """(the figure, operations, the command, more for the report)"""
        outside = NICS[self.network, server][2]
        time_ms = lan.expect_ping(guest.vm, outside, count=PINGS, interval=0.05)
        return 1e6 * time_ms, PINGS, "ping -c %d -i 0.05 %s" % (PINGS, outside), {}


class Tcp(Case):
    servers = ("exitless", "qemu")

    def __init__(self, network_name, direction, more):
        super().__init__("%s-%s" % (network_name, direction), "virtio-net in a guest, %s, TCP %s" %
                         (network_name, direction), "bit/s", "higher", "Mbit/s", 1e6, "MB")
        self.network, self.more = network_name, more

    def measure(self, guest, server):
        outside, port = NICS[self.network, server][2], guest.ports[self.network]
        mbit, report = lan.iperf(guest.vm, outside, guest.seconds, self.more, port)
        command = "iperf3 -J -c %s -p %d -t %d %s" % (outside, port, guest.seconds, self.more)
        end = report["end"]
        return 1e6 * mbit, end["sum_received"]["bytes"] / 1e6, command, {"end": end}


class Disk(Case):
    servers = ("exitless", "qemu", "qemu-threads")
    network = None

    def __init__(self, depth):
        super().__init__("disk-%d" % depth, "virtio-blk in a guest, 4 KiB random reads, a file in "
                         "memory, depth %d" % depth, "IOPS", "higher", "kIOPS", 1e3, "request")
        self.depth = depth

    def measure(self, guest, server):
        command = fio(guest.devices[None, server], 1, rw="randread", verify=0, norandommap=1,
                      iodepth=self.depth, runtime=guest.seconds, time_based=1,
                      **{"output-format": "json"})
        out = guest.vm.run(command, timeout=guest.seconds + 40)
        read = json.loads(out[out.index("{"):])["jobs"][0]["read"]
        return read["iops"], read["total_ios"], command, {"read": read}


CASES = [Tcp("user", "out", ""), Tcp("user", "in", "-R"), Ping("user"),
         Tcp("tap", "out", ""), Tcp("tap", "in", "-R"), Ping("tap"), Disk(1), Disk(32)]
COSTS = {"kicks": "kicks", "interrupts": "interrupts", "cpu": "ns"}


def cpu_ns(pid):
    """CPU time of a process so far, by its clock, which counts in less than ticks.

    The number of that clock is made as in clock_getcpuclockid(3), which Python has not got.
    """
    return time.clock_gettime_ns(~pid << 3 | 2)


class Guest:
    """The guest with all devices, and the host's side of each."""

    def __init__(self, t, networks, image, seconds):
        self.seconds = seconds
        self.ports = {"user": lan.host_iperf_server(t, os.path.join(LOGS, "iperf3.log"))}
        self.daemon = t.daemon(self.config("tap" in networks, image))
        if "tap" in networks:
            self.ports["tap"] = self.tap_server(t)
        self.vm = t.guest(self.daemon, 1, [*tools(), *self.qemus_own(networks, image)])
        self.vcpu = self.vm.qmp.command("query-cpus-fast")[0]["thread-id"]
        os.sched_setaffinity(self.vcpu, {CLIENT_CPU})
        if "tap" in networks:
            for server, name in TAPS.items():
                run(["ip", "addr", "add", NICS["tap", server][2] + "/24", "dev", name])
                run(["ip", "link", "set", name, "up"])
        self.vm.wait_boot()
        self.devices = {} # (network or None, server): the guest's name for it
        self.find_disks()
        self.find_nics(networks)
        # the program, and its libraries, from now on in the guest's memory
        self.vm.run(fio(self.devices[None, "exitless"], 1, rw="randread", verify=0, size="1m"))
        # counts, and writes nothing into a trace
        self.vm.run("mount -t tracefs trace /sys/kernel/tracing; cd /sys/kernel/tracing && "
                    "echo 0 >tracing_on && echo 'p:kicks vp_notify' >kprobe_events && "
                    "echo 1 >events/kprobes/kicks/enable")
        self.commands = [" ".join(self.daemon.process.args), " ".join(self.vm.argv)]

    @staticmethod
    def config(tap, image):
        ports = [{"name": "tap", "kind": "tap", "ifname": TAPS["exitless"], "switch": "wire"}]
        config = network(["virtio-net"], ports=ports if tap else [])
        config["cores"][0]["cpu"] = SERVER_CPU
        devices = config["machines"][0]["devices"]
        if tap:
            config["switches"].append({"name": "wire"})
            devices.append({"name": "net1", "kind": "virtio-net", "switch": "wire",
                            "mac": NICS["tap", "exitless"][0]})
        devices.append({"name": "disk0", "kind": "virtio-blk", "model": "file", "file": image,
                        "read_only": True, "serial": "exitless"})
        return config

    @staticmethod
    def qemus_own(networks, image):
        net = NICS["user", "qemu"][1].rsplit(".", 1)[0] + ".0/24"
        netdevs = {"user": "user,id=user,net=" + net,
                   "tap": "tap,id=tap,ifname=%s,script=no,downscript=no,vhost=off" % TAPS["qemu"]}
        args = []
        for name in networks:
            args += ["-netdev", netdevs[name],
                     "-device", "virtio-net-pci,netdev=%s,mac=%s" % (name, NICS[name, "qemu"][0])]
        args += ["-object", "iothread,id=io"]
        for server, aio in AIO.items():
            args += ["-blockdev", "driver=file,node-name=%s,filename=%s,aio=%s,cache.direct=on,"
                     "locking=off,read-only=on" % (server, image, aio),
                     "-device", "virtio-blk-pci,drive=%s,iothread=io,serial=%s" % (server, server)]
        return args

    @staticmethod
    def tap_server(t):
        """Only in the namespace of our own, where it may listen at all addresses."""
        server = spawn(["iperf3", "-s"], os.path.join(LOGS, "iperf3-tap.log"))
        t.later(server.kill)
        return 5201

    def find_disks(self):
        ready(self.vm)
        for server in Disk.servers:
            self.devices[None, server] = disk(self.vm, server)

    def find_nics(self, networks):
        wanted = {key: nic for key, nic in NICS.items() if key[0] in networks}
        wait_devices(self.vm, *("/sys/class/net/eth%d" % n for n in range(len(wanted))))
        found = {self.vm.run("cat /sys/class/net/%s/address" % name).strip(): name
                 for name in self.vm.run("ls /sys/class/net").split()}
        for key, (mac, own, outside) in wanted.items():
            self.devices[key] = name = found[mac]
            self.vm.run("ip link set %s up; ip addr add %s/24 dev %s" % (name, own, name))
            lan.wait_carrier(self.vm, True, name)
            lan.wait_ping(self.vm, outside)

    def costs(self, network_name, server):
        """What all devices took so far: kicks, CPU time in ns; of one: interrupts."""
        device = self.devices[network_name, server]
        lines = self.vm.run(
            "basename $(readlink -f /sys/class/%s/%s/device); "
            "cat /sys/kernel/tracing/kprobe_profile /proc/interrupts" %
            ("net" if network_name else "block", os.path.basename(device))).splitlines()
        kicks = interrupts = 0
        for line in lines[1:]:
            words = line.split()
            if words[0] == "kicks":
                kicks = int(words[1])
            elif words[-1].startswith(lines[0] + "-"):
                interrupts += int(words[1])
        with open("/proc/%d/task/%d/schedstat" % (self.vm.process.pid, self.vcpu)) as f:
            vcpu = int(f.read().split()[0])
        cpu = cpu_ns(self.daemon.process.pid) + cpu_ns(self.vm.process.pid) - vcpu
        return {"kicks": kicks, "interrupts": interrupts, "cpu": cpu}


def measure(guest, case, server):
    """({"value": the figure, what it took: per operation}, the command, more for the report)"""
    for attempt in range(2):
        try:
            before = guest.costs(case.network, server)
            value, operations, command, more = case.measure(guest, server)
            after = guest.costs(case.network, server)
        except Failure:
            if attempt:
                raise
            continue
        taken = {cost: max(0, after[cost] - before[cost]) / operations for cost in COSTS}
        return dict(taken, value=value), command, more
    raise AssertionError


def one_round(guest, cases, names, versions, number, out):
    result = {}
    for case in cases:
        mine = [name for name in case.servers if name in names]
        for server in mine if number % 2 else reversed(mine):
            figures, command, more = measure(guest, case, server)
            row = {"suite": "guest", "server": server, "label": LABELS[server], "round": number,
                   "version": versions[server], "command": "in the guest: " + command,
                   "started_with": guest.commands, "report": dict(more, **figures)}
            rounds.record(out, case=case.name, title=case.title, value=figures["value"],
                          unit=case.unit, better=case.better, **row)
            for cost, unit in COSTS.items():
                what = "host's CPU outside of the vCPU" if cost == "cpu" else cost
                rounds.record(out, case="%s-%s" % (case.name, cost), value=figures[cost],
                              title="%s: %s per %s" % (case.title, what, case.operation),
                              unit=unit, better="lower", **row)
            result[case.name, server] = figures
            print("%3d  %-10s %-13s %10.3f %s" % (number, case.name, server,
                                                  figures["value"] / case.scale, case.shown_unit),
                  flush=True)
    return result


def summary(done, cases, names):
    """{case: {"unit", "better", "operation", "servers": {server: what its rounds come to}}}"""
    result = {}
    for case in cases:
        servers = {}
        for server in (name for name in case.servers if name in names):
            entry = {what: rounds.spread([r[case.name, server][what] for r in done])
                     for what in ("value", *COSTS)}
            entry["rounds"] = [r[case.name, server] for r in done]
            if server != "exitless" and "exitless" in names:
                entry["ratio"] = rounds.ratio(*([r[case.name, s]["value"] for r in done]
                                                for s in ("exitless", server)))
            servers[server] = entry
        result[case.name] = {"title": case.title, "unit": case.unit, "better": case.better,
                             "operation": case.operation, "servers": servers}
    return result


def table(result, cases):
    row = "%-10s %-13s %-7s %9s %19s %21s   %-8s %8s %8s %9s"
    out = ["", row % ("case", "server", "", "median", "range", "exitless against it", "each", "kicks",
                      "interr.", "CPU, us")]
    for case in cases:
        for server, entry in result[case.name]["servers"].items():
            value = {key: v / case.scale for key, v in entry["value"].items()}
            against = entry.get("ratio")
            out.append(row % (
                case.name, server, case.shown_unit, "%.2f" % value["median"],
                "%(min).2f..%(max).2f" % value,
                "%(median).2f (%(min).2f..%(max).2f)" % against if against else "", case.operation,
                "%.3f" % entry["kicks"]["median"], "%.3f" % entry["interrupts"]["median"],
                "%.1f" % (entry["cpu"]["median"] / 1e3)))
    return "\n".join(out)


def enter_namespace(t):
    """Go into a network namespace of our own, with all that is started from now on."""
    with open("/run/netns/" + t.netns("bench").name) as f:
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.setns(f.fileno(), CLONE_NEWNET):
            raise Failure("setns: " + os.strerror(ctypes.get_errno()))


def bench(options, cases, names, isolated):
    # fetched while there is a network
    qemu = vm.qemu_path()
    vm.guest_image()
    vm.accelerator()
    tools()
    version = run([qemu, "--version"]).splitlines()[0]
    versions = {name: ExitlessServer.version() if name == "exitless" else version
                for name in LABELS}
    os.makedirs(LOGS, exist_ok=True)
    os.makedirs(os.path.dirname(options.out) or ".", exist_ok=True)
    # all of the host is on one CPU, and the vCPU has the other
    os.sched_setaffinity(0, {SERVER_CPU})
    done = []
    images = disks.Images({"tmpfs": "/dev/shm"}, IMAGE_BYTES)
    try:
        with Context(LOGS) as t, open(options.out, "a") as out:
            if isolated:
                enter_namespace(t)
            networks = sorted({c.network for c in cases if c.network} | {"user"})
            guest = Guest(t, networks, images.paths["tmpfs"], options.seconds)
            for number in range(1, options.rounds + 1):
                done.append(one_round(guest, cases, names, versions, number, out))
            kernel = guest.vm.run("uname -r").strip()
            guest.vm.kill()
            guest.daemon.stop()
    finally:
        images.remove()
        if done:
            result = summary(done, cases, names)
            print(table(result, cases))
    if options.json:
        with open(options.json, "w") as f:
            json.dump({"versions": versions, "accelerator": vm.accelerator(), "kernel": kernel,
                       "seconds": options.seconds, "commands": guest.commands, "cases": result},
                      f, indent=1)
            f.write("\n")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=6)
    parser.add_argument("--seconds", type=int, default=1, help="of each load")
    parser.add_argument("--out", default=os.path.join(BUILD, "bench", "guest.jsonl"))
    parser.add_argument("--json", help="for medians, extremes and ratios")
    parser.add_argument("--cases", default=",".join(c.name for c in CASES))
    parser.add_argument("--servers", default=",".join(LABELS))
    options = parser.parse_args()

    wanted, names = options.cases.split(","), options.servers.split(",")
    if set(wanted) - {c.name for c in CASES} or set(names) - set(LABELS):
        parser.error("cases are %s; servers are %s" %
                     (", ".join(c.name for c in CASES), ", ".join(LABELS)))
    cases = [c for c in CASES if c.name in wanted]
    isolated = netns.available()
    if not isolated and any(c.network == "tap" for c in cases):
        print("guest.py: without network namespaces and tap devices here: no case of tap")
        cases = [c for c in cases if c.network != "tap"]
    bench(options, cases, names, isolated)


if __name__ == "__main__":
    rounds.clean_up_at_the_end()
    try:
        main()
    except (Failed, Failure) as e:
        sys.exit("guest.py: %s\nguest.py: logs are in %s" % (e, LOGS))
