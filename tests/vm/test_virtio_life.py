# SPDX-License-Identifier: BSD-2-Clause
"""Comings and goings with virtio: the daemon, the VMM, memory, drivers and the guest's kernel."""

import threading
import time

from lib import lan
from lib.context import limit
from lib.process import PATIENCE, Failure, wait_for
from lib.vm import VM
from test_life import finish, in_background
from test_virtio import wait_devices

# A stream that goes on until it is enough; how many chunks it was is in a file.
STREAM = ("{ n=0; while ! test -e /tmp/enough; do cat /tmp/chunk; n=$((n + 1)); usleep 50000; done; "
          "echo $n >/tmp/chunks; } | nc.openbsd -N -l 7000")


def start_before(t, daemon, vms):
    """Start guests while the daemon is not there, and then the daemon."""
    started, ending = threading.Semaphore(0), threading.Event()

    def run(vm):
        vm.start()
        started.release()
        ending.wait()  # a program dies with the thread that started it

    t.later(ending.set)
    for vm in vms:
        t.later(vm.kill)
        threading.Thread(target=run, args=[vm], daemon=True).start()
    wait_for("QEMU has been started", lambda: all(vm.process for vm in vms), 20)
    time.sleep(0.5)
    for vm in vms:
        if vm.process.poll() is not None:
            raise Failure("%s does not wait for the daemon" % vm.name)
    daemon.start()
    for vm in vms:
        if not started.acquire(timeout=30 * PATIENCE):
            raise Failure("QEMU does not start")
    for vm in vms:
        vm.wait_boot()
        wait_devices(vm, "/sys/class/net/eth0")


@limit(150)
def test_daemon_killed(t):
    """VMMs are there first, one that connects and one that listens; the daemon is killed under
    traffic, twice, and the guests' TCP connection gets over it."""
    config = lan.config(["virtio-net", "virtio-net"])
    for machine, listens in zip(config["machines"], (False, True)):
        device = machine["devices"][0]
        del device["model"]
        device.update(kind="virtio-net", vmm_listens=listens)
    daemon = t.daemon(config)
    a, b = (VM("vm%d" % n, t.directory, daemon.qemu_args("vm%d" % n), log_directory=t.logs)
            for n in (1, 2))
    daemon.kill()
    start_before(t, daemon, (a, b))
    lan.configure(a, 1)
    lan.configure(b, 2)
    lan.wait_ping(b, lan.address(1))

    a.run("dd if=/dev/urandom of=/tmp/chunk bs=100k count=1 2>/dev/null")
    in_background(a, "stream", STREAM)
    wait_for("nc listens",
             lambda: a.run("netstat -ltn | grep -q :7000", check=False)[0] == 0, 10, 0.2)
    in_background(b, "stream", "nc.openbsd -d %s 7000 | sha256sum" % lan.address(1))
    for _ in range(2):
        b.run("sleep 1")
        wait_for("there is traffic", lambda: daemon.device("vm1")["packets"] > 50, 30)
        daemon.kill()
        lan.wait_carrier(b, False)
        daemon.start()
        lan.wait_carrier(b, True)
        lan.wait_carrier(a, True)
        wait_for("packets come again", lambda: daemon.device("vm1")["packets"] > 50, 30)
    a.run("touch /tmp/enough")
    assert finish(a, "stream")[0] == 0
    status, out = finish(b, "stream")
    expected = a.run("for i in $(seq $(cat /tmp/chunks)); do cat /tmp/chunk; done | sha256sum")
    assert status == 0 and out == expected, (status, out, expected)
    a.check_log()
    b.check_log()


def stat(daemon, group, name):
    return daemon.device("vm1")["counters"][group][name]


def add_memory(daemon, vm):
    """256 MiB more while the guest runs, and what it had before filled."""
    before = int(vm.run("awk '/MemTotal/ { print $2 }' /proc/meminfo"))
    vm.qmp.command("object-add", **{"qom-type": "memory-backend-memfd", "id": "more",
                                    "size": 256 << 20, "share": True})
    vm.qmp.command("device_add", driver="pc-dimm", id="dimm", memdev="more")
    vm.run("for i in $(seq 100); do for m in /sys/devices/system/memory/memory*; do "
           "grep -q offline $m/state && echo online_kernel >$m/state; done; "
           "test $(awk '/MemTotal/ { print $2 }' /proc/meminfo) -gt %d && exit 0; sleep 0.5; done; "
           "exit 1" % (before + 200000), timeout=60)
    vm.run("mount -o remount,size=80% /tmp && dd if=/dev/zero of=/tmp/fill bs=1M count=200 2>/dev/null")


def unbind(vm, path, driver):
    name = vm.run("basename $(readlink %s)" % path).strip()
    vm.run("cd /sys/bus/virtio/drivers/%s && echo %s >unbind && sleep 0.5 && echo %s >bind" %
           (driver, name, name))


@limit(200)
def test_guest_life(t):
    """Four pairs of queues with all offloads; memory is added, drivers unbound and the guest
    reset, all under load on its NIC and its disk."""
    config = lan.config(["virtio-net"], [lan.USER_PORT])
    devices = config["machines"][0]["devices"]
    del devices[0]["model"]
    devices[0].update(kind="virtio-net", queues=4)
    devices.append({"name": "disk0", "kind": "virtio-blk", "model": "malloc",
                    "size_bytes": 64 << 20, "queues": 2})
    daemon = t.daemon(config)
    args = daemon.qemu_args("vm1")
    args[args.index("-m") + 1] += ",slots=2,maxmem=1G"
    vm = t.vm("vm1", args)
    port = lan.host_iperf_server(t, t.path("iperf3.log"))

    def four_queues():
        # flows go to all of them, though there is one CPU
        vm.run("ethtool -L eth0 combined 4; for q in /sys/class/net/eth0/queues/tx-*/xps_cpus; do "
               "echo 0 >$q; done")
        lan.configure(vm, 1)
        lan.wait_ping(vm, lan.GATEWAY)

    def set_up():
        wait_devices(vm)
        four_queues()

    def load():
        in_background(vm, "ping", "ping -f -s 1400 -w 60 " + lan.GATEWAY)
        in_background(vm, "disk", "while dd if=/dev/zero of=/dev/vda bs=64k count=64 oflag=direct; "
                      "do :; done")
        vm.run("sleep 1")

    vm.wait_boot()
    set_up()
    features = vm.run("ethtool -k eth0")
    for name in ("tx-checksumming", "scatter-gather", "tcp-segmentation-offload",
                 "tx-tcp-ecn-segmentation", "tx-tcp6-segmentation"):
        if "%s: on" % name not in features:
            raise Failure("the guest has no %s:\n%s" % (name, features))

    # which queues a run's flows go to is by chance
    for _ in range(10):
        lan.iperf(vm, lan.GATEWAY, 2, "-P 16", port)
        lan.iperf(vm, lan.GATEWAY, 2, "-P 16 -R", port)
        queues = daemon.device("vm1")["queues"]
        if all(queue["packets"] > 100 for queue in queues):
            break
    else:
        raise Failure("not all queues are used: %s" % queues)

    load()
    changes = stat(daemon, "transport", "memory_changes")
    add_memory(daemon, vm)
    lan.iperf(vm, lan.GATEWAY, 2, "-P 16 -R", port)
    assert stat(daemon, "transport", "memory_changes") > changes
    for name in ("bad_chains", "rx_bad_buffer", "rings_broken"):
        assert stat(daemon, "device", name) == 0, name
    vm.run("rm /tmp/fill")

    unbind(vm, "/sys/class/net/eth0/device", "virtio_net")
    four_queues()
    unbind(vm, "/sys/block/vda/device", "virtio_blk")
    finish(vm, "disk")
    vm.run("dd if=/dev/vda of=/dev/null bs=1M count=4 2>/dev/null")
    vm.check_log([r"I/O error, dev vda", r"Buffer I/O error on dev vda"])

    # A reset of the machine and not a reboot by its kernel: Linux 6.1's loops for ever when it breaks
    # its queues at shutdown and somebody still sends.
    load()
    vm.qmp.command("system_reset")
    vm.wait_boot()
    set_up()
    vm.run("dd if=/dev/vda of=/dev/null bs=1M count=4 2>/dev/null")
    lan.iperf(vm, lan.GATEWAY, 1, "-P 16", port)
    vm.check_log()
