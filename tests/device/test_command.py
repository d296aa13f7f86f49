#!/usr/bin/python3
# SPDX-License-Identifier: BSD-2-Clause
"""The command exitless, and with it the control socket."""

import fcntl
import json
import os
import re
import shlex
import signal
import subprocess
import threading
import time
import xml.etree.ElementTree as ElementTree

from daemon_case import EXITLESS, EXITLESSD, TOP, Daemon, main, wait_for
from fake_control import FakeControl


class Command(Daemon):
    def setUp(self):
        super().setUp()
        self.start()

    def test_status(self):
        text = self.cli("status")
        self.assertRegex(text, r"vm1/net0 +82574L +52:54:00:00:00:01 +up +lan +io0 +none")
        self.assertRegex(text, r"out +null +lan")
        status = self.cli_json("status")
        self.assertEqual(status["pid"], self.process.pid)
        self.assertEqual([m["name"] for m in status["machines"]], ["vm1", "vm2"])
        # --json and --socket work on both sides of the command
        self.assertEqual(json.loads(self.cli("--json", "status"))["pid"], self.process.pid)
        subprocess.run([EXITLESS, "status", "--socket=" + self.socket], check=True,
                       stdout=subprocess.DEVNULL)
        subprocess.run([EXITLESS, "status"], env={"EXITLESS_SOCKET": self.socket}, check=True,
                       stdout=subprocess.DEVNULL)

    def test_stats(self):
        self.assertIn("TRAPS/PACKET", self.cli("stats"))
        self.assertIn("vm1/net0", self.cli("stats", "vm1/net0"))
        stats = self.cli_json("stats")
        self.assertEqual(len(stats["devices"]), 2)
        self.assertEqual(stats["devices"][0]["packets"], 0)
        self.assertIsNone(stats["devices"][0]["traps_per_packet"])
        for group in ("device", "pci", "transport", "memory", "switch"):
            self.assertIn(group, stats["devices"][0]["counters"])
        self.assertTrue(stats["devices"][0]["queues"])
        self.assertEqual(len(self.cli_json("stats", "vm1")["devices"]), 1)
        said = self.run_cli("stats", "vm9", status=1).stderr
        self.assertEqual(said, "exitless: there is no machine vm9\n")
        said = self.run_cli("stats", "vm1/net9", status=1).stderr
        self.assertEqual(said, "exitless: there is no device vm1/net9\n")

    def test_show(self):
        for what in (["core", "io0"], ["switch", "lan"], ["port", "out"], ["machine", "vm1"],
                     ["device", "vm1/net0"], ["config"]):
            self.assertNotEqual(self.cli("show", *what), "")
            self.assertTrue(self.cli_json("show", *what))
        registers = {r["name"] for r in self.cli_json("show", "device", "vm1/net0")["registers"]}
        for name in ("CTRL", "STATUS", "ICR"):
            self.assertIn(name, registers)
        self.assertRegex(self.cli("show", "device", "vm1/net0"), r"\bCTRL +0x00000 +0x")
        self.assertIn("vm1/net0", self.cli_json("show", "switch", "lan")["ports"])
        text = self.cli("show", "machine", "vm1")
        self.assertRegex(text, r"\bweight +1\n")
        self.assertRegex(text, r"\bvm1/net0 +82574L")
        for what in (["core", "io9"], ["device", "vm1/net9"], ["thing", "x"]):
            self.run_cli("show", *what, status=1)
        for what in ([], ["device", "vm1"], ["core"], ["config", "io0"]):
            self.run_cli("show", *what, status=2)

    def test_what_runs_is_a_configuration(self):
        self.write(self.cli("show", "config"))
        subprocess.run([EXITLESSD, "--check", "--config", self.path], check=True,
                       stdout=subprocess.DEVNULL)

    def test_add_and_remove(self):
        before = self.cli_json("show", "config")
        for _ in range(3):
            self.cli("add", "core", "io1")
            self.cli("add", "switch", "wan", "vlan_aware=true")
            self.cli("add", "port", "p", "kind=null", "switch=wan", "trunk=true", "vids=[5,6]")
            self.cli("add", "machine", "vm3", "weight=3")
            self.cli("add", "device", "vm3/net0", "model=82574L", "switch=wan", "core=io1",
                     "pvid=5")
            self.cli("add", "machine", "vm4", "--spec", '{"weight": 2}',
                     '--spec={"devices": [{"name": "a", "switch": "wan"}, {"name": "b"}]}')
            self.assertIn("vm4/b", self.devices())
            self.assertEqual(self.devices()["vm3/net0"]["core"], "io1")
            self.assertTrue(os.path.exists(self.dir + "/vm3-net0.sock"))
            self.assertEqual(self.cli_json("add", "device", "vm3/net1"), {})
            self.assertIn("still", self.run_cli("remove", "core", "io1", status=1).stderr)
            self.run_cli("remove", "switch", "wan", status=1)
            self.cli("remove", "device", "vm3/net1")
            self.cli("remove", "machine", "vm3")
            self.assertFalse(os.path.exists(self.dir + "/vm3-net0.sock"))
            self.cli("remove", "machine", "vm4")
            self.cli("remove", "port", "p")
            self.cli("remove", "switch", "wan")
            self.cli("remove", "core", "io1")
        self.assertEqual(self.cli_json("show", "config"), before)

    def test_kinds(self):
        image = self.dir + "/more/image"
        with open(image, "wb") as f:
            f.truncate(1 << 20)
        self.cli("add", "machine", "vm3")
        self.cli("add", "device", "vm3/net0", "kind=virtio-net", "switch=lan", "queues=2")
        self.cli("add", "device", "vm3/disk0", "kind=virtio-blk", "model=file", "file=" + image)
        self.cli("add", "device", "vm3/disk1", "kind=virtio-blk", "model=null",
                 "size_bytes=1048576", "read_only=true")
        self.cli("show", "device", "vm3/disk0")
        self.assertIsNone(self.devices()["vm3/disk0"]["mac"])
        words = self.cli_json("vmm", "vm3", "--qemu")
        for name in ("net0", "disk0", "disk1"):
            self.assertTrue(any(w.endswith("path=%s/vm3-%s.sock,reconnect-ms=1000" %
                                           (self.dir, name)) for w in words), words)
        self.assertEqual(len(self.cli_json("stats", "vm3")["devices"]), 3)
        for spec in (["kind=virtio-blk", "switch=lan"], ["kind=virtio-blk"], ["file=" + image],
                     ["kind=virtio-net", "trap_doorbells=true"]):
            self.run_cli("add", "device", "vm3/other", *spec, status=1)
        for state in ("down", "up"):
            self.assertIn("no link", self.run_cli("link", "vm3/disk0", state, status=1).stderr)
        self.cli("link", "vm3/net0", "down")
        self.test_what_runs_is_a_configuration()
        self.cli("remove", "machine", "vm3")

    def test_add_refused(self):
        said = self.run_cli("add", "device", "vm1/net1", "modle=82574L", "pvid=9999",
                            status=1).stderr
        self.assertIn('did you mean "model"?', said)
        self.assertIn("from 0 to 4094", said)
        self.assertIn("already", self.run_cli("add", "device", "vm1/net0", status=1).stderr)
        self.assertIn("no machine", self.run_cli("add", "device", "vm9/net0", status=1).stderr)
        error = json.loads(self.cli("add", "core", "io0", "--json", status=1))["error"]
        self.assertEqual(error["code"], -32002)
        self.run_cli("add", "device", "vm1", status=2)
        self.run_cli("add", "core", "io1", "cpu", status=2)
        self.run_cli("add", "core", status=2)
        # --spec is an object
        for spec in (["--spec"], ["--spec", "[]"], ["--spec", "3"], ["--spec", "{"]):
            said = self.run_cli("add", "device", "vm1/net2", *spec, status=2).stderr
            self.assertIn("--spec", said)
        self.assertEqual(len(self.devices()), 2)

    def test_set(self):
        self.cli("set", "device", "vm1/net0", "link=down", "isolated=true")
        self.assertEqual(self.devices()["vm1/net0"]["link"], "down")
        self.cli("set", "core", "io0", "turn_packets=32", "park_after_us=100")
        spec = self.cli_json("show", "core", "io0")["spec"]
        self.assertEqual((spec["turn_packets"], spec["park_after_us"]), (32, 100))
        self.cli("set", "machine", "vm1", "weight=9", "latency=low")
        self.cli("add", "core", "io1")
        self.cli("set", "device", "vm1/net0", "core=io1")
        self.assertEqual(self.devices()["vm1/net0"]["core"], "io1")
        self.cli("set", "port", "out", "core=io1")
        self.assertIn("cannot change",
                      self.run_cli("set", "device", "vm1/net0", "model=82540EM", status=1).stderr)
        self.run_cli("set", "device", "vm1/net0", "switch=none", status=1)
        # VLANs: on at any time, off without trunks
        self.cli("set", "switch", "lan", "vlan_aware=true", "addresses_max=100")
        self.cli("set", "device", "vm1/net0", "trunk=true")
        self.assertIn("device vm1/net0 is a trunk",
                      self.run_cli("set", "switch", "lan", "vlan_aware=false", status=1).stderr)
        self.cli("set", "device", "vm1/net0", "trunk=false")
        self.cli("set", "switch", "lan", "vlan_aware=false")
        self.run_cli("set", "device", "vm1/net0", status=2)

    # what to set each live key to; and "core" last, which others move
    LIVE = {
        "core": {"turn_packets": 32, "turn_bytes": 65536, "park_after_us": 100, "park_look_us": 7,
                 "wake_bound_us": 2000, "quantum_us": 40, "slice_us": 3,
                 "round_robin": True},
        "switch": {"vlan_aware": True, "addresses_max": 1000, "port_addresses_max": 17,
                   "age_s": 5},
        "port": {"switch": "lan2", "trunk": True, "pvid": 7, "vids": [7, 8], "isolated": True,
                 "core": "io1"},
        "machine": {"weight": 9, "latency": "low", "max_packets_per_s": 1000000,
                    "max_bytes_per_s": 2000000000, "min_packets_per_s": 10,
                    "min_bytes_per_s": 20},
        "device": {"link": "down", "switch": "lan2", "trunk": True, "pvid": 7, "vids": [7, 8],
                   "isolated": True, "check_source": True, "max_rate_bps": 5000000,
                   "max_packets_per_s": 3000, "max_bytes_per_s": 4000000,
                   "size_bytes": 2 << 20, "core": "io1"},
        "balance": {"mode": "dry_run", "interval_us": 2000000, "high_percent": 70,
                    "gain_percent": 20, "hold_us": 5000000},
    }

    def test_disk_sizes(self):
        """Of each model, up and down; what cannot be is refused, and changes nothing."""
        image = self.dir + "/more/image"
        with open(image, "wb") as f:
            f.truncate(1 << 20)
        for model, spec in (("malloc", "size_bytes=1048576"), ("null", "size_bytes=1048576"),
                            ("file", "file=" + image)):
            self.cli("add", "device", "vm1/d", "kind=virtio-blk", "model=" + model, spec)

            def size():
                stats = self.cli_json("stats", "vm1/d")["devices"][0]
                return stats["counters"]["device"]["size_bytes"]

            for bytes in (512, 1 << 20, 4096, 1 << 19):
                self.cli("set", "device", "vm1/d", "size_bytes=%d" % bytes)
                self.assertEqual(size(), bytes)
            said = self.run_cli("set", "device", "vm1/d", "size_bytes=1000", status=1).stderr
            self.assertIn("multiple of 512", said)
            if model == "file":
                said = self.run_cli("set", "device", "vm1/d", "size_bytes=2097152",
                                    status=1).stderr
                self.assertIn("its file is smaller", said)
                self.cli("set", "device", "vm1/d", "size_bytes=0")
                self.assertEqual(size(), 1 << 20)
            else:
                self.run_cli("set", "device", "vm1/d", "size_bytes=0", status=1)
                self.cli("set", "device", "vm1/d", "size_bytes=8388608")
                self.assertEqual(size(), 8 << 20)
            if model == "malloc":
                said = self.run_cli("set", "device", "vm1/d", "size_bytes=%d" % (1 << 60),
                                    status=1).stderr
                self.assertIn("cannot have that size: Cannot allocate memory", said)
                self.assertEqual(size(), 8 << 20)
            self.cli("remove", "device", "vm1/d")

    def configured(self, kind, name):
        config = json.loads(self.cli("show", "config"))
        machine, slash, name = name.rpartition("/")
        if slash:
            config = {m["name"]: m for m in config["machines"]}[machine]
        objects = config["switches" if kind == "switch" else kind + "s"]
        return {o["name"]: o for o in objects}[name]

    def test_every_live_key(self):
        """Those that the reference calls live, no more and no fewer; one by one."""
        reference = subprocess.run([EXITLESSD, "--reference"], stdout=subprocess.PIPE,
                                   text=True).stdout
        live, section = {}, None
        for line in reference.splitlines():
            cells = [c.strip() for c in line.split("|")]
            if line.startswith("## "):
                section = line[3:]
            elif line.startswith("| `") and cells[4] == "yes":
                live.setdefault(section, set()).add(cells[1].strip("`"))
        self.assertEqual(live, {name: set(keys) for name, keys in self.LIVE.items()})

        self.cli("add", "core", "io1")
        self.cli("add", "switch", "lan2", "vlan_aware=true")
        self.cli("add", "device", "vm1/disk", "kind=virtio-blk", "model=null",
                 "size_bytes=1048576")
        for kind, name in (("core", "io0"), ("switch", "lan"), ("port", "out"),
                           ("machine", "vm1"), ("device", "vm1/net0")):
            values = dict(self.LIVE[kind])
            size = values.pop("size_bytes", None)
            if "vids" in values:  # which make no sense without a trunk
                self.cli("set", kind, name, "switch=lan2")
            for key, value in values.items():
                said = json.dumps(value) if not isinstance(value, str) else value
                self.cli("set", kind, name, "%s=%s" % (key, said))
                self.assertEqual(self.configured(kind, name)[key], value)
            if size:
                self.cli("set", kind, "vm1/disk", "size_bytes=%d" % size)
                self.assertEqual(self.configured(kind, "vm1/disk")["size_bytes"], size)
        for key, value in self.LIVE["balance"].items():
            self.assertEqual(self.cli_json("balance", "%s=%s" % (key, value))[key], value)
        # and what runs now is a configuration that can be started
        config = json.loads(self.cli("show", "config"))
        with open(self.dir + "/again.json", "w") as f:
            json.dump(config, f)
        subprocess.run([EXITLESSD, "--check", "--config", self.dir + "/again.json"], check=True)

    def test_link_and_the_rest(self):
        self.cli("link", "vm1/net0", "down")
        self.assertEqual(self.devices()["vm1/net0"]["link"], "down")
        self.assertEqual(self.cli_json("link", "vm1/net0", "up"), {})
        self.assertEqual(self.devices()["vm1/net0"]["link"], "up")
        self.run_cli("link", "vm1/net0", "sideways", status=1)
        self.run_cli("link", "vm1/net0", status=2)
        self.cli("disconnect", "vm1/net0")
        self.assertIn("control: changed device vm1/net0\n", self.read_log())
        self.cli("flush", "lan")
        self.run_cli("flush", "wan", status=1)
        self.assertEqual(self.cli("log"), "info\n")
        self.assertEqual(self.cli("log", "debug"), "debug\n")
        self.assertEqual(self.cli_json("log"), {"level": "debug"})
        self.assertEqual(self.cli_json("rpc", "log", '{"level": "info"}'), {"level": "info"})
        self.run_cli("rpc", "none", status=1)

    def test_balance(self):
        self.assertEqual(self.cli_json("balance")["mode"], "off")
        self.assertRegex(self.cli("balance", "mode=dry_run", "interval_us=10000"),
                         r"mode +dry_run")
        wait_for(lambda: self.cli_json("balance")["rounds"] > 2, "rounds")
        self.assertEqual(self.cli_json("show", "config")["balance"]["interval_us"], 10000)
        self.run_cli("balance", "mode=sometimes", status=1)
        self.run_cli("balance", "mode", status=2)
        self.cli("set", "device", "vm1/net0", "core=auto")

    def test_metrics(self):
        text = self.cli("metrics")
        self.assertIn('\nexitless_device_traps{machine="vm1",device="net0"} ', text)
        seen = None
        finished = set()
        for line in text.splitlines():
            if line.startswith("# TYPE "):
                self.assertNotIn(line, finished)
                finished.add(line)
                seen = line.split()[2]
            else:
                self.assertRegex(line, r"^%s\{[a-z]+=\"[^\"]*\"(,[a-z]+=\"[^\"]*\")*\} -?\d+$" % seen)

    def test_top(self):
        self.assertIn("TRAPS/PACKET", self.cli("top", "--interval", "0.1", "--count", "2"))
        lines = self.cli("top", "--interval=0.1", "--count=2", "--json").splitlines()
        self.assertEqual(len(lines), 2)
        self.assertEqual(len(json.loads(lines[0])["devices"]), 2)
        self.assertEqual([m["name"] for m in json.loads(lines[1])["machines"]], ["vm1", "vm2"])
        # nothing is to be done: that is seen while it lasts
        self.assertGreater(json.loads(lines[1])["cores"][0]["sleep_share"], 0)
        for args, words in ((["--interval", "x"], '"x" is no number'), (["--interval"], "needs a"),
                            (["--interval", "0"], "0.05 to 3600"), (["--interval", "nan"], "nan"),
                            (["--interval=0"], "0.05 to 3600"), (["--count="], "no number"),
                            (["--countless=1"], "no option"), (["--count", "-1"], "no number"), (["vm1"], 'what is "vm1"?')):
            self.assertIn(words, self.run_cli("top", *args, status=2).stderr)
        process = subprocess.Popen([EXITLESS, "--socket", self.socket, "top", "--json",
                                    "--interval", "0.05"], stdout=subprocess.PIPE)
        self.assertTrue(json.loads(process.stdout.readline()))
        process.send_signal(signal.SIGINT)
        self.assertEqual(process.wait(timeout=120), 0)
        process.stdout.close()

    def test_top_when_its_output_waits(self):
        """Each counter's growth is divided by the time between the answers that have it."""
        held = 1.5
        second = threading.Event()

        def answer(n, request):
            if n == 1:
                second.set()
            counters = {"switch": {"sent_packets": 1000 * n}}
            return {"devices": [{"machine": "vm", "name": "net%03d" % i, "counters": counters}
                                for i in range(100)]}

        with FakeControl(self.dir + "/fake.sock", answer) as fake:
            end, pipe = os.pipe()
            # less than one line has room there
            fcntl.fcntl(pipe, fcntl.F_SETPIPE_SZ, 4096)
            process = subprocess.Popen([EXITLESS, "--socket", fake.path, "top", "--json",
                                        "--interval", "0.05", "--count", "3"], stdout=pipe)
            os.close(pipe)
            self.assertTrue(second.wait(120))
            time.sleep(held)
            with open(end) as lines:
                samples = [json.loads(line) for line in lines]
            self.assertEqual(process.wait(timeout=120), 0)
        self.assertEqual(len(samples), 3)
        # the first answer came before that pause, the last one after it
        self.assertGreaterEqual(sum(sample["seconds"] for sample in samples), held)
        for sample in samples:
            self.assertAlmostEqual(sample["devices"][0]["sent_pps"] * sample["seconds"], 1000, 3)

    def test_vmm_qemu(self):
        line = self.cli("vmm", "vm1", "--qemu", "--memory", "1G", "--cpus", "2")
        self.assertEqual(line.count("\n"), 1)
        words = shlex.split(line)
        self.assertEqual(words, json.loads(self.cli("vmm", "vm1", "--qemu", "--memory", "1024M",
                                                    "--cpus", "2", "--json")))
        self.assertEqual(words, self.cli_json("vmm", "vm1", "--qemu", "--memory=1G", "--cpus=2"))
        # by this the vCPUs' threads are found
        self.assertEqual(words[1:3], ["-name", "vm1,debug-threads=on"])
        self.assertEqual(words[words.index("-smp") + 1], "2")
        self.assertIn("memory-backend-memfd,id=mem,size=1024M,share=on", words)
        port, device = (json.loads(w) for w in words if w.startswith("{"))
        self.assertEqual(device["driver"], "vfio-user-pci")
        self.assertEqual(device["socket"]["path"], self.dir + "/vm1-net0.sock")
        self.assertEqual((port["driver"], port["id"]), ("pcie-root-port", device["bus"]))
        # the conventional one sits on the root bus
        words = json.loads(self.cli("vmm", "vm2", "--qemu", "--json"))
        self.assertEqual(json.loads(words[-1])["bus"], "pcie.0")
        self.run_cli("vmm", "vm9", "--qemu", status=1)
        self.run_cli("vmm", "vm1", status=2)
        for wrong in (["--memory", "lots"], ["--memory="], ["--cpus", "2x"], ["--cpus=0"],
                      ["--cpus", "4097"], ["--cpus"], ["--libvirt"], ["vm2"], ["-x"]):
            self.run_cli("vmm", "vm1", "--qemu", *wrong, status=2)

    def test_vmm_libvirt(self):
        text = self.cli("vmm", "vm1", "--libvirt", "--memory", "2G")
        domain = ElementTree.fromstring(text)
        self.assertEqual(domain.find("memory").text, "2048")
        self.assertEqual(domain.find("memoryBacking/access").get("mode"), "shared")
        ns = "{http://libvirt.org/schemas/domain/qemu/1.0}"
        args = [a.get("value") for a in domain.findall(ns + "commandline/" + ns + "arg")]
        qemu = json.loads(self.cli("vmm", "vm1", "--qemu", "--json"))
        # but for the id, which must not be one of libvirt's
        self.assertEqual([a.replace('"exitless-net0"', '"net0"') for a in args],
                         qemu[-len(args):])
        self.assertIn('"id":"exitless-net0"', args[-1])
        self.assertEqual(self.cli_json("vmm", "vm1", "--libvirt", "--memory", "2G")["xml"], text)

    def test_vmm_cloud_hypervisor(self):
        words = shlex.split(self.cli("vmm", "vm1", "--cloud-hypervisor"))
        self.assertIn("size=512M,shared=on", words)
        self.assertEqual(words[words.index("--user-device") + 1],
                         "socket=%s/vm1-net0.sock,id=net0" % self.dir)

    def test_vmm_qemu_commas(self):
        """QEMU wants commas in values twice, but not in JSON."""
        path = self.dir + "/a,b,,c.sock"
        self.cli("add", "machine", "vm3")
        self.cli("add", "device", "vm3/net0", "kind=virtio-net", "switch=lan", "socket=" + path)
        words = self.cli_json("vmm", "vm3", "--qemu")
        chardev = words[words.index("-chardev") + 1]
        self.assertIn(",path=%s/a,,b,,,,c.sock,reconnect-ms=" % self.dir, chardev)
        self.cli("remove", "device", "vm3/net0")
        self.cli("add", "device", "vm3/net1", "kind=nic", "switch=lan", "socket=" + path)
        words = self.cli_json("vmm", "vm3", "--qemu")
        self.assertEqual(json.loads(words[-1])["socket"]["path"], path)

    def test_vmm_virtio(self):
        self.cli("add", "machine", "vm3")
        self.cli("add", "device", "vm3/net0", "kind=virtio-net", "switch=lan", "queues=4",
                 "mac=52:54:00:00:00:33")
        self.cli("add", "device", "vm3/net1", "kind=virtio-net", "switch=lan", "vmm_listens=true")
        self.cli("add", "device", "vm3/disk0", "kind=virtio-blk", "model=null",
                 "size_bytes=1048576", "queues=2")
        self.cli("add", "device", "vm3/disk1", "kind=virtio-blk", "model=null",
                 "size_bytes=1048576", "vmm_listens=true")
        text = self.cli("vmm", "vm3", "--libvirt")
        domain = ElementTree.fromstring(text)
        nets, disks = domain.findall("devices/interface"), domain.findall("devices/disk")
        self.assertEqual([n.get("type") for n in nets + disks], ["vhostuser"] * 3)
        self.assertEqual([n.find("source").get("mode") for n in nets], ["client", "server"])
        self.assertEqual([n.find("source/reconnect") is not None for n in nets], [True, False])
        self.assertEqual(nets[0].find("mac").get("address"), "52:54:00:00:00:33")
        self.assertEqual(nets[0].find("driver").get("queues"), "4")
        self.assertEqual(disks[0].find("source").get("path"), self.dir + "/vm3-disk0.sock")
        self.assertEqual(disks[0].find("target").get("dev"), "vda")
        # libvirt's disks cannot listen: QEMU's arguments then
        ns = "{http://libvirt.org/schemas/domain/qemu/1.0}"
        args = [a.get("value") for a in domain.findall(ns + "commandline/" + ns + "arg")]
        self.assertEqual(len([a for a in args if a.startswith("vhost-user-blk-pci,id=exitless-disk1,")]), 1)
        self.assertEqual(len(args), 4)
        words = shlex.split(self.cli("vmm", "vm3", "--cloud-hypervisor"))
        self.assertEqual(words[words.index("--net") + 1],
                         "vhost_user=true,socket=%s/vm3-net0.sock,id=net0,mac=52:54:00:00:00:33,"
                         "num_queues=8" % self.dir)
        self.assertTrue(words[words.index("--net") + 2].endswith(",vhost_mode=server"))
        self.assertIn("num_queues=2", words[words.index("--disk") + 1])

    def test_no_daemon(self):
        done = subprocess.run([EXITLESS, "--socket", self.dir + "/none", "status"],
                              stderr=subprocess.PIPE, text=True, timeout=120)
        self.assertEqual(done.returncode, 3)
        self.assertIn("no daemon answers", done.stderr)

    def test_usage(self):
        for args in ([], ["nonsense"], ["--socket"], ["status", "more"], ["help", "nonsense"]):
            done = subprocess.run([EXITLESS, *args], stderr=subprocess.PIPE, timeout=120)
            self.assertEqual(done.returncode, 2, args)
        for args in (["help"], ["--help"], ["--version"], ["help", "add"], ["add", "--help"],
                     ["bench", "net", "--help"], ["bench", "blk", "--help"]):
            done = subprocess.run([EXITLESS, *args], stdout=subprocess.PIPE, timeout=120)
            self.assertEqual(done.returncode, 0, args)
            self.assertNotEqual(done.stdout, b"")

    def test_output_that_cannot_be_written(self):
        commands = [["help"], ["--version"], ["stats"], ["status"], ["metrics"], ["show", "config"],
                    ["help", "add"], ["--json", "stats"], ["--json", "doctor"], ["doctor"],
                    ["rpc", "stats"], ["bench", "net", "--help"], ["vmm", "vm1", "--qemu"],
                    # for ever, but for that
                    ["top", "--interval", "0.05"], ["--json", "top", "--interval", "0.05"]]
        for args in commands:
            with self.subTest(args=args), open("/dev/full", "w") as full:
                done = subprocess.run([EXITLESS, "--socket", self.socket, *args], stdout=full,
                                      stderr=subprocess.PIPE, text=True, timeout=120)
                self.assertEqual(done.returncode, 1)
                self.assertIn("standard output cannot be written", done.stderr)
        # what went wrong besides stays what it was
        with open("/dev/full", "w") as full:
            done = subprocess.run([EXITLESS, "--json", "--socket", self.dir + "/none", "status"],
                                  stdout=full, stderr=subprocess.DEVNULL, timeout=120)
        self.assertEqual(done.returncode, 3)
        # nothing to say
        done = subprocess.run(["sh", "-c", '"$0" --socket "$1" link vm1/net0 up >&-', EXITLESS,
                               self.socket], stderr=subprocess.PIPE, timeout=120)
        self.assertEqual((done.returncode, done.stderr), (0, b""))

    def test_everything_is_documented(self):
        usage = subprocess.run([EXITLESS, "help"], stdout=subprocess.PIPE, text=True).stdout
        with open(os.path.join(TOP, "docs", "man", "exitless.1")) as f:
            manual = f.read()
        for command in re.findall(r"^  ([a-z]+)", usage, re.M):
            self.assertRegex(manual, r"\.It Cm %s\b" % command)
        with open(os.path.join(TOP, "src", "control", "methods.c")) as f:
            methods = re.findall(r'^\t\{ "([a-z]+)", [a-z_]+ \},', f.read(), re.M)
        self.assertGreater(len(methods), 5)
        with open(os.path.join(TOP, "docs", "rpc.md")) as f:
            manual = f.read()
        for method in methods:
            self.assertIn("\n| `%s` | " % method, manual)


if __name__ == "__main__":
    main()
