# SPDX-License-Identifier: BSD-2-Clause
"""Stock drivers on virtio-net and virtio-blk over vhost-user."""

import os

from lib import lan
from lib.context import limit

USER = [lan.USER_PORT]


def network(models, device=None):
    """The configuration of lan.config(), where "virtio-net" is a kind and not a model."""
    config = lan.config(models, USER)
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


def disk_daemon(t, **more):
    image = t.path("image")
    with open(image, "wb") as f:
        f.truncate(64 << 20)
    return t.daemon({
        "cores": [{"name": "io0"}],
        "machines": [{"name": "vm1", "devices": [
            dict({"name": "disk0", "kind": "virtio-blk", "model": "file", "file": image,
                  "serial": "exitless-1"}, **more)]}],
    })


@limit(240)
def test_disk(t):
    """Serial number, size, data that come back after the guest's cache is dropped; resize."""
    daemon = disk_daemon(t)
    vm = t.guest(daemon, 1)
    vm.wait_boot()
    wait_devices(vm, "/dev/vda")
    assert vm.run("cat /sys/block/vda/serial").strip() == "exitless-1"
    assert vm.run("cat /sys/block/vda/size").strip() == str((64 << 20) // 512)
    vm.run("dd if=/dev/urandom of=/tmp/data bs=1M count=16 2>/dev/null; "
           "dd if=/tmp/data of=/dev/vda bs=1M seek=3 conv=fsync 2>/dev/null; "
           "echo 3 >/proc/sys/vm/drop_caches; "
           "dd if=/dev/vda of=/tmp/back bs=1M skip=3 count=16 2>/dev/null; "
           "cmp /tmp/data /tmp/back")
    os.truncate(t.path("image"), 80 << 20)
    daemon.call("set", object="device", machine="vm1", name="disk0", spec={})
    vm.run("for i in 1 2 3 4 5 6 7 8 9; do "
           "test $(cat /sys/block/vda/size) = %d && exit 0; sleep 0.5; done; exit 1"
           % ((80 << 20) // 512))
    vm.check_log()


@limit(120)
def test_disk_read_only(t):
    vm = t.guest(disk_daemon(t, read_only=True), 1)
    vm.wait_boot()
    vm.run("modprobe virtio_blk; sleep 1; test $(cat /sys/block/vda/ro) = 1")
    assert vm.run("dd if=/dev/zero of=/dev/vda count=1", check=False)[0] != 0
