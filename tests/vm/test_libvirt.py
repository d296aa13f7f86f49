# SPDX-License-Identifier: BSD-2-Clause
"""The XML of `exitless vmm --libvirt` and of the pages in docs/devices, as libvirt takes it."""

import os
import re
import xml.etree.ElementTree as ET

from lib import lan
from lib.context import Skip, limit, needs
from lib.libvirt import FETCH, Domain, Libvirt
from lib.process import Failure
from lib.vm import TOP
from test_virtio import wait_devices


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


@needs(FETCH)
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


def documented(t):
    """The elements of a domain on the pages, for the test's devices."""
    for page, name, mac in (("virtio-net", "net1", lan.mac(2)), ("virtio-blk", "disk0", "")):
        with open(os.path.join(TOP, "docs", "devices", page + ".md")) as f:
            text = "".join(re.findall(r"```xml\n(.*?)```", f.read(), re.S)).replace("...\n", "")
        for device in ("net0", "disk0"):
            text = text.replace("/run/exitless/vm1-%s.sock" % device, t.path("vm1-%s.sock" % name))
        yield from ET.fromstring("<all>%s</all>" % text.replace(lan.mac(1), mac))


def canonical(element):
    return ET.canonicalize(ET.tostring(element, encoding="unicode"), strip_text=True)


def check_documented(t, xml):
    """What the pages have is what the command prints."""
    printed = [canonical(element) for element in ET.fromstring(xml).iter()]
    kinds = []
    for element in documented(t):
        kinds.append(element.tag)
        if canonical(element) not in printed:
            raise Failure("not what the page has:\n%s\n%s" % (xml, canonical(element)))
    assert kinds == ["memoryBacking", "interface", "disk"], kinds


@needs(FETCH)
@limit(150)
def test_domain(t):
    """libvirt runs a domain with virtio-net in both modes, virtio-blk and e1000e over vfio-user, as
    printed and as documented, and all of its devices work."""
    config = lan.config(["82574L"], [lan.USER_PORT])
    config["machines"][0]["devices"] += [
        {"name": "net1", "kind": "virtio-net", "switch": "lan", "mac": lan.mac(2), "queues": 2},
        {"name": "net2", "kind": "virtio-net", "switch": "lan", "mac": lan.mac(3),
         "vmm_listens": True},
        {"name": "disk0", "kind": "virtio-blk", "model": "malloc", "size_bytes": 1 << 20,
         "serial": "of-libvirt", "queues": 2},
    ]
    libvirt = Libvirt(t.directory)
    if os.geteuid() or not libvirt.available():
        raise Skip("mount namespaces and overlays cannot be made here")
    daemon = t.daemon(config)
    xml = daemon.cli("vmm", "vm1", "--libvirt", "--memory", "256M")
    check_documented(t, xml)

    vm = Domain(libvirt, "vm1", xml, t.logs)
    t.later(vm.kill)
    vm.start().wait_boot()
    wait_devices(vm)
    assert vm.run("cat /sys/block/vda/serial").strip() == "of-libvirt"
    vm.run("dd if=/dev/urandom of=/tmp/data bs=64k count=4 2>/dev/null; "
           "dd if=/tmp/data of=/dev/vda oflag=direct bs=64k 2>/dev/null; "
           "dd if=/dev/vda iflag=direct bs=64k count=4 2>/dev/null | cmp - /tmp/data")
    found = {}
    for name in vm.run("ls /sys/class/net").split():
        if name != "lo":
            found[vm.run("cat /sys/class/net/%s/address" % name).strip()] = name
    for number in (1, 2, 3):
        interface = found[lan.mac(number)]
        lan.configure(vm, number, interface)
        lan.wait_ping(vm, lan.GATEWAY)
        vm.run("ip addr flush dev %s; ip link set %s down" % (interface, interface))
