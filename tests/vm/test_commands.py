# SPDX-License-Identifier: BSD-2-Clause
"""QEMU's command lines as the pages of docs/devices have them, with the kernels of trixie and of its
backports, and what comes before a kernel: SeaBIOS on our disk."""

import os
import re
import shlex

from lib import lan, vm
from lib.context import limit, needs
from lib.process import Failure, run, wait_for
from lib.vm import TOP, tail
from test_virtio import wait_devices

# What Linux takes of each device through QEMU, which shows the link by itself (STATUS) and has no
# segments of UDP for vhost-user.
NET_FEATURES = {"VERSION_1", "INDIRECT_DESC", "EVENT_IDX", "CSUM", "GUEST_CSUM",
                "GUEST_TSO4", "GUEST_TSO6", "GUEST_ECN", "HOST_TSO4", "HOST_TSO6", "HOST_ECN",
                "MRG_RXBUF", "GUEST_ANNOUNCE"}
DISK_FEATURES = {"VERSION_1", "INDIRECT_DESC", "EVENT_IDX", "SEG_MAX", "BLK_SIZE", "FLUSH",
                 "TOPOLOGY", "CONFIG_WCE", "MQ", "DISCARD", "WRITE_ZEROES"}
NET_OPTIONS = ("packed=on", "in_order=on", "host_mtu=9000", "rx_queue_size=1024",
               "tx_queue_size=1024")


def page(name):
    with open(os.path.join(TOP, "docs", "devices", name)) as f:
        return f.read()


def documented(t, name):
    """The arguments of the QEMU command line on that page, with the test's sockets."""
    text = re.search(r"```\n(qemu-system-x86_64.*?)```", page(name), re.S).group(1)
    return [w.replace("/run/exitless", t.directory)
            for w in shlex.split(text.replace("\\\n", " "))[1:]]


def devices(t):
    config = lan.config(["", ""], [lan.USER_PORT])
    first, second = (machine["devices"][0] for machine in config["machines"])
    del config["machines"][1], first["model"], second["model"]
    first.update(kind="virtio-net", queues=2)
    second.update(kind="virtio-net", name="net1", vmm_listens=True)
    config["machines"][0]["devices"] += [second] + [
        {"name": "disk%d" % n, "kind": "virtio-blk", "model": "malloc", "size_bytes": size << 20,
         "queues": queues} for n, size, queues in ((0, 8, 2), (1, 16, 4))]
    return t.daemon(config)


def with_kernel(t, version):
    """A guest with both commands' devices, and one more of each with all that the pages name."""
    text = page("virtio-net.md")
    for option in NET_OPTIONS:
        assert "`%s`" % option in text, option
    assert "server=on,wait=on" in text
    daemon = devices(t)
    disk = [w.replace("c0", "c1") for w in documented(t, "virtio-blk.md")]
    args = [*documented(t, "virtio-net.md"), *disk[disk.index("-chardev"):], "-smp", "2",
            "-chardev", "socket,id=c2,path=%s,server=on,wait=on" % t.path("vm1-net1.sock"),
            "-netdev", "vhost-user,id=n2,chardev=c2",
            "-device", "virtio-net-pci,netdev=n2,mac=%s,%s" % (lan.mac(2), ",".join(NET_OPTIONS)),
            "-chardev", "socket,id=c3,path=" + t.path("vm1-disk1.sock"),
            "-device", "vhost-user-blk-pci,chardev=c3,num-queues=4,packed=on"]
    guest = t.vm("vm1", args, image=vm.driver_image(version)).wait_boot()
    wait_devices(guest, "/dev/vdb")
    assert guest.run("uname -r").startswith(version)

    names = {}
    for name in guest.run("ls /sys/class/net").split():
        names[guest.run("cat /sys/class/net/%s/address" % name).strip()] = name
    plain, more = names[lan.mac(1)], names[lan.mac(2)]
    disks = {guest.run("cat /sys/block/%s/size" % d).strip(): d for d in ("vda", "vdb")}
    # only the newer one can use rings in order
    options = {"RING_PACKED", "MTU"} | ({"IN_ORDER"} if version == "7" else set())
    for name, expected in (("net0", NET_FEATURES | {"MQ"}), ("net1", NET_FEATURES | options),
                           ("disk0", DISK_FEATURES), ("disk1", DISK_FEATURES | {"RING_PACKED"})):
        features = set(daemon.call("show", object="device", machine="vm1", name=name)["features"])
        assert features == expected, (name, features ^ expected)
    for offload in ("tx-checksumming", "tx-tcp-segmentation", "tx-tcp6-segmentation",
                    "tx-tcp-ecn-segmentation"):
        assert "%s: on" % offload in guest.run("ethtool -k %s" % plain), offload

    guest.run("ethtool -L %s combined 2" % plain)
    rings = guest.run("ethtool -g %s" % more)
    assert len(re.findall(r"^[RT]X:\s+1024$", rings, re.M)) == 4, rings
    lan.configure(guest, 1, plain, mtu=9000)
    lan.wait_ping(guest, lan.GATEWAY)
    # the second one in a namespace of its own, so that they talk through the switch
    guest.run("ip netns add other; ip link set {0} netns other; ip netns exec other "
              "sh -c 'ip link set {0} mtu 9000 up; ip addr add {1}/24 dev {0}'"
              .format(more, lan.address(2)))
    lan.wait_ping(guest, lan.address(2))
    lan.expect_ping(guest, lan.address(2), count=5, size=8900, more="-M do")
    # QEMU would not tell us of a queue that is reset alone, as it is for this: so it cannot be
    status, out = guest.run("ethtool -G %s rx 64 tx 64" % plain, check=False)
    assert status, out
    lan.expect_ping(guest, lan.address(2), count=5, size=8900, more="-M do")
    guest.run("dd if=/dev/urandom of=/tmp/data bs=1M count=4 2>/dev/null; ip netns exec other "
              "sh -c 'for p in 7000 7001; do nc.openbsd -N -l $p </tmp/data >/tmp/back.$p & done' "
              ">/dev/null 2>&1 &")
    there = "ip netns exec other netstat -ltn | grep -c :700[01]"
    wait_for("both listen", lambda: guest.run(there, check=False)[1].strip() == "2", 30, 0.2)
    guest.run("nc.openbsd -d %s 7000 | cmp - /tmp/data" % lan.address(2), timeout=60)
    guest.run("nc.openbsd -N %s 7001 </tmp/data >/dev/null; for i in $(seq 50); do "
              "cmp -s /tmp/back.7001 /tmp/data && exit 0; sleep 0.2; done; exit 1" %
              lan.address(2), timeout=60)

    for name in disks.values():
        assert guest.run("ls /sys/block/%s/mq | wc -l" % name).strip() == "2"
        guest.run("dd if=/tmp/data of=/dev/%s bs=64k oflag=direct 2>/dev/null; "
                  "dd if=/dev/%s bs=64k count=64 iflag=direct 2>/dev/null | cmp - /tmp/data" %
                  (name, name))
    # two emulated ones; what was refused above
    guest.check_log([r"mtrr: your CPUs had inconsistent", r"resize tx fail"])
    for name in ("net0", "net1"):
        counters = daemon.device("vm1", name)["counters"]["device"]
        assert counters["rings_broken"] == counters["bad_chains"] == 0, counters


@needs("driver-image.sh 6.12")
@limit(150)
def test_linux_6_12(t):
    with_kernel(t, "6.12")


@needs("driver-image.sh 7")
@limit(150)
def test_linux_7(t):
    with_kernel(t, "7")


@limit(60)
def test_no_translation(t):
    """A device behind a virtual IOMMU: QEMU says that it cannot be, and the daemon goes on."""
    daemon = devices(t)
    for name in ("virtio-net.md", "virtio-blk.md"):
        args = documented(t, name)
        args[-1] += ",iommu_platform=on"
        try:
            run([vm.qemu_path(), "-nodefaults", "-display", "none", "-accel", "tcg", "-S", *args])
        except Failure as failure:
            assert "iommu_platform=true is not supported" in str(failure), failure
        else:
            raise Failure("QEMU started")
        daemon.check_alive()


def boot_sector(t):
    source = os.path.join(TOP, "tests", "vm", "guest", "boot.s")
    run(["as", "--32", "-o", t.path("boot.o"), source])
    run(["ld", "-m", "elf_i386", "--oformat", "binary", "-Ttext", "0x7c00", "-o", t.path("boot"),
         t.path("boot.o")])
    with open(t.path("boot"), "rb") as f:
        return f.read()


@limit(60)
def test_seabios(t):
    """SeaBIOS boots from our disk, and reads and writes it for what it boots."""
    text = b"".join(b"line %d of what is on the disk\r\n" % n for n in range(100)) + b"the end\r\n"
    with open(t.path("image"), "wb") as f:
        f.write(boot_sector(t).ljust(2048 * 512, b"\0") + text)
        f.truncate(8 << 20)
    daemon = t.daemon({"cores": [{"name": "io0"}], "machines": [{"name": "vm1", "devices": [
        {"name": "disk0", "kind": "virtio-blk", "model": "file", "file": t.path("image")}]}]})
    guest = t.guest(daemon, 1, boot=["-boot", "c"])
    wait_for("the text is printed", lambda: "the end\r\n" in tail(guest.console_log, 100), 50)
    with open(guest.console_log, "rb") as f:
        assert f.read().endswith(text)
    with open(t.path("image"), "rb") as f:
        f.seek(4096 * 512)
        assert f.read(4096) == text.ljust(4096, b"\0")
