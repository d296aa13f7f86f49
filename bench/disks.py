# SPDX-License-Identifier: BSD-2-Clause
"""The disk servers that bench/blk.py measures, each with the same three disks on one core:
"null" (no storage), "file" (an image on storage) and "tmpfs" (an image in memory)."""

import json
import os
import re
import subprocess
import tempfile

from servers import BUILD, CLIENT_CPU, SERVER_CPU, TOP, Failed, Server

DISKS = ("null", "file", "tmpfs")
NULL_BYTES = 1 << 30


class Images:
    """Files full of random data. places: {name: directory}."""

    def __init__(self, places, size):
        self.paths = {}
        for name, place in places.items():
            fd, path = tempfile.mkstemp(prefix="exitless-bench-", dir=place)
            self.paths[name] = path
            with open(fd, "wb") as f:
                for _ in range(size >> 20):
                    f.write(os.urandom(1 << 20))
                f.flush()
                os.fsync(f.fileno())

    def remove(self):
        for path in self.paths.values():
            os.unlink(path)


class DiskServer(Server):
    """sockets: in the order of DISKS."""
    images = None

    def __init__(self):
        super().__init__(len(DISKS))

    def client_globals(self):
        return []


class Exitless(DiskServer):
    name, label = "exitless", "exitless"

    @staticmethod
    def version():
        done = subprocess.run(["git", "-C", TOP, "describe", "--always", "--dirty"],
                              capture_output=True, text=True, check=False)
        return "exitless " + (done.stdout.strip() or "unknown")

    def start(self):
        devices = [{"name": "null", "model": "null", "size_bytes": NULL_BYTES}]
        devices += [{"name": name, "model": "file", "file": path}
                    for name, path in self.images.paths.items()]
        config = {"control": {"socket": self.dir + "/control.sock", "directory": self.dir},
                  "cores": [{"name": "io0", "cpu": SERVER_CPU}],
                  "machines": [{"name": "vm", "devices": [dict(d, kind="virtio-blk")
                                                          for d in devices]}]}
        with open(self.dir + "/config.json", "w") as f:
            json.dump(config, f)
        daemon = self.run([BUILD + "/src/exitlessd", "--config", "config.json"])
        self.pid = daemon.pid
        os.sched_setaffinity(daemon.pid, {CLIENT_CPU})
        self.wait_for(lambda: os.path.exists(self.dir + "/control.sock"), "control socket")
        return ["%s/vm-%s.sock" % (self.dir, name) for name in DISKS]

    def client_globals(self):
        return ["--socket", self.dir + "/control.sock"]

    def client_options(self):
        return super().client_options() + ["--stats"]


def qemu_tool(name):
    done = subprocess.run([TOP + "/tools/fetch-qemu-tools.sh"], capture_output=True, text=True,
                          check=False)
    if done.returncode:
        raise Failed(done.stderr)
    return os.path.join(done.stdout.strip(), name)


class Qsd(DiskServer):
    """qemu-storage-daemon; its I/O thread polls as long as it does by itself."""
    name, label = "qsd", "qemu-storage-daemon"
    thread = ""

    @staticmethod
    def version():
        done = subprocess.run([qemu_tool("qemu-storage-daemon"), "--version"],
                              capture_output=True, text=True, check=False)
        return " ".join(done.stdout.split()[:3])

    def start(self):
        argv = [qemu_tool("qemu-storage-daemon"),
                "--object", "iothread,id=t" + self.thread,
                "--blockdev", "driver=null-co,node-name=null,size=%d" % NULL_BYTES]
        for name, path in self.images.paths.items():
            argv += ["--blockdev", "driver=file,node-name=%s,filename=%s,aio=io_uring,"
                     "cache.direct=on,locking=off" % (name, path)]
        for name in DISKS:
            argv += ["--export", "vhost-user-blk,id=%s,node-name=%s,writable=on,iothread=t,"
                     "addr.type=unix,addr.path=%s/%s.sock" % (name, name, self.dir, name)]
        process = self.run(argv)
        self.pid = process.pid
        self.wait_for(self.iothread, "I/O thread")
        # everything but the data path shares the client's CPU, as with the others
        os.sched_setaffinity(self.pid, {CLIENT_CPU})
        os.sched_setaffinity(self.iothread(), {SERVER_CPU})
        return ["%s/%s.sock" % (self.dir, name) for name in DISKS]

    def iothread(self):
        """Its thread number; 0 while it has not been started."""
        for task in os.listdir("/proc/%d/task" % self.pid):
            with open("/proc/%d/task/%s/comm" % (self.pid, task)) as f:
                if f.read().startswith("IO "):
                    return int(task)
        return 0


class QsdPolled(Qsd):
    """The same, told to poll for up to 1 ms."""
    name, label = "qsd-polled", "qemu-storage-daemon, poll-max-ns=1000000"
    thread = ",poll-max-ns=1000000"


class Spdk(DiskServer):
    """SPDK's vhost target, if EXITLESS_SPDK_VHOST names one that has been built."""
    name, label = "spdk", "SPDK vhost"
    program = os.environ.get("EXITLESS_SPDK_VHOST")

    def version(self):
        found = re.search(r"Starting (SPDK \S+)", self.log())
        return found.group(1) if found else "SPDK"

    def start(self):
        bdevs = [("bdev_set_options", {"bdev_io_pool_size": 8192, "bdev_io_cache_size": 128}),
                 ("bdev_null_create", {"name": "null", "num_blocks": NULL_BYTES // 512,
                                       "block_size": 512})]
        bdevs += [("bdev_aio_create", {"name": name, "filename": path, "block_size": 512})
                  for name, path in self.images.paths.items()]
        controllers = [("vhost_create_blk_controller",
                        {"ctrlr": name + ".sock", "dev_name": name,
                         "cpumask": "0x%x" % (1 << SERVER_CPU)}) for name in DISKS]
        config = {"subsystems": [
            {"subsystem": name, "config": [{"method": m, "params": p} for m, p in methods]}
            for name, methods in (("bdev", bdevs), ("vhost_blk", controllers))]}
        with open(self.dir + "/config.json", "w") as f:
            json.dump(config, f)
        process = self.run([self.program, "-m", "0x%x" % (1 << SERVER_CPU), "-S", self.dir,
                            "--no-pci", "--no-huge", "-s", "384", "-c", "config.json",
                            "-r", self.dir + "/rpc.sock"])
        self.pid = process.pid
        return ["%s/%s.sock" % (self.dir, name) for name in DISKS]


ALL = [Exitless, Qsd, QsdPolled] + ([Spdk] if Spdk.program else [])
