# SPDX-License-Identifier: BSD-2-Clause
"""What a test gets: a directory of its own, and guests and namespaces that end with it."""

import contextlib
import os
import tempfile

from . import lan, netns
from .daemon import Daemon
from .vm import VM


class Skip(Exception):
    """This machine cannot run the test. The message says why."""


def limit(seconds):
    """Decorator: the time after which a test counts as hung (the default is 120 s)."""
    def mark(function):
        function.limit = seconds
        return function
    return mark


def needs(*scripts):
    """Decorator: scripts of tools/ (and arguments) whose downloads the test's limit shall not pay."""
    def mark(function):
        function.needs = scripts
        return function
    return mark


class Context:
    """Handed to each test; everything made through it is ended in reverse order."""

    def __init__(self, log_directory):
        self.logs = log_directory
        self._daemons = []
        self._stack = contextlib.ExitStack()
        # Short, since the name of a Unix socket must be.
        self.directory = self._stack.enter_context(tempfile.TemporaryDirectory(prefix="exl-"))

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        return self._stack.__exit__(*exception)

    def path(self, name):
        """A file name in the test's own directory."""
        return os.path.join(self.directory, name)

    def later(self, function, *args):
        """Call function when the test ends."""
        self._stack.callback(function, *args)

    def vm(self, name, args=(), **options):
        """Start a guest. It boots meanwhile: call its wait_boot()."""
        vm = VM(name, self.directory, args, log_directory=self.logs, **options)
        self.later(vm.kill)
        return vm.start()

    def daemon(self, config, name="exitlessd"):
        """Start exitlessd; that it lives to the end and ends cleanly is part of the test.

        name: another one for each daemon but the first, which has a directory of its own then.
        """
        directory = self.directory
        if name != "exitlessd":
            directory = self.path(name)
            os.mkdir(directory)
        daemon = Daemon(directory, config, self.logs, name)
        self.later(daemon.kill)
        daemon.start()
        self._daemons.append(daemon)
        return daemon

    def finish(self):
        """What every test asserts in the end."""
        for daemon in self._daemons:
            daemon.stop()

    def guest(self, daemon, number, args=(), memory="256M", **options):
        """Start the machine vmN with what the exitless command prints for it."""
        name = "vm%d" % number
        return self.vm(name, [*daemon.qemu_args(name, memory), *args], **options)

    def lan(self, models=lan.MODELS, ports=(), switch=None, device=None, **options):
        """The daemon and one configured guest per model: (daemon, vm1, vm2...)."""
        daemon = self.daemon(lan.config(models, ports, switch, device))
        guests = [self.guest(daemon, n, **options) for n in range(1, len(models) + 1)]
        for number, guest in enumerate(guests, 1):
            guest.wait_boot()
            lan.configure(guest, number)
        return daemon, *guests

    def netns(self, name):
        """Make a network namespace."""
        if not netns.available():
            raise Skip("network namespaces and tap devices cannot be made here")
        ns = netns.NetNS(name)
        self.later(ns.remove)
        return ns
