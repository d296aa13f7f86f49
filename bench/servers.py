# SPDX-License-Identifier: BSD-2-Clause
"""The servers that bench/ measures: exitlessd and its peers, each with its data path on one core.

A server is started with a number of network devices, all behind vhost-user sockets that the load
client connects to, and says where they are (`sockets`). Servers that a measurement does not use
just then are stopped with SIGSTOP (`pause()`), so that several can stand beside each other on a
small machine. All of a server's files are in a directory of its own.
"""

import json
import os
import shutil
import signal
import subprocess
import tempfile
import time

TOP = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
BUILD = os.environ.get("EXITLESS_BUILD", os.path.join(TOP, "build"))
EXITLESS = os.path.join(BUILD, "cli", "exitless")
# Of the load client and of the servers' control threads; of the servers' data path.
CLIENT_CPU, SERVER_CPU = 0, 1
# MiB of huge pages for a peer's packet buffers.
PEER_MEMORY = 256


class Failed(Exception):
    pass


class Server:
    """name: in results; label: in reports."""
    name = label = None
    # Which two of the sockets does a frame cross? All pairs, or only neighbours (0-1, 2-3).
    any_pair = True

    def __init__(self, devices):
        self.devices = devices
        self.dir = tempfile.mkdtemp(prefix="exitless-bench-")
        self.processes = []
        self.commands = []
        self.pid = None
        try:
            self.sockets = self.start()
            for path in self.sockets:
                self.wait_for(lambda p=path: os.path.exists(p), "its socket " + path)
        except BaseException:
            self.stop()
            raise

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.stop()

    def run(self, argv, **kwargs):
        """Start a program that stays; its output is in a log beside its sockets."""
        log = open(os.path.join(self.dir, "log"), "a")
        process = subprocess.Popen(argv, cwd=self.dir, stdout=log, stderr=log,
                                   start_new_session=True, **kwargs)
        log.close()
        self.processes.append(process)
        self.commands.append(" ".join(argv))
        return process

    def call(self, argv, **kwargs):
        done = subprocess.run(argv, cwd=self.dir, stdout=subprocess.PIPE, text=True,
                              stderr=subprocess.STDOUT, timeout=60, check=False, **kwargs)
        if done.returncode:
            raise Failed("%s: %s\n%s" % (self.name, " ".join(argv), done.stdout))
        self.commands.append(" ".join(argv))
        return done.stdout

    def log(self):
        with open(os.path.join(self.dir, "log"), errors="replace") as f:
            return f.read()

    def wait_for(self, condition, what, seconds=60):
        end = time.monotonic() + seconds
        while not condition():
            for process in self.processes:
                if process.poll() is not None:
                    raise Failed("%s ended:\n%s" % (self.name, self.log()[-2000:]))
            if time.monotonic() > end:
                raise Failed("%s: no %s\n%s" % (self.name, what, self.log()[-2000:]))
            time.sleep(0.02)

    def pause(self):
        for process in self.processes:
            process.send_signal(signal.SIGSTOP)

    def go_on(self):
        for process in self.processes:
            process.send_signal(signal.SIGCONT)

    def stop(self):
        self.go_on()
        for process in reversed(self.processes):
            process.terminate()
        for process in reversed(self.processes):
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        self.processes = []
        shutil.rmtree(self.dir, ignore_errors=True)

    def client_options(self):
        """For `exitless bench`, beside the load."""
        return ["--pid", str(self.pid)]


class Exitless(Server):
    name, label = "exitless", "exitless (learning switch)"
    kind = {"kind": "virtio-net"}
    core = {}
    config = {} # beside that

    @staticmethod
    def version():
        commit = subprocess.run(["git", "-C", TOP, "describe", "--always", "--dirty"],
                                capture_output=True, text=True, check=False).stdout.strip()
        return "exitless " + (commit or "unknown")

    def start(self):
        devices = [dict(self.kind, name="net%d" % i, switch="lan") for i in range(self.devices)]
        config = {
            "control": {"socket": self.dir + "/control.sock", "directory": self.dir},
            "cores": [dict({"name": "io0", "cpu": SERVER_CPU}, **self.core)],
            "switches": [{"name": "lan"}],
            # one device each: a machine's devices share what it gets
            "machines": [{"name": "vm%d" % i, "devices": [d]} for i, d in enumerate(devices)],
            **self.config,
        }
        with open(self.dir + "/config.json", "w") as f:
            json.dump(config, f)
        daemon = self.run(self.daemon([BUILD + "/src/exitlessd", "--config", "config.json"]))
        self.pid = daemon.pid
        os.sched_setaffinity(daemon.pid, {CLIENT_CPU})
        self.wait_for(lambda: os.path.exists(self.dir + "/control.sock"), "control socket")
        return ["%s/vm%d-net%d.sock" % (self.dir, i, i) for i in range(self.devices)]

    def daemon(self, argv):
        return argv

    def client_options(self):
        return super().client_options() + ["--stats"]

    def client_globals(self):
        return ["--socket", self.dir + "/control.sock"]


class ExitlessE1000(Exitless):
    name, label = "exitless-82574L", "exitless, 82574L over vfio-user"
    kind = {"model": "82574L"}


class ExitlessRoundRobin(Exitless):
    name, label = "exitless-round-robin", "exitless without its scheduler"
    core = {"round_robin": True}


class Testpmd(Server):
    name, label = "testpmd", "DPDK testpmd (io forward)"
    any_pair = False

    @staticmethod
    def version():
        done = subprocess.run(["dpkg-query", "-W", "-f", "dpdk ${Version}", "dpdk"],
                              capture_output=True, text=True, check=False)
        return done.stdout

    def start(self):
        sockets = ["%s/S%d" % (self.dir, i) for i in range(self.devices)]
        argv = ["stdbuf", "-oL", "dpdk-testpmd", "-l", "%d,%d" % (CLIENT_CPU, SERVER_CPU), "--main-lcore",
                str(CLIENT_CPU), "--no-pci", "--in-memory", "-m", str(PEER_MEMORY),
                "--file-prefix", os.path.basename(self.dir)]
        for i, path in enumerate(sockets):
            argv += ["--vdev", "net_vhost%d,iface=%s" % (i, path)]
        argv += ["--", "--forward-mode=io", "--nb-cores=1", "--auto-start",
                 "--disable-link-check", "--total-num-mbufs=32768"]
        # it ends when its standard input does
        process = self.run(argv, stdin=subprocess.PIPE)
        self.pid = process.pid
        self.wait_for(lambda: "Press enter to exit" in self.log(), "start")
        return sockets


class Ovs(Server):
    name, label = "ovs-normal", "OVS-DPDK (NORMAL)"
    flows = None

    @staticmethod
    def version():
        done = subprocess.run(["dpkg-query", "-W", "-f", "openvswitch ${Version}",
                               "openvswitch-switch-dpdk"],
                              capture_output=True, text=True, check=False)
        return done.stdout

    def start(self):
        env = dict(os.environ, OVS_RUNDIR=self.dir, OVS_LOGDIR=self.dir, OVS_DBDIR=self.dir)
        db = "unix:%s/db.sock" % self.dir
        vsctl = ["ovs-vsctl", "--db=" + db, "--timeout=30"]
        self.call(["ovsdb-tool", "create", "conf.db",
                   "/usr/share/openvswitch/vswitch.ovsschema"], env=env)
        self.run(["ovsdb-server", "conf.db", "--remote=punix:%s/db.sock" % self.dir,
                  "--unixctl=%s/ovsdb.ctl" % self.dir], env=env)
        self.wait_for(lambda: os.path.exists(self.dir + "/db.sock"), "database")
        self.call(vsctl + ["--no-wait", "init"], env=env)
        self.call(vsctl + ["--no-wait", "set", "Open_vSwitch", ".",
                           "other_config:dpdk-init=true",
                           "other_config:dpdk-lcore-mask=0x%x" % (1 << CLIENT_CPU),
                           "other_config:pmd-cpu-mask=0x%x" % (1 << SERVER_CPU),
                           "other_config:dpdk-socket-mem=%d" % PEER_MEMORY,
                           # without a limit it takes all there is
                           "other_config:dpdk-socket-limit=%d" % PEER_MEMORY,
                           "other_config:dpdk-extra=--no-pci --in-memory --file-prefix %s"
                           % os.path.basename(self.dir)], env=env)
        # its bridge is an interface of the host: in a namespace of its own
        daemon = self.run(["unshare", "-n", "/usr/lib/openvswitch-switch-dpdk/ovs-vswitchd-dpdk", db,
                           "--unixctl=%s/vswitchd.ctl" % self.dir], env=env)
        self.pid = daemon.pid
        self.call(vsctl + ["add-br", "br0", "--", "set", "bridge", "br0", "datapath_type=netdev"],
                  env=env)
        argv = vsctl[:]
        for i in range(self.devices):
            argv += ["--", "add-port", "br0", "v%d" % i, "--", "set", "Interface", "v%d" % i,
                     "type=dpdkvhostuser", "ofport_request=%d" % (i + 1)]
        self.call(argv, env=env)
        self.wait_for(lambda: "added interface v%d " % (self.devices - 1) in self.log(), "ports")
        time.sleep(0.3)
        if self.flows:
            bridge = "%s/br0.mgmt" % self.dir
            self.call(["ovs-ofctl", "del-flows", "unix:" + bridge], env=env)
            for flow in self.flows(self.devices):
                self.call(["ovs-ofctl", "add-flow", "unix:" + bridge, flow], env=env)
        return ["%s/v%d" % (self.dir, i) for i in range(self.devices)]


def neighbours(devices):
    return ["in_port=%d,actions=output:%d" % (i + 1, (i ^ 1) + 1) for i in range(devices)]


class OvsPorts(Ovs):
    name, label = "ovs-ports", "OVS-DPDK (port to port)"
    any_pair = False
    flows = staticmethod(neighbours)


def huge_pages(mib):
    """So much memory of 2 MiB pages; returns what undoes it. Failed, if the host has not got it."""
    path = "/sys/kernel/mm/hugepages/hugepages-2048kB/"
    with open(path + "nr_hugepages") as f:
        before = int(f.read())
    with open(path + "free_hugepages") as f:
        missing = mib // 2 - int(f.read())
    if missing <= 0:
        return lambda: None

    def put(number):
        with open(path + "nr_hugepages", "w") as f:
            f.write(str(number))

    put(before + missing)
    with open(path + "free_hugepages") as f:
        if int(f.read()) < mib // 2:
            put(before)
            raise Failed("no %d MiB of huge pages on this host" % mib)
    return lambda: put(before)
