# SPDX-License-Identifier: BSD-2-Clause
"""Stock drivers on the daemon's emulated NICs: binding, traffic, offloads, self-tests."""

import re

from lib import lan
from lib.context import limit
from lib.process import Failure

USER = [lan.USER_PORT]


def check_driver(vm, number, model):
    """The right driver, address and link, and nothing in the kernel's log."""
    info = vm.run("ethtool -i eth0")
    assert "driver: " + lan.DRIVER[model] + "\n" in info, info
    assert vm.run("cat /sys/class/net/eth0/address").strip() == lan.mac(number)
    link = vm.run("ethtool eth0")
    for expected in ("Speed: 1000Mb/s", "Duplex: Full", "Link detected: yes"):
        assert expected in link, link
    vm.check_log()


def test_drivers(t):
    """Both drivers bind, have a link, and talk to each other and to the outside."""
    daemon, a, b = t.lan(ports=USER)
    for number, (vm, model) in enumerate(zip((a, b), lan.MODELS), 1):
        check_driver(vm, number, model)
        lan.expect_ping(vm, lan.GATEWAY, count=10)
    lan.expect_ping(a, lan.address(2), count=20, interval=0.05)
    lan.expect_ping(b, lan.address(1), count=20, interval=0.05)
    lan.transfer(a, b, lan.address(1))
    lan.transfer(b, a, lan.address(2))
    for machine in ("vm1", "vm2"):
        assert daemon.device(machine)["connected"]
    a.check_log()
    b.check_log()


def test_outside(t):
    """TCP both ways through the user-mode port."""
    _, vm = t.lan(["82574L"], USER)
    port = lan.host_iperf_server(t, t.path("iperf3.log"))
    lan.iperf(vm, lan.GATEWAY, 3, port=port)
    lan.iperf(vm, lan.GATEWAY, 3, "-R", port=port)
    vm.check_log()


def tap_server(t, ns):
    """Bring up tap0 in the namespace, with an iperf3 server behind it; its address."""
    ns.run("ip", "addr", "add", lan.address(50) + "/24", "dev", "tap0")
    ns.run("ip", "link", "set", "tap0", "up")
    server = ns.spawn("iperf3", "-s")
    t.later(server.kill)
    lan.wait_for("iperf3 listens", lambda: ":5201" in ns.run("ss", "-ltn"), 10)
    return lan.address(50)


def test_tap(t):
    """TCP both ways and jumbo frames with a tap device in a namespace."""
    ns = t.netns("a")
    tap = {"name": "tap", "kind": "tap", "ifname": "tap0", "netns": "/run/netns/" + ns.name}
    _, vm = t.lan(["82574L"], [tap])
    lan.wait_ping(vm, tap_server(t, ns))
    lan.iperf(vm, lan.address(50), 3)
    lan.iperf(vm, lan.address(50), 3, "-R")
    vm.run("ip link set eth0 mtu 9000")
    ns.run("ip", "link", "set", "tap0", "mtu", "9000")
    lan.wait_carrier(vm, True)
    lan.wait_ping(vm, lan.address(50))
    lan.expect_ping(vm, lan.address(50), size=8972, more="-M do")
    lan.iperf(vm, lan.address(50), 3)
    vm.check_log()


@limit(180)
def test_jumbo(t):
    """Frames of 9000 bytes between the two models."""
    _, a, b = t.lan()
    for number, vm in enumerate((a, b), 1):
        lan.configure(vm, number, mtu=9000)
    lan.wait_ping(a, lan.address(2))
    for size in (1473, 4000, 8191, 8972):
        lan.expect_ping(a, lan.address(2), size=size, more="-M do")
        lan.expect_ping(b, lan.address(1), size=size, more="-M do")
    lan.transfer(a, b, lan.address(1))
    lan.transfer(b, a, lan.address(2))
    # A frame that the receiver's settings do not allow is not given to it.
    lan.configure(b, 2, mtu=1500)
    lan.wait_ping(a, lan.address(2))
    assert lan.ping(a, lan.address(2), size=8000, more="-M do -W 1", count=3) == 3
    a.check_log()
    b.check_log()


@limit(180)
def test_vlans(t):
    """Tagged interfaces in the guests, with the chip's insertion and stripping on and off."""
    _, a, b = t.lan()
    for vm, net in ((a, 1), (b, 2)):
        for vid in (5, 4000):
            vm.run("ip link add link eth0 name v%d type vlan id %d; ip link set v%d up; "
                   "ip addr add 192.168.%d.%d/24 dev v%d" % (vid, vid, vid, vid % 200, net, vid))
    for a_offload in ("on", "off"):
        for b_offload in ("on", "off"):
            for vm, offload in ((a, a_offload), (b, b_offload)):
                vm.run("ethtool -K eth0 rxvlan %s txvlan %s" % (offload, offload), check=False)
                lan.wait_carrier(vm, True)
            lan.wait_ping(a, "192.168.5.2")
            lan.expect_ping(a, "192.168.5.2", size=1472)
            lan.expect_ping(b, "192.168.0.1")
            lan.expect_ping(a, lan.address(2))
            lan.transfer(a, b, "192.168.5.1", 1)
            lan.transfer(b, a, "192.168.5.2", 1)
    # Nobody listens to this VLAN on the other side: the filter keeps it out.
    a.run("ip link add link eth0 name v9 type vlan id 9; ip link set v9 up; "
          "ip addr add 192.168.9.1/24 dev v9")
    assert lan.ping(a, "192.168.9.2", more="-W 1", count=2) == 2
    a.check_log()
    b.check_log()


def test_switch_vlans(t):
    """In a VLAN-aware switch access ports of different VLANs do not meet."""
    daemon, a, b = t.lan(switch={"vlan_aware": True}, device={"pvid": 7})
    lan.expect_ping(a, lan.address(2))
    daemon.call("set", object="device", machine="vm2", name="net0", spec={"pvid": 8})
    assert lan.ping(a, lan.address(2), more="-W 1", count=2) == 2
    daemon.call("set", object="device", machine="vm2", name="net0", spec={"pvid": 7})
    lan.wait_ping(a, lan.address(2))


OFFLOADS = (
    "rx on tx on sg on tso on gso on gro on",
    "rx off tx off sg off tso off gso off gro off",
    "rx on tx on sg on tso off gso on gro on",
    "rx off tx on sg on tso on gso on gro off",
    "rx on tx off sg on tso off gso off gro on",
)


@limit(300)
def test_offloads(t):
    """Checksums and segmentation by the chip and by the guest: the same bytes arrive."""
    _, a, b = t.lan()
    for mine in OFFLOADS:
        for other in OFFLOADS[:2]:
            for vm, setting in ((a, mine), (b, other)):
                vm.run("ethtool -K eth0 " + setting, check=False)
                lan.wait_carrier(vm, True)
            lan.wait_ping(a, lan.address(2))
            lan.transfer(a, b, lan.address(1), 2)
            lan.transfer(b, a, lan.address(2), 2)
    # UDP in fragments, and IPv6.
    lan.expect_ping(a, lan.address(2), size=20000)
    a.run("ip addr add fd00::1/64 dev eth0 nodad")
    b.run("ip addr add fd00::2/64 dev eth0 nodad")
    lan.wait_ping(a, "fd00::2")
    lan.transfer(a, b, "fd00::1", 2)
    lan.transfer(b, a, "fd00::2", 2)
    a.check_log()
    b.check_log()


def self_test(t, vm, mode, unlike_hardware=()):
    """One run of ethtool -t: all its parts pass but those named, which must fail."""
    status, out = vm.run("ethtool -t eth0 " + mode, timeout=90, check=False)
    results = dict(re.findall(r"^(\w+) test.*\t ?(\d+)$", out, re.M))
    assert len(results) == 5, out
    failed = {name for name, result in results.items() if result != "0"}
    if failed != set(unlike_hardware):
        raise Failure("ethtool -t eth0 %s: status %d\n%s" % (mode, status, out))
    lan.configure(vm, 1)
    lan.wait_ping(vm, lan.GATEWAY)


def test_self_test_82574L(t):
    """With the ring pointers in shared memory some registers keep bits that silicon drops."""
    _, vm = t.lan(["82574L"], USER)
    self_test(t, vm, "online")
    self_test(t, vm, "offline", ["Register"])
    vm.check_log(["pattern test failed"])


def test_self_test_82574L_trapped(t):
    """Without that everything passes."""
    _, vm = t.lan(["82574L"], USER, device={"trap_doorbells": True})
    self_test(t, vm, "online")
    self_test(t, vm, "offline")
    vm.check_log()


def test_self_test_82540EM(t):
    _, vm = t.lan(["82540EM"], USER)
    self_test(t, vm, "online")
    self_test(t, vm, "offline")
    vm.check_log()


def test_intx(t):
    """The 82574L without MSI and MSI-X."""
    _, vm = t.lan(["82574L"], USER, kernel_args="pci=nomsi")
    interrupts = vm.run("grep eth0 /proc/interrupts")
    assert "MSI" not in interrupts, interrupts
    lan.expect_ping(vm, lan.GATEWAY, count=20, interval=0.05)
    port = lan.host_iperf_server(t, t.path("iperf3.log"))
    lan.iperf(vm, lan.GATEWAY, 3, port=port)
    lan.iperf(vm, lan.GATEWAY, 3, "-R", port=port)
    vm.check_log(["Failed to initialize MSI"])


def test_multicast(t):
    """Groups that are joined arrive, others do not, and all do in promiscuous mode."""
    _, a, b = t.lan()
    group = "239.1.2.3"
    b.run("ip maddr add 01:00:5e:01:02:03 dev eth0")

    def received():
        # The drivers read the chip's counters every two seconds.
        b.run("sleep 3")
        return int(b.run("cat /sys/class/net/eth0/statistics/rx_packets"))

    def send(to):
        before = received()
        a.run("ping -n -q -c 30 -i 0.05 -W 1 -I eth0 -t 1 %s" % to, check=False)
        return received() - before

    assert send(group) >= 30
    # A few others may come in between.
    strange = send("239.77.88.99")
    assert strange < 15, strange
    b.run("ip link set eth0 allmulticast on")
    assert send("239.77.88.99") >= 30
    b.run("ip link set eth0 allmulticast off; ip link set eth0 promisc on")
    lan.expect_ping(a, lan.address(2))
    b.check_log()


def steady_bulk(daemon, machines, traffic, most=0.05):
    """Run bulk traffic and fail unless traps per frame are below most, at each of the machines."""
    before = {machine: daemon.device(machine) for machine in machines}
    traffic()
    for machine in machines:
        after = daemon.device(machine)
        packets = after["packets"] - before[machine]["packets"]
        traps = after["traps"] - before[machine]["traps"]
        interrupts = after["interrupts"] - before[machine]["interrupts"]
        print("%s: %d packets, %d traps, %.4f; %d interrupts" %
              (machine, packets, traps, traps / packets, interrupts))
        assert packets > 10000
        assert traps < most * packets, (traps, packets)
        # What the driver writes in its interrupt handlers, and no doorbell.
        assert traps < 3 * interrupts, (traps, interrupts)


def test_no_trap_per_packet(t):
    """Steady bulk traffic on the 82574L with MSI-X hardly ever leaves the guest."""
    daemon, a, b = t.lan(["82574L", "82574L"])
    lan.guest_iperf_server(b)
    for more in ("", "-R"):
        steady_bulk(daemon, ("vm1", "vm2"), lambda more=more: lan.iperf(a, lan.address(2), 6, more))


def test_no_trap_per_packet_tap(t):
    """The same with the outside behind a tap device: one connection, with all that TCP has.

    0.02 to 0.04: interrupts are so many a second, frames as many as the machine can.
    """
    ns = t.netns("a")
    daemon, vm = t.lan(["82574L"], [{"name": "tap", "kind": "tap", "ifname": "tap0",
                                     "netns": "/run/netns/" + ns.name}])
    server = tap_server(t, ns)
    for more in ("", "-R"):
        steady_bulk(daemon, ("vm1",), lambda more=more: lan.iperf(vm, server, 5, more), most=0.07)


def test_no_trap_per_packet_outside(t):
    """The same through the user-mode port, with four connections: one has 64 KB on its way.

    How many interrupts these cost depends on how quick the host is: 0.03 to 0.05 traps a frame.
    docs/devices/e1000.md has the sum.
    """
    daemon, vm = t.lan(["82574L"], USER)
    port = lan.host_iperf_server(t, t.path("iperf3.log"))
    for more in ("-P 4", "-P 4 -R"):
        steady_bulk(daemon, ("vm1",),
                    lambda more=more: lan.iperf(vm, lan.GATEWAY, 5, more, port), most=0.07)


def private_memory(args):
    """QEMU's arguments with memory of its own in place of a shared file."""
    args = list(args)
    at = next(i for i, a in enumerate(args) if a.startswith("memory-backend-"))
    del args[at - 1:at + 1]
    at = args.index("-machine") + 1
    args[at] = ",".join(o for o in args[at].split(",") if not o.startswith("memory-backend="))
    return args


@limit(180)
def test_private_memory(t):
    """Guests whose memory is not shared: rings and buffers by DMA messages."""
    daemon = t.daemon(lan.config(ports=USER))
    guests = [t.vm("vm%d" % n, private_memory(daemon.qemu_args("vm%d" % n))) for n in (1, 2)]
    for number, (vm, model) in enumerate(zip(guests, lan.MODELS), 1):
        vm.wait_boot()
        lan.configure(vm, number)
        check_driver(vm, number, model)
        lan.wait_ping(vm, lan.GATEWAY)
    a, b = guests
    lan.expect_ping(a, lan.address(2), count=20, interval=0.05)
    lan.expect_ping(b, lan.address(1), count=20, interval=0.05, size=1472)
    lan.transfer(a, b, lan.address(1))
    lan.transfer(b, a, lan.address(2))
    for vm, machine in ((a, "vm1"), (b, "vm2")):
        transport = daemon.device(machine)["counters"]["transport"]
        assert transport["dma_read_bytes"] > 4e6 and transport["dma_write_bytes"] > 4e6, transport
        vm.run("ip link set eth0 down; ip link set eth0 up")
        lan.wait_carrier(vm, True)
    lan.wait_ping(a, lan.address(2))
    a.check_log()
    b.check_log()
