# SPDX-License-Identifier: BSD-2-Clause
"""Stock drivers on virtio-net over vhost-user; virtio-blk has test_disk.py."""

import json

from lib import lan
from lib.context import Skip, limit
from lib.process import Failure
from test_nic import tap_server

USER = [lan.USER_PORT]


def network(models, device=None, ports=()):
    """The configuration of lan.config(), where "virtio-net" is a kind and not a model."""
    config = lan.config(models, [*USER, *ports])
    for machine, model in zip(config["machines"], models):
        if model == "virtio-net":
            machine["devices"][0].update(kind="virtio-net", **(device or {}))
            del machine["devices"][0]["model"]
    return config


def wait_devices(vm, *paths):
    """Load the drivers and wait for what they make; the guest's init looks at the PCI bus only,
    and these are behind virtio's."""
    for path in paths or ("/sys/class/net/eth0", "/dev/vda"):
        vm.run("modprobe -a virtio_net virtio_blk; for i in 1 2 3 4 5 6 7 8 9; do "
               "test -e %s && exit 0; sleep 0.5; done; exit 1" % path)


def guests(t, models, device=None, **options):
    daemon = t.daemon(network(models, device))
    vms = [t.guest(daemon, n, **options) for n in range(1, len(models) + 1)]
    for number, vm in enumerate(vms, 1):
        vm.wait_boot()
        wait_devices(vm, "/sys/class/net/eth0")
        lan.configure(vm, number)
    return daemon, *vms


@limit(240)
def test_net(t):
    """virtio-net and e1000e talk to each other and to the outside; the same bytes arrive."""
    _, a, b = guests(t, ["virtio-net", "82574L"])
    assert "driver: virtio_net\n" in a.run("ethtool -i eth0")
    lan.expect_ping(a, lan.GATEWAY, count=10)
    lan.expect_ping(a, lan.address(2), count=20, interval=0.05)
    lan.transfer(a, b, lan.address(1))
    lan.transfer(b, a, lan.address(2))
    a.check_log()
    b.check_log()


@limit(240)
def test_net_multiqueue(t):
    """Two pairs of queues, offloads on and off."""
    _, a, b = guests(t, ["virtio-net", "virtio-net"], {"queues": 2}, cpus=2)
    a.run("ethtool -L eth0 combined 2")
    for offload in ("on", "off"):
        a.run("ethtool -K eth0 tx %s rx %s tso %s gso %s gro %s" % ((offload,) * 5), check=False)
        lan.expect_ping(a, lan.address(2), count=10, interval=0.05)
        lan.transfer(a, b, lan.address(1))
        lan.transfer(b, a, lan.address(2))
    a.check_log()
    b.check_log()


def counters(daemon, machine):
    return dict(daemon.device(machine)["counters"]["device"])


def average(before, after, direction):
    """Bytes per frame between two looks at a device's counters."""
    return ((after[direction + "_bytes"] - before[direction + "_bytes"]) /
            (after[direction + "_packets"] - before[direction + "_packets"]))


@limit(200)
def test_large_segments(t):
    """virtio-net, e1000e and a tap: what is larger than a frame crosses whole to who can take it,
    in both directions, and everything arrives."""
    ns = t.netns("lan")
    daemon = t.daemon(network(["virtio-net", "82574L"], ports=[
        {"name": "tap", "kind": "tap", "ifname": "tap0", "netns": "/run/netns/" + ns.name}]))
    host = tap_server(t, ns)
    a, b = (t.guest(daemon, n) for n in (1, 2))
    for number, vm in enumerate((a, b), 1):
        vm.wait_boot()
        wait_devices(vm, "/sys/class/net/eth0")
        lan.configure(vm, number)
        lan.wait_ping(vm, host)
    lan.guest_iperf_server(a)

    def crossing(vm, to, direction, more=""):
        before = counters(daemon, "vm1")
        lan.iperf(vm, to, 2, more)
        after = counters(daemon, "vm1")
        size = average(before, after, direction)
        print(vm.name, to, more, size, after)
        if size < 3000:
            raise Failure("%s, %s %s: %d bytes a frame" % (vm.name, to, more, size))
        assert after["rx_segmented"] == before["rx_segmented"]

    crossing(a, host, "tx")
    link = ns.run("ip", "-j", "-s", "link", "show", "tap0")
    received = json.loads(link)[0]["stats64"]["rx"]
    assert received["bytes"] > 3000 * received["packets"], link
    crossing(a, host, "rx", "-R")
    crossing(b, lan.address(1), "rx")
    # e1000e takes frames only: they are cut for it
    lan.iperf(b, lan.address(1), 1, "-R")
    lan.transfer(a, b, lan.address(1))
    a.check_log()
    b.check_log()


def free_huge_pages():
    """Of 2 MB, in MB."""
    with open("/sys/kernel/mm/hugepages/hugepages-2048kB/free_hugepages") as f:
        return 2 * int(f.read())


@limit(120)
def test_huge_pages(t):
    """A guest whose memory is on huge pages: a NIC of each kind and a disk."""
    try:
        if free_huge_pages() < 300:
            raise Skip("there are no 300 MB of huge pages")
    except FileNotFoundError:
        raise Skip("there are no huge pages")
    config = network(["virtio-net"])
    config["machines"][0]["devices"] += [
        {"name": "net1", "model": "82574L", "mac": lan.mac(2), "switch": "lan"},
        {"name": "disk0", "kind": "virtio-blk", "model": "malloc", "size_bytes": 1 << 20}]
    daemon = t.daemon(config)
    vm = t.vm("vm1", [a + ",hugetlb=on,hugetlbsize=2M" if a.startswith("memory-backend-memfd,") else a
                      for a in daemon.qemu_args("vm1")])
    vm.wait_boot()
    wait_devices(vm)
    found = {vm.run("cat /sys/class/net/%s/address" % name).strip(): name
             for name in vm.run("ls /sys/class/net").split()}
    for number in (1, 2):
        name = found[lan.mac(number)]
        lan.configure(vm, number, name)
        lan.wait_ping(vm, lan.GATEWAY)
        lan.expect_ping(vm, lan.GATEWAY, count=5, size=1400)
        vm.run("ip addr flush dev %s; ip link set %s down" % (name, name))
    vm.run("dd if=/dev/urandom of=/tmp/data bs=64k count=16 2>/dev/null; "
           "dd if=/tmp/data of=/dev/vda oflag=direct bs=64k 2>/dev/null; "
           "dd if=/dev/vda iflag=direct bs=64k count=16 2>/dev/null | cmp - /tmp/data")
    vm.check_log()
