# SPDX-License-Identifier: BSD-2-Clause
"""A guest under QEMU: start it, run commands in it, look at its kernel log, end it.

The guest is the image that tools/guest-image.sh builds. Its first serial port is the console and
goes to a file; commands go over the second one (the protocol is described in guest/init).
"""

import base64
import os
import re
import socket
import subprocess
import tempfile
import threading
import time

from .process import PATIENCE, Failure, spawn
from .qmp import QMP

TOP = os.path.dirname(os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))))
CACHE = os.environ.get("EXITLESS_CACHE", os.path.join(TOP, "build", "cache"))

# On a busy host an emulated guest measures its TSC's rate wrongly: its clock must be another one.
EMULATED = "tsc=unstable clocksource=hpet trace_clock=local"

# Lines that a stock Debian kernel logs at level warning or worse in a stock QEMU.
STOCK_WARNINGS = [re.compile(p) for p in (
    r"ACPI: IRQ \d+ override to edge",
    r"acpi PNP0A08:00: fail to add MMCONFIG",
    r"amd_pstate: ",
    r"APIC calibration not consistent with PM-Timer",
    r"hrtimer: interrupt took",
    r"hpet: Lost \d+ RTC interrupts",
    r"clocksource: .*(skew|unstable|jiffies|tsc-early|wd-)",
    r"device-mapper: core: CONFIG_IMA_DISABLE_HTABLE",
    r"ENERGY_PERF_BIAS",
    r"i8042: ",
    r"Decoding supported only on Scalable MCA",
    r"Spectre V2",
    r"Speculative (Return Stack|Store)",
    r"Retbleed|RETBleed",
    r"MDS: |TAA: |MMIO Stale Data|L1TF|SRBDS|GDS: |SRSO|TSA: |ITS: |VMSCAPE",
    r"TSC (deadline|doesn't count)",
    r"tsc: (Fast TSC|Unable|Marking|PIT calibration)",
    r"unchecked MSR access",
    r"process '.*' started with executable stack",
    r"#PF: |kvm: ",
)]


def qemu_path():
    """The QEMU to use; fetched if need be."""
    return tool("fetch-qemu.sh")


def guest_image():
    """The directory with the guest's kernel and initramfs.cpio; built if need be."""
    return tool("guest-image.sh")


def driver_image(variant):
    """The directory of tools/driver-image.sh's VARIANT; built if need be."""
    return tool("driver-image.sh", variant)


def tool(name, *args):
    """What a script in tools/ prints: where that is which it fetched or made."""
    done = subprocess.run([os.path.join(TOP, "tools", name), *args], stdout=subprocess.PIPE,
                          text=True)
    if done.returncode:
        raise Failure("tools/%s failed" % name)
    return done.stdout.strip()


def accelerator():
    """kvm where a guest really boots with it, else tcg; found out once and kept in the cache."""
    chosen = os.environ.get("EXITLESS_ACCEL")
    if chosen:
        return chosen
    known = os.path.join(CACHE, "accelerator")
    try:
        with open(known) as f:
            return f.read().strip()
    except FileNotFoundError:
        pass
    found = "tcg"
    if os.access("/dev/kvm", os.R_OK | os.W_OK):
        with tempfile.TemporaryDirectory(prefix="exitless-") as d:
            vm = VM("probe", d, accel="kvm")
            try:
                vm.start()
                vm.wait_boot(10)
                found = "kvm"
            except Failure:
                pass
            finally:
                vm.kill()
    with open(known, "w") as f:
        f.write(found + "\n")
    return found


def kernel_command_line(accel=None):
    """What every guest's kernel is told."""
    return " ".join(["console=ttyS0 quiet loglevel=5 panic=0 random.trust_cpu=on no_timer_check",
                     "" if (accel or accelerator()) == "kvm" else EMULATED])


class VM:
    """One guest. Use from one thread, except run(), which any thread may call."""

    def __init__(self, name, directory, args=(), memory_mb=256, cpus=1, kernel_args="",
                 machine="q35", log_directory=None, accel=None, image=None, boot=None):
        """args: QEMU arguments; if they name a machine, memory and CPUs are theirs to say too.

        image: the directory of another kernel and initramfs; boot: arguments in place of a kernel.
        """
        self.name = name
        self.directory = directory
        self.logs = log_directory or directory
        self.console_log = os.path.join(self.logs, name + ".console.log")
        self.qemu_log = os.path.join(self.logs, name + ".qemu.log")
        self.process = None
        self.qmp = None
        self.agent = None
        self._buffer = b""
        self._next_id = 1
        self._lock = threading.Lock()
        self._accel = accel or accelerator()
        self.argv = self._command_line(list(args), memory_mb, cpus, machine,
                                       boot or self._kernel(image or guest_image(), kernel_args))

    def _path(self, what):
        return os.path.join(self.directory, "%s.%s" % (self.name, what))

    def _kernel(self, image, kernel_args):
        return ["-kernel", os.path.join(image, "kernel"),
                "-initrd", os.path.join(image, "initramfs.cpio"),
                "-append", kernel_command_line(self._accel) + " " + kernel_args]

    def _command_line(self, args, memory_mb, cpus, machine, boot):
        argv = [qemu_path(), "-nodefaults", "-no-user-config", "-display", "none",
                "-accel", self._accel,
                "-cpu", "host" if self._accel == "kvm" else "qemu64",
                *boot,
                "-serial", "file:" + self.console_log,
                "-chardev", "socket,id=agent,path=" + self._path("agent"),
                "-serial", "chardev:agent",
                "-qmp", "unix:" + self._path("qmp")]
        if not any(a == "-machine" or a == "-M" for a in args):
            argv += ["-machine", machine + ",memory-backend=mem", "-m", "%dM" % memory_mb,
                     "-smp", str(cpus),
                     "-object", "memory-backend-memfd,id=mem,size=%dM,share=on" % memory_mb]
        return argv + args

    def start(self):
        """Start QEMU and connect to its monitor; the guest boots meanwhile."""
        listeners = []
        for what in ("agent", "qmp"):
            path = self._path(what)
            if os.path.exists(path):
                os.unlink(path)
            s = socket.socket(socket.AF_UNIX)
            s.bind(path)
            s.listen(1)
            s.settimeout(0.2)
            listeners.append(s)
        try:
            with open(self.qemu_log, "a") as f:
                f.write("+ %s\n" % " ".join(self.argv))
            self.process = spawn(self.argv, self.qemu_log)
            self.agent = self._accept(listeners[0])
            try:
                self.qmp = QMP(self._accept(listeners[1]))
            except Failure as failure:
                self._check_alive()
                raise failure
        finally:
            for s in listeners:
                s.close()
        return self

    def _accept(self, listener):
        end = time.monotonic() + 30 * PATIENCE
        while time.monotonic() < end:
            try:
                return listener.accept()[0]
            except TimeoutError:
                self._check_alive()
        raise Failure("%s: QEMU did not start" % self.name)

    def _check_alive(self):
        # What closed a socket of ours may take a moment to be gone.
        time.sleep(0.1)
        if self.process.poll() is not None:
            raise Failure("%s: QEMU ended with status %d\n%s" %
                          (self.name, self.process.returncode, tail(self.qemu_log)))
        if "Kernel panic" in tail(self.console_log, 4096):
            raise Failure("%s: the guest's kernel panicked" % self.name)

    def _read_line(self, end, what):
        while b"\n" not in self._buffer:
            left = end - time.monotonic()
            if left <= 0:
                raise Failure("%s: no answer in time to: %s" % (self.name, what))
            self.agent.settimeout(min(left, 1.0))
            try:
                data = self.agent.recv(65536)
            except TimeoutError:
                self._check_alive()
                continue
            except ConnectionResetError:
                data = b""
            if not data:
                time.sleep(0.2)
                self._check_alive()
                raise Failure("%s: QEMU closed the guest's serial port" % self.name)
            self._buffer += data
        line, self._buffer = self._buffer.split(b"\n", 1)
        return line.decode(errors="replace").strip()

    def wait_boot(self, timeout=90):
        """Wait until the guest takes commands, after start() or a reboot."""
        end = time.monotonic() + timeout * PATIENCE
        while self._read_line(end, "boot") != "@ready":
            pass
        return self

    def run(self, command, timeout=30, check=True):
        """Run a shell command in the guest and return its output (both streams).

        With check its failure is ours; without, the return value is (status, output).
        """
        timeout *= PATIENCE
        with self._lock:
            ident = str(self._next_id)
            self._next_id += 1
            encoded = base64.b64encode(command.encode()).decode()
            self.agent.sendall(("%s %d %s\n" % (ident, timeout, encoded)).encode())
            # The guest enforces the limit; what comes on top is for a slow guest to say so.
            end = time.monotonic() + timeout + 15 * PATIENCE
            status, lines = None, []
            while True:
                line = self._read_line(end, command)
                if line == "@ready":
                    raise Failure("%s: the guest rebooted during: %s" % (self.name, command))
                words = line.split()
                if words[:2] == ["@begin", ident]:
                    status = int(words[2])
                elif words[:2] == ["@end", ident]:
                    break
                elif status is not None:
                    lines.append(line)
        output = base64.b64decode("".join(lines)).decode(errors="replace")
        if not check:
            return status, output
        if status:
            raise Failure("%s: status %d from: %s\n%s" % (self.name, status, command, output))
        return output

    def reboot(self, timeout=90):
        """Reboot the guest by its own kernel and wait until it is back."""
        encoded = base64.b64encode(b"reboot -f").decode()
        self.agent.sendall(("0 10 %s\n" % encoded).encode())
        return self.wait_boot(timeout)

    def log_warnings(self, allowed=()):
        """The lines of the guest's kernel log that a stock machine's does not have.

        allowed: patterns of more lines that may be there.
        """
        usual = STOCK_WARNINGS + [re.compile(p) for p in allowed]
        bad = []
        for line in self.run("dmesg -r").splitlines():
            m = re.match(r"<(\d+)>(.*)", line)
            if not m:
                continue
            level, text = int(m.group(1)) & 7, m.group(2)
            alarming = re.search(r"WARNING:|BUG:|Oops|Call Trace|Tx Unit Hang|NETDEV WATCHDOG|"
                                 r"stall|soft lockup|nobody cared", text)
            if alarming or level <= 4 and not any(p.search(text) for p in usual):
                bad.append(text)
        return bad

    def check_log(self, allowed=()):
        """Fail if the guest's kernel log has a warning."""
        bad = self.log_warnings(allowed)
        if bad:
            raise Failure("%s: in the guest's kernel log:\n%s" % (self.name, "\n".join(bad)))

    def kill(self):
        """End QEMU at once, as a crash would."""
        if self.process and self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        for s in (self.agent, self.qmp and self.qmp.sock):
            if s:
                s.close()
        self.agent = self.qmp = None


def tail(path, length=2000):
    """The end of a text file, empty if there is none."""
    try:
        with open(path, "rb") as f:
            f.seek(0, os.SEEK_END)
            f.seek(max(0, f.tell() - length))
            return f.read().decode(errors="replace")
    except FileNotFoundError:
        return ""
