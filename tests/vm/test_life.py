# SPDX-License-Identifier: BSD-2-Clause
"""Comings and goings: drivers, guests, VMMs, links, devices and the daemon, under traffic."""

import hashlib
import os
import signal
import socket

from lib import lan
from lib.context import limit
from lib.process import Failure, stop, wait_for
from test_virtio import wait_devices

USER = [lan.USER_PORT]


def in_background(vm, name, command):
    """Start a command in the guest; finish() returns its (status, output)."""
    vm.run("rm -f /tmp/{0}.status; ( ( {1} ) >/tmp/{0}.out 2>&1 </dev/null 3<&- 4>&-; "
           "echo $? >/tmp/{0}.status ) >/dev/null 2>&1 &".format(name, command))


def finish(vm, name, seconds=60):
    status = wait_for("%s ends in %s" % (name, vm.name),
                      lambda: vm.run("cat /tmp/%s.status 2>/dev/null" % name, check=False)[1].strip(),
                      seconds, 0.3)
    return int(status), vm.run("cat /tmp/%s.out" % name)


@limit(240)
def test_driver_reload(t):
    """Both drivers are unloaded and loaded again while packets come in and go out."""
    _, a, b = t.lan()
    for vm, other, number, model in ((a, b, 1, "82574L"), (b, a, 2, "82540EM")):
        driver = lan.DRIVER[model]
        for _ in range(3):
            in_background(other, "flood", "ping -f -s 1400 -w 8 " + lan.address(number))
            in_background(vm, "flood", "timeout 3 ping -f -s 1400 -w 3 " +
                          lan.address(3 - number))
            vm.run("sleep 1; rmmod %s && modprobe %s" % (driver, driver))
            lan.configure(vm, number)
            finish(vm, "flood")
            lan.wait_ping(vm, lan.address(3 - number))
            finish(other, "flood")
        lan.expect_ping(vm, lan.address(3 - number), count=10)
        vm.check_log()
    lan.transfer(a, b, lan.address(1))


@limit(240)
def test_guest_reboot(t):
    """Guests reboot under traffic, one after the other."""
    _, a, b = t.lan()
    for vm, other, number in ((a, b, 1), (b, a, 2)):
        in_background(other, "flood", "ping -f -s 1400 -w 20 " + lan.address(number))
        vm.run("sleep 1")
        vm.reboot()
        lan.configure(vm, number)
        lan.wait_ping(vm, lan.address(3 - number))
        finish(other, "flood")
        lan.expect_ping(vm, lan.address(3 - number), count=10)
        vm.check_log()
        other.check_log()


@limit(240)
def test_vmm_killed(t):
    """A VMM is killed under traffic; another guest loses no packet; the next VMM finds its device.

    The counters stay, since the device is the machine's and not the VMM's.
    """
    daemon, a, b = t.lan(ports=USER)
    port = lan.host_iperf_server(t, t.path("iperf3.log"))
    replies = lan.echo_replies(a)
    in_background(a, "ping", "until test -e /tmp/enough; do "
                  "ping -n -q -i 0.02 -c 100 -W 20 %s; done" % lan.GATEWAY)
    for _ in range(2):
        before = daemon.device("vm2")["packets"]
        in_background(b, "iperf", "iperf3 -c %s -p %d -t 60" % (lan.GATEWAY, port))
        wait_for("there is traffic", lambda: daemon.device("vm2")["packets"] > before + 100, 30)
        packets = daemon.device("vm2")["packets"]
        b.kill()
        wait_for("the device is free", lambda: not daemon.device("vm2")["connected"], 10)
        assert daemon.device("vm2")["packets"] >= packets
        b = t.guest(daemon, 2).wait_boot()
        lan.configure(b, 2)
        lan.wait_ping(b, lan.GATEWAY)
        assert b.run("cat /sys/class/net/eth0/address").strip() == lan.mac(2)
        b.check_log()
        # The server of the test's own serves one client after the other.
        port = lan.host_iperf_server(t, t.path("iperf3.log"))
    a.run("touch /tmp/enough")
    lan.expect_replies(a, replies, finish(a, "ping")[1])
    a.check_log()


def test_second_vmm(t):
    """Who connects to a device that is taken does not disturb it."""
    daemon, a, b = t.lan()
    path = [d for m in daemon.call("status")["machines"] for d in m["devices"]
            if d["machine"] == "vm1"][0]["socket"]
    replies = lan.echo_replies(a)
    in_background(a, "ping", "ping -n -q -i 0.02 -c 200 -W 20 " + lan.address(2))
    for _ in range(20):
        s = socket.socket(socket.AF_UNIX)
        s.settimeout(2)
        try:
            s.connect(path)
            s.sendall(os.urandom(64))
            s.recv(64)
        except OSError:
            pass
        s.close()
    lan.expect_replies(a, replies, finish(a, "ping")[1])
    a.check_log()


def test_link(t):
    """The link goes down and up at run time; the guest sees it and traffic goes on."""
    daemon, a, b = t.lan()
    for machine, vm, other in (("vm1", a, 2), ("vm2", b, 1)):
        for _ in range(2):
            daemon.link(machine, False)
            lan.wait_carrier(vm, False)
            assert lan.ping(vm, lan.address(other), count=2, more="-W 1") == 2
            daemon.link(machine, True)
            lan.wait_carrier(vm, True)
            lan.wait_ping(vm, lan.address(other))
        vm.check_log()


def hot_add(t, model, remove):
    """A device is added to the daemon and to a running guest, works, and goes again."""
    daemon = t.daemon(lan.config(["82574L"], USER))
    slot = ["-device", "pcie-root-port,id=hotslot,chassis=77,slot=77"]
    vm = t.guest(daemon, 1, slot).wait_boot()
    lan.configure(vm, 1)
    vm.run("modprobe " + lan.DRIVER[model])
    for _ in range(3 if remove else 1):
        path = t.path("hot.sock")
        daemon.call("add", object="device", machine="vm1",
                    spec={"name": "net1", "model": model, "mac": lan.mac(9), "switch": "lan",
                          "socket": path})
        vm.qmp.command("device_add", driver="vfio-user-pci", id="hot", bus="hotslot",
                       socket={"type": "unix", "path": path})
        wait_for("the guest has a second interface",
                 lambda: vm.run("test -e /sys/class/net/eth1", check=False)[0] == 0, 30)
        assert vm.run("cat /sys/class/net/eth1/address").strip() == lan.mac(9)
        vm.run("ip link set eth0 down")
        lan.configure(vm, 9, "eth1")
        lan.wait_ping(vm, lan.GATEWAY)
        if remove:
            vm.qmp.command("device_del", id="hot")
            vm.qmp.wait_event("DEVICE_DELETED", 30)
            wait_for("the device is free",
                     lambda: not daemon.device("vm1", "net1")["connected"], 10)
            daemon.call("remove", object="device", machine="vm1", name="net1")
            lan.configure(vm, 1)
            lan.wait_ping(vm, lan.GATEWAY)
    vm.check_log()


def test_hot_add_82574L(t):
    # QEMU aborts when a vfio-user device with MSI-X is removed.
    hot_add(t, "82574L", False)


def test_hot_add_remove_82540EM(t):
    hot_add(t, "82540EM", True)


@limit(150)
def test_daemon_restarted(t):
    """At SIGTERM a guest sees the links of all its NICs go down, and then the daemon ends; the guest
    runs on, and with the next daemon so do its virtio devices, with what they had to do meanwhile."""
    with open(t.path("image"), "wb") as f:
        f.truncate(1 << 20)
    config = lan.config(["82574L"], USER)
    # far longer than a busy machine needs; the second signal ends it
    config["control"] = {"socket": t.path("exitlessd.sock"), "directory": t.directory,
                         "stop_wait_us": 10000000}
    config["machines"][0]["devices"] += [
        {"name": "net1", "model": "82540EM", "mac": lan.mac(2)},
        {"name": "net2", "kind": "virtio-net", "mac": lan.mac(3), "switch": "lan"},
        {"name": "disk0", "kind": "virtio-blk", "file": t.path("image")}]
    daemon = t.daemon(config)
    vm = t.guest(daemon, 1).wait_boot()
    vm.run("modprobe -a e1000 e1000e")
    wait_devices(vm, "/sys/class/net/eth2", "/dev/vda")
    nics = {vm.run("cat /sys/class/net/%s/address" % name).strip(): name
            for name in ("eth0", "eth1", "eth2")}
    intel, old, virtio = (nics[lan.mac(n)] for n in (1, 2, 3))
    for name in (intel, old):
        vm.run("ip link set %s up" % name)
        lan.wait_carrier(vm, True, name)
    lan.configure(vm, 3, virtio)
    lan.wait_ping(vm, lan.GATEWAY)

    daemon.process.send_signal(signal.SIGTERM)
    # Only a daemon that lives can show this: without one the registers read as ones, the link's too.
    for name in (intel, old):
        wait_for("%s is down" % name, lambda: name + ": NIC Link is Down" in
                 vm.run("dmesg").replace(name + " NIC", name + ": NIC"), 30)
    assert stop(daemon.process, 30) == 0
    lan.wait_carrier(vm, False, virtio)
    in_background(vm, "disk", "dd if=/dev/urandom of=/dev/vda bs=64k count=16 oflag=direct")
    vm.run("true")

    daemon.start()
    lan.wait_carrier(vm, True, virtio)
    lan.wait_ping(vm, lan.GATEWAY)
    assert finish(vm, "disk")[0] == 0
    wrote = vm.run("dd if=/dev/vda bs=64k iflag=direct 2>/dev/null | sha256sum").split()[0]
    with open(t.path("image"), "rb") as f:
        assert hashlib.sha256(f.read()).hexdigest() == wrote
    vm.kill()  # nobody the daemon's end would wait for


def test_changes_under_traffic(t):
    """Machines, ports and switches come and go beside a guest that loses nothing."""
    daemon, a = t.lan(["82574L"], USER)
    replies = lan.echo_replies(a)
    in_background(a, "ping", "ping -n -q -i 0.02 -c 300 -W 20 " + lan.GATEWAY)
    for n in range(20):
        daemon.call("add", object="machine",
                    spec={"name": "other", "devices": [{"name": "net0", "switch": "lan"}]})
        daemon.call("add", object="port", spec={"name": "hole", "kind": "null",
                                                "switch": "lan"})
        daemon.call("add", object="switch", spec={"name": "second"})
        daemon.call("add", object="core", spec={"name": "io1"})
        daemon.call("remove", object="core", name="io1")
        daemon.call("remove", object="switch", name="second")
        daemon.call("remove", object="port", name="hole")
        daemon.call("remove", object="machine", name="other")
    lan.expect_replies(a, replies, finish(a, "ping")[1])
    try:
        daemon.call("remove", object="machine", name="other")
    except Failure:
        pass
    else:
        raise Failure("a machine was removed twice")


def test_vmm_stopped(t):
    """A VMM that stops reading its socket harms nobody, and works when it goes on."""
    daemon, a, b = t.lan()
    b.qmp.command("stop")
    os.kill(b.process.pid, 19)
    try:
        assert lan.ping(a, lan.address(2), count=50, interval=0.01, more="-W 1") == 50
        daemon.call("status")
    finally:
        os.kill(b.process.pid, 18)
    b.qmp.command("cont")
    lan.wait_ping(a, lan.address(2))
    a.check_log()
    stop(b.process)
