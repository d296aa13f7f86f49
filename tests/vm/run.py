#!/usr/bin/python3
# SPDX-License-Identifier: BSD-2-Clause
"""Runs the VM tests: every function test_* of every test_*.py beside this file.

Each test runs in a process of its own, one after the other (a test has two guests at most), with
a time limit. Whatever it leaves running is killed. One line per test, the logs of those that
failed stay below build/vm-logs, and the last line is "N passed, N failed".

    run.py [--list] [--keep-logs] [PATTERN...]      PATTERN is a part of module.function
"""

import argparse
import importlib
import os
import shutil
import signal
import sys
import time
import traceback

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, HERE)

from lib import netns, vm  # noqa: E402
from lib.context import Context, Skip  # noqa: E402
from lib.process import PATIENCE, Failure  # noqa: E402

LOGS = os.path.join(vm.TOP, "build", "vm-logs")
SKIPPED = 77
DEFAULT_LIMIT = 120


def find_tests(patterns):
    """(name, function) of the tests that match, in the order of the files and in them."""
    found = []
    for entry in sorted(os.listdir(HERE)):
        if not (entry.startswith("test_") and entry.endswith(".py")):
            continue
        module = importlib.import_module(entry[:-3])
        for name, function in vars(module).items():
            full = "%s.%s" % (module.__name__[5:], name[5:])
            if name.startswith("test_") and callable(function) and \
                    (not patterns or any(p in full for p in patterns)):
                found.append((full, function))
    return found


def run_in_child(function, logs):
    """The test's process. Does not return."""
    os.setsid()
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    out = os.open(os.path.join(logs, "test.log"), os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
    os.dup2(out, 1)
    os.dup2(out, 2)
    netns.remove_left_over(os.getpid())  # of a namesake that was killed
    status = 1
    try:
        with Context(logs) as context:
            function(context)
            context.finish()
        status = 0
    except Skip as reason:
        print(reason)
        status = SKIPPED
    except Failure as reason:
        traceback.print_tb(reason.__traceback__)
        print("FAILURE:", reason)
    except BaseException:
        traceback.print_exc()
    sys.stdout.flush()
    os._exit(status)


def run_test(function, logs):
    """Run one test and return "passed", "failed", "hung" or "skipped"."""
    shutil.rmtree(logs, ignore_errors=True)
    os.makedirs(logs)
    sys.stdout.flush()
    pid = os.fork()
    if pid == 0:
        run_in_child(function, logs)
    end = time.monotonic() + getattr(function, "limit", DEFAULT_LIMIT) * PATIENCE
    result = "hung"
    try:
        while time.monotonic() < end:
            done, status = os.waitpid(pid, os.WNOHANG)
            if done:
                code = os.waitstatus_to_exitcode(status)
                result = {0: "passed", SKIPPED: "skipped"}.get(code, "failed")
                break
            time.sleep(0.05)
    finally:
        try:
            os.killpg(pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        if result == "hung":
            os.waitpid(pid, 0)
        netns.remove_left_over(pid)
    return result


def show_logs(logs):
    """Print the end of each log of a failed test, the test's own first."""
    names = sorted(os.listdir(logs), key=lambda n: (n != "test.log", n))
    for name in names:
        lines = vm.tail(os.path.join(logs, name), 4000).strip().splitlines()[-40:]
        # Not the command lines, which are long.
        lines = [line for line in lines if not line.startswith("+ ")]
        if lines:
            print("  --- %s" % os.path.join(logs, name))
            print("\n".join("  | " + line for line in lines))


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--list", action="store_true")
    parser.add_argument("--keep-logs", action="store_true")
    parser.add_argument("patterns", nargs="*")
    options = parser.parse_args()

    # So that a test that runs is ended too.
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(143))
    tests = find_tests(options.patterns)
    if options.list:
        for name, _ in tests:
            print(name)
        return 0
    # Prepared here, so that no test's time limit pays for a download. Images come last, since
    # they are built anew when packages were added to the tree that they are made from.
    scripts = {s for _, function in tests for s in getattr(function, "needs", ())}
    for script in sorted(scripts, key=lambda s: (s.startswith("driver-image"), s)):
        try:
            vm.tool(*script.split())
        except Failure as reason:
            print(reason)  # who needs it will fail
    print("QEMU: %s, guest: %s, accelerator: %s" %
          (vm.qemu_path(), vm.guest_image(), vm.accelerator()))
    counts = {"passed": 0, "failed": 0, "hung": 0, "skipped": 0}
    for name, function in tests:
        logs = os.path.join(LOGS, name)
        start = time.monotonic()
        result = run_test(function, logs)
        counts[result] += 1
        print("%-8s %s (%.1f s)" % (result, name, time.monotonic() - start), flush=True)
        if result in ("failed", "hung"):
            show_logs(logs)
        else:
            if result == "skipped":
                print("  " + vm.tail(os.path.join(logs, "test.log")).strip())
            if not options.keep_logs:
                shutil.rmtree(logs)
    if counts["skipped"]:
        print("%d skipped" % counts["skipped"])
    failed = counts["failed"] + counts["hung"]
    print("%d passed, %d failed" % (counts["passed"], failed))
    return 1 if failed or not tests else 0


if __name__ == "__main__":
    sys.exit(main())
