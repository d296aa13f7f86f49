# SPDX-License-Identifier: BSD-2-Clause
"""Other drivers: newer kernels and DPDK on the emulated NICs, and firmware that boots over these and
over virtio."""

import functools
import hashlib
import http.server
import json
import os
import random
import re
import shutil
import socket
import struct
import threading
import time
import zlib

from lib import lan, vm
from lib.context import limit, needs
from lib.process import Failure, wait_for

USER = [lan.USER_PORT]


def newer_kernel(t, version):
    """Both drivers of that kernel: no warning, traffic both ways, a reload in between."""
    _, a, b = t.lan(ports=USER, image=vm.driver_image(version))
    for number, (guest, model) in enumerate(zip((a, b), lan.MODELS), 1):
        assert guest.run("uname -r").startswith(version)
        assert "driver: " + lan.DRIVER[model] + "\n" in guest.run("ethtool -i eth0")
        lan.expect_ping(guest, lan.GATEWAY, count=5)
        guest.run("rmmod {0}; modprobe {0}".format(lan.DRIVER[model]))
        lan.configure(guest, number)
    lan.wait_ping(a, lan.address(2))
    lan.transfer(a, b, lan.address(1), 2)
    lan.transfer(b, a, lan.address(2), 2)
    a.check_log()
    b.check_log()


@limit(180)
@needs("driver-image.sh 6.12")
def test_linux_6_12(t):
    newer_kernel(t, "6.12")


@limit(180)
@needs("driver-image.sh 7")
def test_linux_7(t):
    newer_kernel(t, "7")


class Testpmd:
    """DPDK's testpmd in a guest, on all of its NICs."""

    def __init__(self, guest):
        self.guest = guest
        guest.run("modprobe uio_pci_generic; mkdir -p /dev/hugepages; "
                  "mount -t hugetlbfs none /dev/hugepages; cd /sys/bus/pci/devices; "
                  "for d in $(grep -l 0x020000 */class | cut -d/ -f1); do "
                  "echo uio_pci_generic >$d/driver_override; echo $d >../drivers_probe; done; "
                  "test -e /dev/uio0")
        # The pipe never ends: a shell holds it open.
        guest.run("mkfifo /tmp/in; sleep 1000 >/tmp/in & "
                  "(dpdk-testpmd --lcores 0@0,1@0 -m 64 --in-memory --no-telemetry -- -i "
                  "--nb-cores=1 --rxd=512 --txd=512 --total-num-mbufs=4096 </tmp/in "
                  ">/tmp/out 2>&1; echo ended >>/tmp/out) &")
        self.wait_output("testpmd> |ended")
        if "ended" in self.output():
            raise Failure(self.output())

    def output(self):
        return self.guest.run("cat /tmp/out", check=False)[1]

    def wait_output(self, pattern):
        wait_for("testpmd says " + pattern, lambda: re.search(pattern, self.output()), 60, 0.5)

    def tell(self, *commands):
        for command in commands:
            self.guest.run("echo %s >/tmp/in" % command)

    def counts(self):
        """For each MAC address (packets received, sent), as it showed them last."""
        out = self.output()
        macs = dict(re.findall(r"Port (\d+): ([0-9A-F:]{17})", out))
        found = re.findall(r"NIC statistics for port (\d+) .*?RX-packets: (\d+).*?"
                           r"TX-packets: (\d+)", out, re.DOTALL)
        return {macs[n].lower(): (int(rx), int(tx)) for n, rx, tx in found}

    def end(self, expected):
        """Stop, quit when it has counted what is expected, and return counts()."""
        def same():
            # What it prints comes in pieces of 4 KB.
            self.tell(*["show port stats all"] * 4)
            return self.counts() == expected()

        self.tell("stop")
        wait_for("testpmd and we count the same", same, 60)
        self.tell("quit")
        self.wait_output("ended")
        return self.counts()


def random_frames(source, count):
    """Frames of all sizes from this address to nobody."""
    head = bytes.fromhex("02cc00000001" + source + "88b5")
    sizes = [46, 50, 242, 498, 1010, 1500, *range(46, 1501)]
    return [head + os.urandom(random.choice(sizes)) for _ in range(count)]


def write_pcap(path, frames):
    with open(path, "wb") as f:
        f.write(struct.pack("<IHHiIII", 0xa1b2c3d4, 2, 4, 0, 0, 65535, 1))
        for frame in frames:
            f.write(struct.pack("<IIII", 0, 0, len(frame), len(frame)) + frame)


def read_pcap(path):
    with open(path, "rb") as f:
        data = f.read()[24:]
    while data:
        length = struct.unpack_from("<I", data, 8)[0]
        yield data[16:16 + length]
        data = data[16 + length:]


@limit(150)
@needs("driver-image.sh dpdk")
def test_dpdk(t):
    """DPDK's em driver on both chips: all frames cross the guest, in both directions, as they were.

    A round's frames fit into the rings, so none may be lost, however slow the guest is.
    """
    sides = {"a": ("net0", "82574L", lan.mac(1)), "b": ("net1", "82540EM", lan.mac(2))}
    captured = {side: t.path("captured-" + side) for side in sides}
    daemon = t.daemon({
        "cores": [{"name": "io0"}],
        "sandbox": {"calls": "kill", "paths": [t.directory]},
        "switches": [{"name": side} for side in sides],
        "ports": [{"name": "out-" + side, "switch": side, "kind": "pcap",
                   "capture_file": captured[side]} for side in sides],
        "machines": [{"name": "vm1", "devices": [
            {"name": name, "model": model, "mac": mac, "switch": side}
            for side, (name, model, mac) in sides.items()]}]})
    guest = t.guest(daemon, 1, [] if vm.accelerator() == "kvm" else ["-cpu", "Nehalem"],
                    memory="512M", image=vm.driver_image("dpdk"),
                    kernel_args="exitless.noprobe hugepages=40")
    guest.wait_boot()
    testpmd = Testpmd(guest)
    testpmd.tell("set fwd io", "start")

    def counts(what):
        return [daemon.device("vm1", name)["counters"]["device"][what]
                for name, _, _ in sides.values()]

    sent = {side: [] for side in sides}
    for number in range(5):
        for side in sides:
            frames = random_frames("02%s0000%02x01" % (side * 2, number), 200)
            sent[side] += frames
            write_pcap(t.path("round"), frames)
            daemon.cli("add", "port", "in-" + side, "kind=pcap", "switch=" + side,
                       "replay_file=" + t.path("round"), "replay_speed=0")
        wait_for("all frames cross the guest",
                 lambda: counts("tx_packets") == [len(s) for s in sent.values()], 60)
        for side in sides:
            daemon.cli("remove", "port", "in-" + side)
    for side, other in ("ab", "ba"):
        daemon.cli("remove", "port", "out-" + side)
        got = [f for f in read_pcap(captured[side]) if f[6:8].hex() == "02" + other * 2]
        assert got == sent[other], "%d frames of %d" % (len(got), len(sent[other]))

    testpmd.tell("stop", "set fwd txonly")
    before = counts("tx_packets")
    traps = [daemon.device("vm1", name)["traps"] for name, _, _ in sides.values()]
    testpmd.tell("start")
    wait_for("both send", lambda: all(now > then + 20000 for now, then in
                                      zip(counts("tx_packets"), before)), 60)
    traps = [daemon.device("vm1", name)["traps"] - then
             for (name, _, _), then in zip(sides.values(), traps)]
    # It polls its rings: what traps is what looks after the link.
    assert all(n < 400 for n in traps), traps

    def counted():
        return dict(zip((mac for _, _, mac in sides.values()),
                        zip(counts("rx_packets"), counts("tx_packets"))))

    # What is in its rings when it stops is sent all the same.
    said = testpmd.end(counted)
    assert said == counted(), (said, counted())
    for name, _, _ in sides.values():
        assert daemon.device("vm1", name)["interrupts"] == 0
    guest.check_log(["uio_pci_generic"])


def serve(t, directory):
    """An HTTP server on the host's loopback; guests reach it at the gateway's address."""
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=directory)
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    t.later(server.shutdown)
    return server.server_address[1]


@limit(150)
@needs("driver-image.sh 6.12", "driver-image.sh firmware")
def test_ipxe_82574L(t):
    """iPXE's own driver fetches a kernel and 23 MB of initramfs, and what it boots works."""
    firmware = vm.driver_image("firmware")
    daemon = t.daemon(lan.config(["82574L"], USER))
    sercon = t.path("sercon")
    with open(sercon, "wb") as f:
        f.write(b"\xf8\x03")  # SeaBIOS: the console's port
    guest = t.guest(daemon, 1, memory="512M", boot=[
        "-kernel", os.path.join(firmware, "ipxe.lkrn"),
        "-append", "ifconf -c dhcp && " + " && ".join(boot_linux(t)),
        "-fw_cfg", "name=etc/sercon-port,file=" + sercon])
    expect_booted(guest)


def boot_linux(t):
    """iPXE's commands for that."""
    url = "http://%s:%d/" % (lan.GATEWAY, serve(t, vm.driver_image("6.12")))
    return ["kernel %skernel %s" % (url, vm.kernel_command_line()),
            "initrd %sinitramfs.cpio" % url, "boot"]


def expect_booted(guest):
    guest.wait_boot(100)
    lan.configure(guest, 1)
    lan.wait_ping(guest, lan.GATEWAY)
    lan.expect_ping(guest, lan.GATEWAY, count=5)


def boot_config(t, model, name, content):
    """A user-mode port that boots guests with this file; returns (the config, its folder)."""
    folder = t.path("tftp")
    os.mkdir(folder)
    with open(os.path.join(folder, name), "w") as f:
        f.write(content)
    return lan.config([model], [dict(lan.USER_PORT, tftp_directory=folder, boot_file=name)]), folder


def network_boot(t, daemon, rom, boot, memory="256M"):
    """A guest whose firmware boots by the network, with this option ROM of QEMU's."""
    args = daemon.qemu_args("vm1", memory)
    device = next(i for i, word in enumerate(args) if "vfio-user-pci" in word)
    args[device] = json.dumps(dict(json.loads(args[device]), romfile=rom, bootindex=1))
    return t.vm("vm1", args, boot=boot)


@limit(150)
@needs("driver-image.sh 6.12")
def test_pxe_82540EM(t):
    """The option ROM gets a script by TFTP, and does by HTTP what that says."""
    config, _ = boot_config(t, "82540EM", "boot.ipxe", "\n".join(["#!ipxe", *boot_linux(t), ""]))
    guest = network_boot(t, t.daemon(config), "pxe-e1000.rom", ["-boot", "n"], "512M")
    expect_booted(guest)


def console(guest):
    with open(guest.console_log, errors="replace") as f:
        return f.read()


def uefi(t):
    """QEMU's arguments for UEFI with variables of its own."""
    firmware = vm.driver_image("firmware")
    variables = t.path("vars.fd")
    shutil.copy(os.path.join(firmware, "vars.fd"), variables)
    return ["-drive", "if=pflash,format=raw,unit=0,readonly=on,file=%s/code.fd" % firmware,
            "-drive", "if=pflash,format=raw,unit=1,file=" + variables]


def put_grub(folder, script):
    """GRUB for UEFI to be fetched, and what it does then."""
    firmware = vm.driver_image("firmware")
    for name in ("grub", "grub.efi"):
        path = os.path.join(firmware, name)
        (shutil.copytree if os.path.isdir(path) else shutil.copyfile)(
            path, os.path.join(folder, name))
    with open(os.path.join(folder, "grub", "grub.cfg"), "w") as f:
        f.write("insmod hashsum\ninsmod gcry_sha256\n" + script + "echo all is read\nhalt\n")


def expect_hashes(guest, *contents):
    wait_for("all is read", lambda: "all is read" in console(guest), 100, 0.5)
    for data in contents:
        assert hashlib.sha256(data).hexdigest() in console(guest), console(guest)


@limit(120)
@needs("driver-image.sh firmware")
def test_uefi_82574L(t):
    """UEFI with the option ROM's driver boots GRUB, which reads a file over it."""
    config, folder = boot_config(t, "82574L", "grub.efi", "")
    data = os.urandom(1 << 20)
    with open(os.path.join(folder, "data"), "wb") as f:
        f.write(data)
    put_grub(folder, "hashsum --hash sha256 /data\n")
    guest = network_boot(t, t.daemon(config), "efi-e1000e.rom", uefi(t))
    expect_hashes(guest, data)


def virtio_config(t, name, content, devices=()):
    """boot_config() with virtio-net."""
    config, folder = boot_config(t, "", name, content)
    device = config["machines"][0]["devices"][0]
    del device["model"]
    device["kind"] = "virtio-net"
    config["machines"][0]["devices"] += devices
    return config, folder


@limit(120)
@needs("driver-image.sh firmware")
def test_uefi_virtio(t):
    """UEFI's own drivers for both: it boots GRUB by the network, which reads the disk and a file."""
    data, blocks = os.urandom(1 << 18), os.urandom(1 << 20)
    with open(t.path("image"), "wb") as f:
        f.write(blocks)
    config, folder = virtio_config(t, "grub.efi", "", [
        {"name": "disk0", "kind": "virtio-blk", "model": "file", "file": t.path("image")}])
    with open(os.path.join(folder, "data"), "wb") as f:
        f.write(data)
    put_grub(folder, "hashsum --hash sha256 /data\nhashsum --hash sha256 (hd0)0+2048\n")
    daemon = t.daemon(config)
    # its own driver and not that of the option ROM; it leaves devices alone that it cannot boot from
    more = {"virtio-net-pci": ",romfile=,bootindex=1", "vhost-user-blk-pci": ",bootindex=2"}
    args = [a + more.get(a.split(",")[0], "") for a in daemon.qemu_args("vm1", "256M")]
    guest = t.vm("vm1", args, boot=uefi(t))
    expect_hashes(guest, data, blocks)
    net, disk = (daemon.device("vm1", name)["counters"]["device"] for name in ("net0", "disk0"))
    assert net["rings_broken"] == net["bad_chains"] == 0, net
    assert disk["rings_broken"] == disk["malformed"] == disk["errors"] == 0, disk


@limit(100)
@needs("driver-image.sh firmware")
def test_ipxe_virtio(t):
    """iPXE's own driver asks for an address and fetches a file by HTTP."""
    with open(t.path("data"), "wb") as f:
        f.write(os.urandom(1 << 20))
    url = "http://%s:%d/" % (lan.GATEWAY, serve(t, t.directory))
    config = lan.config([""], USER)
    device = config["machines"][0]["devices"][0]
    del device["model"]
    device["kind"] = "virtio-net"
    daemon = t.daemon(config)
    sercon = t.path("sercon")
    with open(sercon, "wb") as f:
        f.write(b"\xf8\x03")  # SeaBIOS: the console's port
    args = [a + ",romfile=" if a.startswith("virtio-net-pci") else a
            for a in daemon.qemu_args("vm1", "256M")]
    guest = t.vm("vm1", args, boot=[
        "-kernel", os.path.join(vm.driver_image("firmware"), "ipxe.lkrn"),
        "-append", "ifconf -c dhcp && imgfetch %sdata && echo all is read" % url,
        "-fw_cfg", "name=etc/sercon-port,file=" + sercon])
    wait_for("all is read", lambda: "all is read" in console(guest), 80)
    counters = daemon.device("vm1")["counters"]["device"]
    assert counters["rx_bytes"] > 1 << 20 and counters["rings_broken"] == 0, counters


class UBoot:
    """U-Boot's prompt on the first serial port of a guest."""

    def __init__(self, t, daemon):
        # It looks for devices on the first bus only: without the root port of an 82574L. And it
        # takes what is in slot 1 for a part of the other machine that it is made for.
        words = daemon.qemu_args("vm1")
        devices = [json.loads(words[i + 1]) for i, word in enumerate(words) if word == "-device"]
        args = words[:words.index("-device")]
        for slot, device in enumerate(devices, 8):
            if device["driver"] == "vfio-user-pci":
                args += ["-device", json.dumps(dict(device, bus="pcie.0", addr="%x" % slot))]
        path = t.path("console")
        self.said = ""
        self.guest = t.vm("vm1", args, boot=[
            "-bios", os.path.join(vm.driver_image("uboot"), "u-boot.rom"),
            "-chardev", "socket,id=console,path=%s,server=on,wait=off" % path,
            "-serial", "chardev:console"])
        self.console = socket.socket(socket.AF_UNIX)
        t.later(self.console.close)
        self.console.connect(path)
        self.console.settimeout(1)
        for tries in range(1, 6):
            # Two seconds for somebody who wants the prompt; who comes later begins again.
            self._read("stop autoboot|\n=> $")
            self.console.sendall(b"\n")
            try:
                self._read("\n=> $", 5)
                break
            except Failure:
                if tries == 5:
                    raise
                self.guest.qmp.command("system_reset")

    def _read(self, pattern, seconds=60):
        """What is said up to this pattern."""
        text = ""
        end = time.monotonic() + seconds * vm.PATIENCE
        while not re.search(pattern, text):
            if time.monotonic() > end:
                raise Failure("U-Boot did not say %s:\n%s" % (pattern, self.said))
            try:
                new = self.console.recv(4096).decode(errors="replace")
            except TimeoutError:
                continue
            if not new:
                raise Failure("the console was closed")
            text += new
            self.said += new
        return text

    def run(self, command):
        self.console.sendall(command.encode() + b"\n")
        return self._read("\n=> $")


@limit(120)
@needs("driver-image.sh uboot")
def test_uboot(t):
    """U-Boot gives the chip one descriptor at a time: what comes quicker waits, and none is lost."""
    folder = t.path("tftp")
    os.mkdir(folder)
    data = os.urandom(300000)
    with open(os.path.join(folder, "data"), "wb") as f:
        f.write(data)
    config = lan.config(["82574L"], [dict(lan.USER_PORT, tftp_directory=folder)])
    config["machines"][0]["devices"].append(
        {"name": "net1", "model": "82540EM", "mac": lan.mac(2), "switch": "lan"})
    daemon = t.daemon(config)
    uboot = UBoot(t, daemon)
    for number, device in enumerate(("net0", "net1")):
        uboot.run("setenv ethact e1000#%d; setenv autoload no" % number)
        for _ in range(3):
            said = uboot.run("dhcp")
            assert "DHCP client bound" in said, said
        said = uboot.run("ping " + lan.GATEWAY)
        assert "is alive" in said, said
        said = uboot.run("tftpboot 0x1000000 %s:data" % lan.GATEWAY)
        assert "Bytes transferred = 300000" in said, said
        assert "%08x" % zlib.crc32(data) in uboot.run("crc32 0x1000000 0x493e0"), uboot.said
        counters = daemon.device("vm1", device)["counters"]["device"]
        # It would have asked again.
        assert counters["rx_no_buffer"] == 0, counters
        print("%s: %d frames, %d waited" % (device, counters["rx_packets"], counters["rx_waited"]))
