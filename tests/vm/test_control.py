# SPDX-License-Identifier: BSD-2-Clause
"""What the command does to devices while guests use them."""

import time

from lib import lan
from lib.process import wait_for
from test_life import finish, in_background


def sent(daemon):
    return daemon.device("vm1")["counters"]["switch"]["sent_packets"]


def ping_on(daemon, vm, to, wait):
    """Ping from vm1 until there is /tmp/enough. wait: how long for a first answer, of each 30."""
    before = sent(daemon)
    in_background(vm, "ping", "until test -e /tmp/enough; do "
                  "ping -n -q -c 30 -i 0.03 -s 1000 -W %d %s; done" % (wait, to))
    wait_for("vm1 sends", lambda: sent(daemon) > before + 10, 30)


def test_move_between_cores(t):
    """Devices change cores under traffic, by hand, and no packet is lost."""
    daemon, a, b = t.lan(("82574L", "82574L"))
    daemon.cli("add", "core", "io1")
    before = lan.echo_replies(a)
    ping_on(daemon, a, lan.address(2), 10)
    for i in range(20):
        daemon.cli("set", "device", "vm1/net0", "core=io%d" % ((i + 1) % 2))
        daemon.cli("set", "device", "vm2/net0", "core=io%d" % (i % 2))
        time.sleep(0.1)
    a.run("touch /tmp/enough")
    lan.expect_replies(a, before, finish(a, "ping")[1])
    moved = sum(q["migrated"] for q in daemon.device("vm1")["queues"])
    assert moved >= 20, moved
    a.check_log()
    b.check_log()


def test_remove_under_traffic(t):
    """A device goes while packets are on their way to it; the other guest sees it come back."""
    daemon, a, b = t.lan(("82574L", "82574L"))
    ping_on(daemon, a, lan.address(2), 1)
    daemon.cli("remove", "device", "vm2/net0")
    b.kill()
    before = sent(daemon)
    wait_for("vm1 sends on", lambda: sent(daemon) > before + 10, 30)
    a.run("touch /tmp/enough")
    finish(a, "ping")
    daemon.cli("add", "device", "vm2/net0", "model=82574L", "switch=lan", "mac=" + lan.mac(2))
    again = t.guest(daemon, 2)
    again.wait_boot()
    lan.configure(again, 2)
    lan.expect_ping(a, lan.address(2))
    a.check_log()
