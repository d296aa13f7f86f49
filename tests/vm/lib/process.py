# SPDX-License-Identifier: BSD-2-Clause
"""Child processes that never outlive us, and polling with a deadline."""

import ctypes
import os
import signal
import subprocess
import time

# Time limits are given as what a machine needs that has nothing else to do, with room. They are for
# what is to happen and end with it, so a host with much other work may as well have this many times
# as long.
PATIENCE = 3

PR_SET_PDEATHSIG = 1
_libc = ctypes.CDLL(None, use_errno=True)


class Failure(Exception):
    """Something did not do what the test wanted of it. The message says what."""


def _die_with_parent():
    _libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def spawn(argv, log, **kwargs):
    """Start a program with its output appended to the file log; it dies when we do."""
    kwargs.setdefault("stdin", subprocess.DEVNULL)
    with open(log, "ab") as out:
        kwargs.setdefault("stdout", out)
        return subprocess.Popen(argv, stderr=subprocess.STDOUT, preexec_fn=_die_with_parent,
                                **kwargs)


def run(argv, timeout=60, check=True):
    """Run a program on the host and return its standard output."""
    done = subprocess.run(argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE, text=True, timeout=timeout * PATIENCE)
    if check and done.returncode:
        raise Failure("%s: exit status %d\n%s%s" % (" ".join(argv), done.returncode,
                                                    done.stdout, done.stderr))
    return done.stdout


def wait_for(what, condition, timeout, interval=0.1):
    """Poll until condition() is true and return its value; the deadline is a failure."""
    timeout *= PATIENCE
    end = time.monotonic() + timeout
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > end:
            raise Failure("not within %g s: %s" % (timeout, what))
        time.sleep(interval)


def stop(process, timeout=10):
    """Ask a process to end, insist if it does not, and return its exit status."""
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(timeout * PATIENCE)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
    return process.returncode


def cpu_seconds(pid):
    """User and system time of a process so far."""
    with open("/proc/%d/stat" % pid) as f:
        fields = f.read().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
