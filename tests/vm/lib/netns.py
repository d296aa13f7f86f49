# SPDX-License-Identifier: BSD-2-Clause
"""Network namespaces of the host, so that tests never touch its own network."""

import os
import subprocess

from .process import Failure, run, spawn

PREFIX = "exitless"


def owner_prefix(pid):
    """How the names of the namespaces that process pid made begin."""
    return "%s-%d-" % (PREFIX, pid)


class NetNS:
    """A named namespace with its loopback up. Needs root."""

    def __init__(self, name):
        self.name = owner_prefix(os.getpid()) + name
        run(["ip", "netns", "add", self.name])
        self.run("ip", "link", "set", "lo", "up")

    def argv(self, *argv):
        """The command line that runs argv inside."""
        return ["ip", "netns", "exec", self.name, *argv]

    def run(self, *argv, timeout=60, check=True):
        """Run a program inside and return its standard output."""
        return run(self.argv(*argv), timeout, check)

    def spawn(self, *argv, log=os.devnull):
        """Start a program inside."""
        return spawn(self.argv(*argv), log)

    def spawn_input(self, *argv, log=os.devnull):
        """Start a program inside, with a pipe to write to as its input."""
        return spawn(self.argv(*argv), log, stdin=subprocess.PIPE)

    def remove(self):
        run(["ip", "netns", "delete", self.name], check=False)


def remove_left_over(pid):
    """Remove what process pid made and did not remove."""
    listed = subprocess.run(["ip", "netns", "list"], stdout=subprocess.PIPE, text=True,
                            stderr=subprocess.DEVNULL).stdout
    for line in listed.splitlines():
        name = line.split()[0]
        if name.startswith(owner_prefix(pid)):
            run(["ip", "netns", "delete", name], check=False)


def available():
    """Whether namespaces and tap devices can be made here."""
    if os.geteuid() != 0 or not os.path.exists("/dev/net/tun"):
        return False
    try:
        NetNS("probe").remove()
    except Failure:
        return False
    return True
