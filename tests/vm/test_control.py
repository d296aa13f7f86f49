# SPDX-License-Identifier: BSD-2-Clause
"""What the command does to devices while guests use them."""

import threading
import time

from lib import lan
from lib.process import wait_for


def background(function, *args):
    """Run function in a thread; what it returns is called for by calling the result."""
    result = []
    thread = threading.Thread(target=lambda: result.append(function(*args)))
    thread.start()

    def wait():
        thread.join()
        assert result, "the thread failed"
        return result[0]
    return wait


def ping_on(vm, to, count):
    return vm.run("ping -n -q -c %d -i 0.03 -s 1000 -W 10 %s" % (count, to), timeout=90,
                  check=False)[1]


def test_move_between_cores(t):
    """Devices change cores under traffic, by hand, and no packet is lost."""
    daemon, a, b = t.lan(("82574L", "82574L"))
    daemon.cli("add", "core", "io1")
    out = background(ping_on, a, lan.address(2), 250)
    time.sleep(1)
    for i in range(20):
        daemon.cli("set", "device", "vm1/net0", "core=io%d" % ((i + 1) % 2))
        daemon.cli("set", "device", "vm2/net0", "core=io%d" % (i % 2))
        time.sleep(0.1)
    lost, _ = lan.ping_result(out())
    assert lost == 0, "%d lost" % lost
    moved = sum(q["migrated"] for q in daemon.device("vm1")["queues"])
    assert moved >= 20, moved
    a.check_log()
    b.check_log()


def test_remove_under_traffic(t):
    """A device goes while packets are on their way to it; the other guest sees it come back."""
    daemon, a, b = t.lan(("82574L", "82574L"))
    out = background(ping_on, a, lan.address(2), 100)
    time.sleep(1)
    daemon.cli("remove", "device", "vm2/net0")
    b.kill()
    before = daemon.device("vm1")["counters"]["switch"]["sent_packets"]
    wait_for("vm1 sends on", lambda: daemon.device("vm1")["counters"]["switch"]["sent_packets"] >
             before + 10, 30)
    daemon.cli("add", "device", "vm2/net0", "model=82574L", "switch=lan", "mac=" + lan.mac(2))
    again = t.guest(daemon, 2)
    out()
    again.wait_boot()
    lan.configure(again, 2)
    lan.expect_ping(a, lan.address(2))
    a.check_log()
