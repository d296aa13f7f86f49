# SPDX-License-Identifier: BSD-2-Clause
"""A stock guest on virtio-blk: its file system, fio's verification, and what may happen to both."""

import os

from lib.context import limit, needs
from lib.process import Failure, run, spawn, wait_for
from lib.vm import tool
from test_life import finish, in_background

MB = 1 << 20
SIZE = 64 * MB
# What the I/O errors of a driver that lost its device look like, and a disk that may not be written.
LOST = (r"I/O error, dev vd", r"Buffer I/O error", r"lost async page write", r"write-protected")
# Load on an emulated CPU of a busy host.
BUSY_HOST = (r"hrtimer: interrupt took",)


def tools():
    """An image with fio and others, as the arguments that give a guest that disk too."""
    return ["-drive", "file=%s,if=none,id=tools,format=raw,readonly=on" % tool("guest-tools.sh"),
            "-device", "virtio-blk-pci,drive=tools,serial=tools"]


def image(t, name, size=SIZE):
    path = t.path(name)
    with open(path, "wb") as f:
        f.truncate(size)
    return path


def blocks(path):
    """Bytes that the file takes up on the host."""
    return os.stat(path).st_blocks * 512


def disk(vm, serial):
    """/dev/vdX of the disk with this serial number, once it is there."""
    return vm.run("for i in 1 2 3 4 5 6 7 8 9; do for d in /sys/block/vd*; do "
                  "read -r s <$d/serial; test \"$s\" = %s && echo /dev/${d##*/} && exit 0; done; "
                  "sleep 0.5; done; exit 1" % serial).strip()


def writes(daemon):
    return daemon.device("vm1", "disk0")["counters"]["device"]["writes"]


def start(t, devices, **options):
    devices = [dict({"kind": "virtio-blk", "model": "file"}, **d) for d in devices]
    daemon = t.daemon({"cores": [{"name": "io0"}],
                       "machines": [{"name": "vm1", "devices": devices}]})
    vm = t.guest(daemon, 1, tools(), **options).wait_boot()
    ready(vm)
    return daemon, vm


def ready(vm):
    vm.run("modprobe -a virtio_blk ext4; mkdir -p /tools /mnt")
    vm.run("mount -r -t ext4 %s /tools" % disk(vm, "tools"))


def fio(target, jobs, **more):
    """fio's command line: random writes, each verified by its checksum."""
    keys = dict({"name": "f", "filename": target, "rw": "randwrite", "bs": "4k", "direct": 1,
                 "ioengine": "libaio", "iodepth": 8, "numjobs": jobs, "verify": "crc32c",
                 "verify_fatal": 1, "thread": 1, "output-format": "terse"}, **more)
    return "/tools/bin/fio " + " ".join("--%s=%s" % item for item in keys.items())


def until_enough(command):
    """A command again and again, until it fails or there is /tmp/enough."""
    return "until test -e /tmp/enough; do %s || exit; done" % command


@needs("guest-tools.sh")
@limit(180)
def test_killed_under_load(t):
    """kill -9 of the daemon while fio writes into ext4: every acknowledged write is there."""
    path = image(t, "image")
    daemon, vm = start(t, [{"name": "disk0", "file": path, "queues": 2, "serial": "data"}], cpus=2)
    data = disk(vm, "data")
    vm.run("/tools/bin/mke2fs -q -t ext4 %s && mount -t ext4 %s /mnt" % (data, data), timeout=60)
    in_background(vm, "fio", until_enough(fio("/mnt/file", 1, size="24m", time_based=0, loops=1,
                                              verify_backlog=64, fsync=128)))
    for _ in range(3):
        # a new daemon counts from 0; the file system's own writes are fewer
        before = writes(daemon)
        wait_for("fio writes", lambda: writes(daemon) > before + 200, 60, 0.05)
        daemon.kill()
        daemon.start()
    vm.run("touch /tmp/enough")
    status, out = finish(vm, "fio", 100)
    if status:
        raise Failure("fio: status %d\n%s" % (status, out))
    vm.run("umount /mnt; echo 3 >/proc/sys/vm/drop_caches; /tools/bin/e2fsck -fn %s" % data,
           timeout=60)
    vm.check_log(allowed=BUSY_HOST)


@needs("guest-tools.sh")
@limit(240)
def test_write_cache(t):
    """What the guest switches its disk's write cache to holds for the next daemon, and for the next
    driver, to which QEMU shows what the last one said."""
    daemon, vm = start(t, [{"name": "disk0", "file": image(t, "image"), "serial": "data"}])

    def expect(on):
        data = disk(vm, "data")
        vm.run("dd if=/dev/zero of=%s bs=4k count=1 oflag=direct 2>/dev/null" % data)
        seen = vm.run("cat /sys/block/%s/cache_type" % data[5:]).strip()
        assert seen == ("write back" if on else "write through"), seen
        assert daemon.device("vm1", "disk0")["counters"]["device"]["writeback"] == on, seen

    def restart():
        daemon.kill()
        daemon.start()

    for on in (True, False, True):
        data = disk(vm, "data")[5:]
        vm.run("echo write %s >/sys/block/%s/cache_type" % ("back" if on else "through", data))
        expect(on)
        restart()
        expect(on)
        driver = vm.run("basename $(readlink -f /sys/block/%s/device)" % data).strip()
        vm.run("cd /sys/bus/virtio/drivers/virtio_blk && echo %s >unbind && echo %s >bind" %
               (driver, driver))
        expect(on)
        restart()
        expect(on)
        if not on:
            vm.reboot()
            ready(vm)
            expect(on)


@needs("guest-tools.sh")
@limit(180)
def test_life(t):
    """Two disks: serial, read-only, resize, discard and zeroes, unbind and reboot under load."""
    path, fixed = image(t, "image"), image(t, "fixed", 8 * MB)
    with open(fixed, "r+b") as f:
        f.write(b"what was here before")
    daemon, vm = start(t, [
        {"name": "disk0", "file": path, "queues": 2, "serial": "data"},
        {"name": "disk1", "file": fixed, "read_only": True, "serial": "fixed"}])

    ro = disk(vm, "fixed")
    assert vm.run("head -c 20 " + ro) == "what was here before"
    assert vm.run("cat /sys/block/%s/ro" % ro[5:]).strip() == "1"
    assert vm.run("dd if=/dev/zero of=%s count=1" % ro, check=False)[0] != 0

    data = disk(vm, "data")
    sectors = "cat /sys/block/%s/size" % data[5:]
    assert vm.run(sectors).strip() == str(SIZE // 512)
    os.truncate(path, SIZE + 16 * MB)
    daemon.call("set", object="device", machine="vm1", name="disk0", spec={})
    wait_for("the guest sees the new size",
             lambda: vm.run(sectors).strip() == str((SIZE + 16 * MB) // 512), 20)

    # what is discarded takes no room any more, and both read as zeroes; the rest stays
    vm.run("yes x | dd of=%s bs=1M count=16 iflag=fullblock oflag=direct 2>/dev/null" % data)
    full = blocks(path)
    assert full >= 16 * MB
    vm.run("/tools/bin/blkdiscard -o 4M -l 4M " + data)
    with open(path, "rb") as f:
        assert os.lseek(f.fileno(), 4 * MB, os.SEEK_HOLE) == 4 * MB
        assert os.lseek(f.fileno(), 4 * MB, os.SEEK_DATA) == 8 * MB
    assert blocks(path) <= full - 4 * MB
    vm.run("/tools/bin/blkdiscard -z -o 12M -l 2M " + data)
    with open(path, "rb") as f:
        content = f.read(16 * MB)
    assert content == b"x\n" * (2 * MB) + bytes(4 * MB) + b"x\n" * (2 * MB) + bytes(2 * MB) + \
        b"x\n" * MB

    # the driver goes under load and comes back
    driver = vm.run("basename $(readlink -f /sys/block/%s/device)" % data[5:]).strip()
    for _ in range(2):
        in_background(vm, "load", "while dd if=%s of=/dev/null bs=64k count=512 iflag=direct; "
                                  "do :; done" % data)
        vm.run("sleep 0.5; echo %s >/sys/bus/virtio/drivers/virtio_blk/unbind" % driver)
        assert finish(vm, "load")[0] == 0
        vm.run("echo %s >/sys/bus/virtio/drivers/virtio_blk/bind" % driver)
        data = disk(vm, "data")
    vm.run("dd if=%s bs=1M count=4 iflag=direct 2>/dev/null | tr -d 'x\\n' | "
           "cmp -s - /dev/null" % data)
    vm.check_log(allowed=LOST + BUSY_HOST)

    before = writes(daemon)
    in_background(vm, "load", until_enough(fio(data, 2, size="16m", offset="32m")))
    wait_for("there is load", lambda: writes(daemon) > before + 200, 60, 0.1)
    vm.reboot()
    ready(vm)
    data = disk(vm, "data")
    vm.run(fio(data, 1, size="4m", offset="32m"), timeout=60)
    assert vm.run("dd if=%s bs=1M count=1 2>/dev/null | head -c 4" % data) == "x\nx\n"
    vm.check_log(allowed=BUSY_HOST)


@needs("fetch-qemu-tools.sh")
@limit(120)
def test_libblkio(t):
    """A client of others, without a guest: QEMU's tools by libblkio's virtio-blk-vhost-user."""
    programs = tool("fetch-qemu-tools.sh")
    path = image(t, "image", 8 * MB)
    source = t.path("source")
    with open(source, "wb") as f:
        f.write(os.urandom(8 * MB))
    daemon = t.daemon({"cores": [{"name": "io0"}], "machines": [{"name": "vm1", "devices": [
        {"name": "disk0", "kind": "virtio-blk", "model": "file", "file": path, "queues": 2}]}]})
    options = "driver=virtio-blk-vhost-user,path=%s,cache.direct=on" % t.path("vm1-disk0.sock")

    def call(name, *args):
        return run([os.path.join(programs, name), *args])

    # all of a disk, by large requests with many in flight; then back
    call("qemu-img", "convert", "-n", "-f", "raw", "--target-image-opts", source, options)
    call("qemu-img", "compare", "--image-opts", "driver=file,filename=" + source, options)
    with open(source, "rb") as a, open(path, "rb") as b:
        assert a.read() == b.read()
    call("qemu-io", "--image-opts", options,
         "-c", "write -P 0x5a 512 1M", "-c", "read -P 0x5a 512 1M", "-c", "flush",
         "-c", "aio_write -P 0x11 2M 64k", "-c", "aio_write -P 0x22 3M 512", "-c", "aio_flush",
         "-c", "read -P 0x11 2M 64k", "-c", "read -P 0x22 3M 512",
         "-c", "write -f -P 0x33 4M 4k", "-c", "write -z 4M 512", "-c", "read -P 0 4M 512",
         "-c", "read -P 0x33 4194816 3584", "-c", "writev -P 0x44 5M 512 4k 1k",
         "-c", "readv -P 0x44 5M 1k 512 4k", "-c", "discard 6M 1M", "-c", "read -P 0 6M 1M")
    call("qemu-img", "bench", "--image-opts", options, "-c", "2000", "-d", "32", "-w", "-s", "4096")
    counters = daemon.device("vm1", "disk0")["counters"]["device"]
    assert counters["errors"] == 0 and counters["writes"] > 2000, counters


@needs("fetch-qemu-tools.sh", "fetch-fio.sh")
@limit(120)
def test_fio(t):
    """fio's verification without a guest: over NBD to QEMU's storage daemon, and from there by
    libblkio's driver."""
    path = image(t, "image")
    daemon = t.daemon({"cores": [{"name": "io0"}], "machines": [{"name": "vm1", "devices": [
        {"name": "disk0", "kind": "virtio-blk", "model": "file", "file": path}]}]})
    nbd = t.path("nbd")
    exporter = spawn(
        [os.path.join(tool("fetch-qemu-tools.sh"), "qemu-storage-daemon"),
         "--blockdev", "driver=virtio-blk-vhost-user,node-name=disk,path=%s,cache.direct=on" %
         t.path("vm1-disk0.sock"),
         "--nbd-server", "addr.type=unix,addr.path=" + nbd, "--pidfile", t.path("pid"),
         "--export", "type=nbd,id=e,node-name=disk,name=disk,writable=on"],
        os.path.join(t.logs, "exporter.log"))
    t.later(exporter.kill)
    wait_for("the export is there",
             lambda: os.path.exists(t.path("pid")) or exporter.poll() is not None, 60)
    done = 0
    for sizes, amount in (("512-64k", "16m"), ("4k-4k", "4m")):
        run([tool("fetch-fio.sh"), "--name=f", "--ioengine=nbd", "--rw=randwrite", "--iodepth=16",
             "--uri=nbd+unix:///disk?socket=" + nbd, "--size=%d" % SIZE, "--io_size=" + amount,
             "--bsrange=" + sizes, "--verify=crc32c", "--verify_fatal=1", "--verify_state_save=0"],
            timeout=90)
        counters = daemon.device("vm1", "disk0")["counters"]["device"]
        assert counters["errors"] == counters["malformed"] == 0, counters
        assert counters["writes"] > done + 100 and counters["reads"] > done + 100, counters
        done = max(counters["writes"], counters["reads"])
