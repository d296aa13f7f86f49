#!/usr/bin/python3
# SPDX-License-Identifier: BSD-2-Clause
"""Builds and tests everything; the last line is "N passed, N failed" over all suites, and
before it stands once more what was skipped, and what failed with some of what it said.

    check.py [--limit SECONDS] [SUITE...]

Suites, these by default and in this order: release (the normal build: unit, protocol, fuzz corpora,
style), asan (the same with AddressSanitizer and UBSan), tsan (ThreadSanitizer: the unit tests of
folders that threads share, and the protocol tests), vm (stock guests), nested (the core set of the
nested machine). Only when named: nested-all (every scenario of the nested machine). A build that
fails counts as one failed test, and so does a suite that ends without a result.
"""

import argparse
import ctypes
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time

TOP = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
MESON = "/usr/bin/meson" if os.path.exists("/usr/bin/meson") else "meson"
TSAN_FOLDERS = ("base", "memory", "core", "net", "port", "manager", "nic")
GOOD = ("OK", "EXPECTEDFAIL")
SUITES = ("release", "asan", "tsan", "vm", "nested")
MORE = ("nested-all",)
PR_SET_PDEATHSIG = 1
# Of what failed, at most this many lines are said again.
TAIL = 16
_libc = ctypes.CDLL(None)


def end_with_parent():
    """In a child: a check that is killed leaves nothing behind that the next one would meet."""
    _libc.prctl(PR_SET_PDEATHSIG, signal.SIGTERM)


class Check:
    def __init__(self, seconds):
        self.end = time.monotonic() + seconds
        self.passed = 0
        self.failed = 0
        self.failures = []
        self.skipped = []

    def left(self):
        return max(1.0, self.end - time.monotonic())

    def say(self, text):
        print("check: " + text, flush=True)

    def failure(self, suite, name, lines):
        self.failures.append(("%s: %s" % (suite, name), lines))

    def summary(self):
        if self.skipped:
            self.say("skipped: " + " ".join(self.skipped))
        for what, lines in self.failures:
            self.say("failed: " + what)
            for line in lines:
                print("    " + line)
        print("%d passed, %d failed" % (self.passed, self.failed))

    def add(self, suite, passed, failed):
        self.say("%s: %d passed, %d failed" % (suite, passed, failed))
        self.passed += passed
        self.failed += failed

    def run(self, argv, env=None, keep=False):
        """Run a program in a session of its own; (status, its output if that is kept)."""
        output = []
        p = subprocess.Popen(argv, cwd=TOP, env=dict(os.environ, **(env or {})), text=True,
                             stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                             stderr=subprocess.STDOUT, errors="replace", start_new_session=True,
                             preexec_fn=end_with_parent)

        def too_late(number, frame):
            self.say("out of time")
            # First let it clean up after itself.
            os.killpg(p.pid, signal.SIGTERM)
            signal.signal(signal.SIGALRM, lambda n, f: os.killpg(p.pid, signal.SIGKILL))
            signal.setitimer(signal.ITIMER_REAL, 10)

        signal.signal(signal.SIGALRM, too_late)
        signal.setitimer(signal.ITIMER_REAL, self.left())
        try:
            for line in p.stdout:
                output.append(line)
                if not keep:
                    print(line, end="", flush=True)
            return p.wait(), "".join(output)
        except BaseException:
            os.killpg(p.pid, signal.SIGTERM)
            p.wait()
            raise
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)

    def build(self, suite, directory, options, env=None):
        """Configure if need be, and build; a failure is counted."""
        steps = [["ninja", "-C", directory]]
        if not os.path.exists(os.path.join(TOP, directory, "build.ninja")):
            # Killed in the middle, meson takes the directory for configured.
            shutil.rmtree(os.path.join(TOP, directory, "meson-private"), ignore_errors=True)
            steps.insert(0, [MESON, "setup", directory, *options])
        for argv in steps:
            self.say("%s: %s" % (suite, " ".join(argv)))
            status, output = self.run(argv, env, keep=True)
            if status:
                print("".join(output.splitlines(keepends=True)[-60:]), end="")
                self.failure(suite, "build", output.splitlines()[-TAIL:])
                self.add(suite + " (build)", 0, 1)
                return False
        return True

    def meson_tests(self, suite, directory, names=()):
        """Run the tests that meson knows and count them."""
        log = os.path.join(TOP, directory, "meson-logs", "testlog.json")
        if os.path.exists(log):
            os.unlink(log)
        argv = [MESON, "test", "-C", directory, "--no-rebuild", "--print-errorlogs"]
        env = {"ASAN_OPTIONS": "detect_stack_use_after_return=1",
               "UBSAN_OPTIONS": "halt_on_error=1:print_stacktrace=1",
               "TSAN_OPTIONS": "halt_on_error=1:second_deadlock_stack=1"}
        if suite == "asan":
            argv += ["--timeout-multiplier", "2"]
        elif suite == "tsan":
            # clang 14's runtime cannot place its shadow where this much is randomised.
            argv = ["setarch", "-R", *argv, "--timeout-multiplier", "2"]
        status, _ = self.run([*argv, *names], env)
        passed = failed = 0
        try:
            with open(log) as f:
                for line in f:
                    test = json.loads(line)
                    name = test.get("name", "?")
                    if test["result"] in GOOD:
                        passed += 1
                    elif test["result"] == "SKIP":
                        self.skipped.append("%s: %s" % (suite, name))
                    else:
                        failed += 1
                        said = (test.get("stdout") or "") + (test.get("stderr") or "")
                        self.failure(suite, "%s (%s)" % (name, test["result"]),
                                     said.splitlines()[-TAIL:])
        except (OSError, ValueError, KeyError):
            pass
        if status and not failed or not passed:
            failed += 1
            self.failure(suite, "meson test ended with status %d" % status, [])
        self.add(suite, passed, failed)

    def runner(self, suite, argv, env=None):
        """A test runner of our own: its last line tells."""
        status, output = self.run(argv, env)
        lines = output.strip().splitlines()
        m = re.fullmatch(r"(\d+) passed, (\d+) failed", lines[-1]) if lines else None
        passed, failed = (int(m.group(1)), int(m.group(2))) if m else (0, 1)
        for i, line in enumerate(lines):
            told = re.match(r"(FAIL|failed|hung|skipped) +(\S+)", line)
            if told and told.group(1) == "skipped":
                self.skipped.append("%s: %s" % (suite, told.group(2)))
            elif told:
                # What it said follows, indented.
                rest = lines[i + 1:]
                end = next((k for k, x in enumerate(rest) if not x.startswith("  ")), len(rest))
                self.failure(suite, told.group(2), rest[:min(end, TAIL)])
        if not m or status and not failed:
            failed = max(failed, 1)
            self.failure(suite, "the runner ended with status %d" % status, lines[-TAIL:])
        self.add(suite, passed, failed)

    def release(self):
        if self.build("release", "build", []):
            self.meson_tests("release", "build")

    def asan(self):
        if self.build("asan", "build/asan",
                      ["-Db_sanitize=address,undefined", "-Db_lundef=false"]):
            self.meson_tests("asan", "build/asan")

    def tsan(self):
        if not self.build("tsan", "build/tsan", ["-Db_sanitize=thread", "-Db_lundef=false"],
                          {"CC": "clang"}):
            return
        listed = subprocess.run([MESON, "test", "-C", "build/tsan", "--list"], cwd=TOP,
                                stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        names = []
        for line in listed.stdout.splitlines():
            suite, _, name = line.rpartition(" / ")
            if (suite.endswith(":device") or
                    suite.endswith(":unit") and name.split("-")[0] in TSAN_FOLDERS):
                names.append(name.strip())
        self.meson_tests("tsan", "build/tsan", names)

    def vm(self):
        if self.build("vm", "build", []):
            self.runner("vm", [os.path.join(TOP, "tests", "vm", "run.py")])

    def nested_all(self):
        self.nested("nested-all", "all")

    def nested(self, suite="nested", scenarios="core"):
        run = os.path.join(TOP, "tests", "nested", "run")
        if os.path.exists(run):
            # a machine with other work may take this many times as long
            self.runner(suite, [run, scenarios],
                        {"EXITLESS_PATIENCE": os.environ.get("EXITLESS_PATIENCE", "2")})


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--limit", type=float, default=24 * 3600, help="seconds for everything")
    parser.add_argument("suites", nargs="*", metavar="SUITE", default=SUITES)
    options = parser.parse_args()
    check = Check(options.limit)
    for suite in options.suites:
        if suite not in SUITES + MORE:
            parser.error("no such suite: " + suite)
        start = time.monotonic()
        getattr(check, suite.replace("-", "_"))()
        check.say("%s took %.0f s" % (suite, time.monotonic() - start))
    check.summary()
    return 1 if check.failed or not check.passed else 0


if __name__ == "__main__":
    sys.exit(main())
