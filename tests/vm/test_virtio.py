# SPDX-License-Identifier: BSD-2-Clause
"""Stock drivers on virtio-net over vhost-user; virtio-blk has test_disk.py."""

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
