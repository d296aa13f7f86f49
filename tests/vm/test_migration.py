# SPDX-License-Identifier: BSD-2-Clause
"""Live migration of a running guest from one QEMU and daemon to another QEMU and daemon."""

import hashlib
import os
import threading

from lib import lan
from lib.context import limit
from lib.process import Failure, wait_for
from test_life import finish, in_background
from test_virtio import wait_devices

HOST = 50  # the namespace's number on the LAN
BLOCK = 65536
ROUNDS = 8  # of sending memory that the guest has changed, before it may stop
READ_BLOCKS = 1024  # what the guest reads; it writes to the 64 blocks behind

# Reads more and more into the page cache, which the device alone writes: on the other side it is
# right only if each of these writes was in the dirty log. Prints how many blocks.
READER = """
n=0
while ! test -e /tmp/enough && test $n -lt %d; do
    dd if=/dev/vda of=/dev/null bs=%d skip=$n count=1 2>/dev/null || exit 1
    n=$((n + 1))
done
echo $n
""" % (READ_BLOCKS, BLOCK)

# Block number n %% 64 is filled with lines of n, past the cache, and read back. Prints how many.
WRITER = """
n=0
while ! test -e /tmp/enough; do
    at=$((%d + n %% 64))
    yes $n | head -c %d >/tmp/block
    dd if=/tmp/block of=/dev/vda bs=%d seek=$at oflag=direct conv=notrunc 2>/dev/null || exit 1
    dd if=/dev/vda of=/tmp/again bs=%d skip=$at count=1 iflag=direct 2>/dev/null || exit 2
    cmp /tmp/block /tmp/again || exit 3
    n=$((n + 1))
done
echo $n
""" % (READ_BLOCKS, BLOCK, BLOCK, BLOCK)


# Changes 8 MB of memory, again and again.
DIRTIER = """
yes | head -c 8388608 >/tmp/dirt
while ! test -e /tmp/enough; do
    dd if=/tmp/dirt of=/tmp/dirt bs=1M conv=notrunc 2>/dev/null || exit 1
    sleep 0.1
done
"""


def config(ns, number, image):
    return {
        "cores": [{"name": "io0"}],
        "switches": [{"name": "lan"}],
        "ports": [{"name": "tap", "kind": "tap", "ifname": "tap%d" % number, "switch": "lan",
                   "netns": "/run/netns/" + ns.name}],
        "machines": [{"name": "vm1", "devices": [
            {"name": "net0", "kind": "virtio-net", "switch": "lan", "mac": lan.mac(1)},
            {"name": "disk0", "kind": "virtio-blk", "model": "file", "file": image,
             "shared": True}]}],
    }


class Stream(threading.Thread):
    """Sends random bytes to whoever connects, in the namespace; slowly, until finish()."""

    def __init__(self, ns, log):
        super().__init__(daemon=True)
        self.sum = hashlib.sha256()
        self.sent = 0
        self.ending = threading.Event()
        # the program in the namespace only passes on what comes in at its standard input
        self.process = ns.spawn_input("socat", "-u", "STDIN", "TCP-LISTEN:7000", log=log)
        # the guest asks once
        wait_for("socat listens", lambda: ":7000 " in ns.run("ss", "-tlnH"), 20)

    def run(self):
        while not self.ending.is_set():
            data = os.urandom(65536)
            try:
                self.process.stdin.write(data)
            except OSError:
                return
            self.sum.update(data)
            self.sent += len(data)
            self.ending.wait(0.02)
        self.process.stdin.close()

    def finish(self):
        self.ending.set()
        self.join()
        self.process.wait(60)


def qemu_args(daemon):
    """Those of the exitless command; requests in flight go along in the stream."""
    return [arg + ",inflight-migration=on" if arg.startswith("vhost-user-blk-pci") else arg
            for arg in daemon.qemu_args("vm1")]


def bridge(ns):
    """Both daemons' taps on one bridge, as two hosts are on one network."""
    ns.run("ip", "link", "add", "br0", "type", "bridge")
    for number in (1, 2):
        ns.run("ip", "link", "set", "tap%d" % number, "master", "br0", "up")
    ns.run("ip", "link", "set", "br0", "up")
    ns.run("ip", "addr", "add", lan.address(HOST) + "/24", "dev", "br0")


def migrate(t, source, target):
    """Move a guest, whose DIRTIER runs, in rounds enough to have used dirty logs for some time."""
    uri = "unix:" + t.path("migration")
    source.qmp.command("migrate-set-capabilities",
                       capabilities=[{"capability": "pause-before-switchover", "state": True}])

    def query():
        info = source.qmp.command("query-migrate")
        if info["status"] in ("failed", "cancelled"):
            raise Failure("migration: %s" % info)
        return info

    def rounds(info):
        return info.get("ram", {}).get("dirty-sync-count", 0)

    for _ in range(10):
        target.qmp.command("migrate-incoming", uri=uri)
        # A round takes longer than the guest's memory stays as it is: the first has it all.
        source.qmp.command("migrate-set-parameters", **{"max-bandwidth": 32 << 20,
                                                        "downtime-limit": 0})
        source.qmp.command("migrate", uri=uri)
        wait_for("the first round is over", lambda: rounds(query()) > 1, 60, 0.2)
        source.qmp.command("migrate-set-parameters", **{"max-bandwidth": 8 << 20})
        wait_for("all memory has been sent, and more",
                 lambda: rounds(query()) > ROUNDS or query()["status"] == "pre-switchover", 60, 0.2)
        if rounds(query()) > ROUNDS:
            break
        # A guest that was off its CPU for all of a round left nothing for another: once more.
        print(query())
        source.qmp.command("migrate_cancel")
        wait_for("the guest stays", lambda: source.qmp.command("query-migrate")["status"] ==
                 "cancelled" and source.qmp.command("query-status")["status"] == "running", 20)
        target.kill()
        target.start()
    else:
        raise Failure("the guest changes no memory")
    source.qmp.command("migrate-set-parameters", **{"max-bandwidth": 64 << 20,
                                                    "downtime-limit": 1500})
    wait_for("the guest is stopped", lambda: query()["status"] == "pre-switchover", 60, 0.2)
    source.qmp.command("migrate-continue", state="pre-switchover")
    wait_for("the guest has migrated", lambda: query()["status"] == "completed", 60, 0.2)
    print(query())
    # its commands are read from the target's serial port now
    wait_for("the guest runs", lambda: target.qmp.command("query-status")["status"] == "running", 20)


@limit(240)
def test_live(t):
    """A TCP stream, a disk that is written and one that is read: nothing is lost or changed."""
    ns = t.netns("a")
    image = t.path("image")
    with open(image, "wb") as f:
        f.write(os.urandom(READ_BLOCKS * BLOCK))
        f.truncate((READ_BLOCKS + 64) * BLOCK)
    daemons = [t.daemon(config(ns, n, image), "exitlessd%d" % n) for n in (1, 2)]
    bridge(ns)
    source = t.vm("source", qemu_args(daemons[0]))
    target = t.vm("target", [*qemu_args(daemons[1]), "-incoming", "defer"])
    source.wait_boot()
    wait_devices(source)
    lan.configure(source, 1)
    lan.wait_ping(source, lan.address(HOST))
    stream = Stream(ns, t.path("socat.log"))
    in_background(source, "stream", "nc.openbsd -d %s 7000 | sha256sum" % lan.address(HOST))
    in_background(source, "reader", READER)
    in_background(source, "writer", WRITER)
    in_background(source, "dirtier", DIRTIER)
    stream.start()
    # more than can be on its way without the guest
    wait_for("the stream runs", lambda: stream.sent > 16 << 20, 60)

    migrate(t, source, target)
    source.kill()
    daemons[0].stop()
    # the bridge has heard of the guest's new place without the guest being asked
    wait_for("the guest is announced",
             lambda: any(lan.mac(1) in line and "tap2" in line
                         for line in ns.run("bridge", "fdb", "show").splitlines()), 20)
    sent = stream.sent
    wait_for("the stream goes on", lambda: stream.sent > sent + (1 << 20), 60)
    target.run("sleep 2; touch /tmp/enough", timeout=60)
    stream.finish()
    status, out = finish(target, "stream")
    assert status == 0 and out.split()[0] == stream.sum.hexdigest(), out
    status, out = finish(target, "reader")
    assert status == 0, (status, out)
    blocks = int(out)
    status, out = finish(target, "writer")
    assert status == 0, (status, out)

    count = int(out.split()[-1])
    assert count > 10, out
    with open(image, "rb") as f:
        cached = target.run("dd if=/dev/vda bs=%d count=%d 2>/dev/null | sha256sum" %
                            (BLOCK, blocks), timeout=60).split()[0]
        if cached != hashlib.sha256(f.read(blocks * BLOCK)).hexdigest():
            raise Failure("what the guest read before it moved has changed")
        for n in range(max(0, count - 64), count):
            f.seek((READ_BLOCKS + n % 64) * BLOCK)
            line = b"%d\n" % n
            if f.read(BLOCK) != (line * (BLOCK // len(line) + 1))[:BLOCK]:
                raise Failure("block %d of the disk is not what was written last" % n)
    target.check_log()
