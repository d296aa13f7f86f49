# SPDX-License-Identifier: BSD-2-Clause
"""The daemon and the command as a user has them, for the tests of both.

A test is called with EXITLESSD EXITLESS [unittest args]. It runs as any user, needs no network, and
leaves nothing behind.
"""

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import unittest

EXITLESSD, EXITLESS = (os.path.abspath(program) for program in sys.argv[1:3])
TOP = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
CONFIG = """
// Two machines on a switch.
{
	"control": { "socket": "%(dir)s/control.sock", "directory": "%(dir)s", "mode": "0600" },
	"sandbox": { "calls": "%(calls)s", "paths": [ "%(dir)s/more" ] },
	"switches": [ { "name": "lan" } ],
	"ports": [ { "name": "out", "kind": "null", "switch": "lan" } ],
	"machines": [
		{ "name": "vm1", "devices": [ { "name": "net0", "model": "82574L", "switch": "lan",
			"mac": "52:54:00:00:00:01", "socket_mode": "0640" } ] },
		{ "name": "vm2", "devices": [ { "name": "net0", "model": "82540EM", "switch": "lan" } ] }
	]
}
"""


def wait_for(condition, what, seconds=120):
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            raise AssertionError("not in time: " + what)
        time.sleep(0.01)


class Daemon(unittest.TestCase):
    config = CONFIG

    calls = "kill"  # what the sandbox forgot would not stay unnoticed

    def setUp(self):
        self.dir = tempfile.mkdtemp(prefix="exitless-test-")
        os.mkdir(os.path.join(self.dir, "more"))
        self.path = os.path.join(self.dir, "config.json")
        self.socket = os.path.join(self.dir, "control.sock")
        self.log = os.path.join(self.dir, "log")
        self.process = None
        self.write(self.config)

    def tearDown(self):
        if self.process and self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        shutil.rmtree(self.dir)

    def write(self, text):
        with open(self.path, "w") as f:
            f.write(text.replace("%(dir)s", self.dir).replace("%(calls)s", self.calls))

    def command(self):
        return [EXITLESSD, "--config", self.path]

    def start(self, *args, env=None, wait=True):
        with open(self.log, "a") as log:
            self.process = subprocess.Popen([*self.command(), *args], stderr=log,
                                            env=dict(os.environ, **(env or {})))
        if wait:
            wait_for(lambda: self.process.poll() is not None or
                     "control socket" in self.read_log(), "start: " + self.read_log())
            self.assertIsNone(self.process.poll(), self.read_log())
        return self.process

    def read_log(self):
        with open(self.log) as f:
            return f.read()

    def stop(self, sig=signal.SIGTERM):
        self.process.send_signal(sig)
        return self.process.wait(timeout=120)

    def run_cli(self, *args, status=0):
        done = subprocess.run([EXITLESS, "--socket", self.socket, *args], text=True,
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=120)
        self.assertEqual(done.returncode, status, (args, done.stdout, done.stderr))
        if status:
            self.assertNotEqual(done.stderr, "")
        return done

    def cli(self, *args, status=0):
        return self.run_cli(*args, status=status).stdout

    def cli_json(self, *args):
        return json.loads(self.cli(*args, "--json"))

    def devices(self):
        return {m["name"] + "/" + d["name"]: d for m in self.cli_json("status")["machines"]
                for d in m["devices"]}


def main():
    unittest.main(argv=sys.argv[:1] + sys.argv[3:], verbosity=2)
