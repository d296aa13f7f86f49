# SPDX-License-Identifier: BSD-2-Clause
"""The XML of `exitless vmm --libvirt`, as libvirt takes it."""

import os

from lib import lan
from lib.context import Skip, limit
from lib.libvirt import Libvirt
from lib.process import Failure


def domain(t):
    """A daemon, and the domain of a machine with one device of each kind and mode."""
    config = lan.config(["82574L"], [lan.USER_PORT])
    config["machines"][0]["devices"] += [
        {"name": "net1", "kind": "virtio-net", "switch": "lan", "mac": lan.mac(2), "queues": 2},
        {"name": "net2", "kind": "virtio-net", "switch": "lan", "mac": lan.mac(3),
         "vmm_listens": True},
        {"name": "disk0", "kind": "virtio-blk", "model": "malloc", "size_bytes": 1 << 20,
         "serial": "of-libvirt", "queues": 2},
        {"name": "disk1", "kind": "virtio-blk", "model": "malloc", "size_bytes": 1 << 20,
         "vmm_listens": True},
    ]
    daemon = t.daemon(config)
    return daemon, daemon.cli("vmm", "vm1", "--libvirt", "--memory", "256M")


@limit(150)
def test_schema(t):
    """The domain is valid by libvirt's schema, and what is not valid is noticed."""
    libvirt = Libvirt(t.directory)
    if os.geteuid() or not libvirt.available():
        raise Skip("mount namespaces and overlays cannot be made here")
    _, xml = domain(t)
    print(xml)
    for text, valid in ((xml, True), (xml.replace("vhostuser", "vhostloser"), False)):
        with open(t.path("domain.xml"), "w") as f:
            f.write(text)
        try:
            libvirt.validate(t.path("domain.xml"))
        except Failure:
            if valid:
                raise
        else:
            assert valid
