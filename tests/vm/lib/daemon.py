# SPDX-License-Identifier: BSD-2-Clause
"""exitlessd with a configuration of the test's own, and its control socket."""

import json
import os
import shlex
import socket

from .process import PATIENCE, Failure, run, spawn, stop, wait_for
from .vm import TOP, tail


def program(name):
    """Path of a built program; EXITLESS_BUILD names another build directory."""
    build = os.path.join(TOP, os.environ.get("EXITLESS_BUILD", "build"))
    for folder in ("src", "cli", "."):
        path = os.path.join(build, folder, name)
        if os.access(path, os.X_OK) and not os.path.isdir(path):
            return path
    raise Failure("%s has not been built in %s" % (name, build))


class Daemon:
    """A running exitlessd. Use from one thread."""

    def __init__(self, directory, config, log_directory=None, name="exitlessd"):
        """config: as in docs/config.md; where the sockets are is filled in."""
        self.directory = directory
        self.log = os.path.join(log_directory or directory, name + ".log")
        self.socket = os.path.join(directory, name + ".sock")
        self.config_file = os.path.join(directory, name + ".json")
        config = dict(config)
        config.setdefault("control", {"socket": self.socket, "directory": directory})
        # what its sandbox forgot would not stay unnoticed
        config.setdefault("sandbox", {"calls": "kill"})
        with open(self.config_file, "w") as f:
            json.dump(config, f, indent=1)
        self.process = None

    def start(self):
        self.process = spawn([program("exitlessd"), "--config", self.config_file], self.log)
        wait_for("exitlessd takes requests", self._answers, 20)
        return self

    def _answers(self):
        self.check_alive()
        try:
            return self.call("status")
        except (FileNotFoundError, ConnectionRefusedError):
            return None

    def check_alive(self):
        if self.process.poll() is not None:
            raise Failure("exitlessd ended with status %d\n%s" %
                          (self.process.returncode, tail(self.log)))

    def call(self, method, **params):
        """One JSON-RPC request; its error is a failure."""
        request = {"jsonrpc": "2.0", "id": 1, "method": method, "params": params}
        with socket.socket(socket.AF_UNIX) as s:
            s.settimeout(30 * PATIENCE)
            s.connect(self.socket)
            s.sendall(json.dumps(request).encode() + b"\n")
            answer = b""
            while not answer.endswith(b"\n"):
                data = s.recv(65536)
                if not data:
                    raise Failure("exitlessd closed the control socket")
                answer += data
        answer = json.loads(answer)
        if "error" in answer:
            raise Failure("%s: %s" % (method, answer["error"]["message"]))
        return answer["result"]

    def cli(self, *args):
        """Run the exitless command and return what it prints."""
        return run([program("exitless"), "--socket", self.socket, *args])

    def device(self, machine, name="net0"):
        """The counters of one device."""
        return self.call("stats", machine=machine, name=name)["devices"][0]

    def link(self, machine, up, name="net0"):
        self.call("link", machine=machine, name=name, link="up" if up else "down")

    def qemu_args(self, machine, memory="256M"):
        """The arguments of `exitless vmm MACHINE --qemu`, without the program's name."""
        printed = self.cli("vmm", machine, "--qemu", "--memory", memory)
        words = shlex.split(printed.replace("\\\n", " "))
        if words and not words[0].startswith("-"):
            del words[0]
        return words

    def stop(self):
        """End it as a service manager would; anything but a clean end is a failure."""
        if self.process is None:
            return
        self.check_alive()
        status = stop(self.process, timeout=20)
        self.process = None
        if status:
            raise Failure("exitlessd ended with status %d\n%s" % (status, tail(self.log)))

    def kill(self):
        if self.process and self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        self.process = None
