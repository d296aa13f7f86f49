# SPDX-License-Identifier: BSD-2-Clause
"""A small network of guests on one switch of the daemon, and what guests do in it."""

import json
import re
import socket
import time

from .process import Failure, spawn, wait_for

GATEWAY = "10.0.2.2"  # of a user-mode port
MODELS = ("82574L", "82540EM")
DRIVER = {"82574L": "e1000e", "82540EM": "e1000"}


def address(number):
    """The IPv4 address of guest number 1, 2..."""
    return "10.0.2.%d" % (10 + number)


def mac(number):
    return "52:54:00:00:00:%02x" % number


def config(models=MODELS, ports=(), switch=None, device=None):
    """Machines vm1, vm2... with a device net0 of these models on the switch "lan"."""
    return {
        "cores": [{"name": "io0"}],
        "switches": [dict({"name": "lan"}, **(switch or {}))],
        "ports": [dict({"switch": "lan"}, **p) for p in ports],
        "machines": [{"name": "vm%d" % n,
                      "devices": [dict({"name": "net0", "model": model, "mac": mac(n),
                                        "switch": "lan"}, **(device or {}))]}
                     for n, model in enumerate(models, 1)],
    }


USER_PORT = {"name": "out", "kind": "user"}


def configure(vm, number, interface="eth0", mtu=None):
    """Give a guest's interface its address and wait for its link."""
    if mtu:
        vm.run("ip link set %s mtu %d" % (interface, mtu))
    vm.run("ip link set %s up; ip addr replace %s/24 dev %s" %
           (interface, address(number), interface))
    wait_carrier(vm, True, interface)


def carrier(vm, interface="eth0"):
    return vm.run("cat /sys/class/net/%s/carrier" % interface, check=False)[1].strip() == "1"


def wait_carrier(vm, up, interface="eth0"):
    wait_for("%s: %s has %s link" % (vm.name, interface, "a" if up else "no"),
             lambda: carrier(vm, interface) == up, 30, 0.3)


def ping(vm, to, count=5, interval=0.2, size=56, more="", timeout=60):
    """Ping and return how many ping calls lost, for who expects a loss; see expect_replies()."""
    m = re.search(r"(\d+) packets transmitted, (\d+) received",
                  _ping(vm, to, count, interval, size, more, timeout))
    return int(m.group(1)) - int(m.group(2))


def _ping(vm, to, count=5, interval=0.2, size=56, more="", timeout=60):
    out = vm.run("ping -n -q -c %d -i %g -s %d -W 10 %s %s" %
                 (count, interval, size, more, to), timeout=timeout, check=False)[1]
    if "packets transmitted" not in out:
        raise Failure("ping: " + out)
    return out


def echo_replies(vm):
    """The answers to pings over IPv4 that the guest's kernel has received so far."""
    names, values = vm.run("grep ^Icmp: /proc/net/snmp").splitlines()
    return int(values.split()[names.split().index("InEchoReps")])


def expect_replies(vm, before, out):
    """Fail unless each request of ping, which printed out, was answered once.

    before: echo_replies() when it began, and no other ping ran since. After its last request ping
    waits for two round trips at most, whatever -W says, and calls lost what comes later.
    """
    sent = sum(int(n) for n in re.findall(r"(\d+) packets transmitted", out))
    if not sent:
        raise Failure("%s: ping: %s" % (vm.name, out))
    wait_for("%s has all answers to %d pings, after %d earlier ones\n%s" %
             (vm.name, sent, before, out), lambda: echo_replies(vm) >= before + sent, 30)
    if echo_replies(vm) != before + sent or "duplicates" in out:
        raise Failure("%s: pings came back twice\n%s" % (vm.name, out))


def expect_ping(vm, to, **options):
    """Ping, fail if a packet is lost, and return the average round trip in ms."""
    before = echo_replies(vm)
    out = _ping(vm, to, **options)
    expect_replies(vm, before, out)
    times = re.search(r"= [\d.]+/([\d.]+)/", out)
    return float(times.group(1)) if times else None


def wait_ping(vm, to, seconds=30):
    """Wait until a ping comes back."""
    wait_for("%s reaches %s" % (vm.name, to),
             lambda: vm.run("ping -n -q -c 1 -W 1 %s" % to, check=False)[0] == 0, seconds)


def free_port():
    """A TCP port of the host's loopback that nobody uses now."""
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def host_iperf_server(t, log):
    """An iperf3 server on the host's loopback; guests reach it at the gateway's address."""
    for _ in range(5):
        port = free_port()
        server = spawn(["iperf3", "-s", "-B", "127.0.0.1", "-p", str(port)], log)
        t.later(server.kill)
        # somebody may have taken the port meanwhile: then it ends at once
        wait_for("iperf3 listens", lambda: server.poll() is not None or _listens(port), 10)
        if server.poll() is None:
            return port
    raise Failure("iperf3 does not listen: see " + log)


def _listens(port):
    with open("/proc/net/tcp") as f:
        return any("0100007F:%04X 00000000:0000 0A" % port in line for line in f)


def guest_iperf_server(vm):
    vm.run("iperf3 -s -D >/dev/null 2>&1; for i in $(seq 100); do "
           "netstat -ltn | grep -q :5201 && exit 0; sleep 0.2; done; exit 1")


# A server that has not done with the last client says the first, and listens anew after that.
NOT_READY = ("server is busy", "Connection refused", "Connection reset",
             "control socket has closed unexpectedly")


def iperf(vm, to, seconds=4, more="", port=5201):
    """Run an iperf3 client in the guest and return (Mbit/s received, the whole report)."""
    for _ in range(20):
        status, out = vm.run("iperf3 -J -c %s -p %d -t %d %s" % (to, port, seconds, more),
                             timeout=seconds + 40, check=False)
        try:
            report = json.loads(out)
        except ValueError:
            raise Failure("%s: iperf3: %s" % (vm.name, out)) from None
        if report.get("intervals") or not any(s in report.get("error", "") for s in NOT_READY):
            break
        time.sleep(0.5)
    if "error" in report:
        raise Failure("%s: iperf3: %s" % (vm.name, report["error"]))
    end = report["end"]
    total = end.get("sum_received") or end["sum"]
    return total["bits_per_second"] / 1e6, report


def transfer(sender, receiver, sender_address, megabytes=4):
    """Send random bytes over TCP and fail unless the same bytes arrive."""
    six = "-6" if ":" in sender_address else "-4"
    sender.run("dd if=/dev/urandom of=/tmp/data bs=1M count=%d 2>/dev/null; "
               "nc.openbsd %s -N -l 7000 </tmp/data >/dev/null 2>&1 &" % (megabytes, six))
    wait_for("nc listens",
             lambda: sender.run("netstat -ltn | grep -q :7000", check=False)[0] == 0, 10, 0.2)
    received = receiver.run("nc.openbsd -d %s 7000 | sha256sum" % sender_address, timeout=120)
    sent = sender.run("sha256sum </tmp/data")
    if sent != received:
        raise Failure("%s sent other bytes than %s received" % (sender.name, receiver.name))
