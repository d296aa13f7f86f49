# SPDX-License-Identifier: BSD-2-Clause
"""The harness itself, on QEMU's own devices: what the other tests rely on."""

from lib.process import Failure

BUILTIN = ["-netdev", "user,id=n0", "-device", "e1000e,netdev=n0"]


def expect_failure(function, *args, **options):
    """Fail unless the call fails."""
    try:
        function(*args, **options)
    except Failure as failure:
        return str(failure)
    raise Failure("%s did not fail" % function)


def test_guest(t):
    """Boot, commands with output and status, time limits, kernel noise, QMP, reboot."""
    vm = t.vm("a", BUILTIN).wait_boot()
    vm.check_log()

    assert vm.run("echo one; echo two >&2") == "one\ntwo\n"
    assert vm.run("exit 3", check=False) == (3, "")
    assert "status 4" in expect_failure(vm.run, "exit 4")
    assert vm.run("sleep 60", timeout=1, check=False)[0] != 0
    assert len(vm.run("seq 20000")) == 108894
    # Kernel messages at the highest level while an answer is under way.
    vm.run("for i in 1 2 3 4 5; do echo '<1>noise' >/dev/kmsg; done; seq 100")
    assert "noise" in expect_failure(vm.check_log)

    vm.run("ip link set eth0 up; udhcpc -q -n -i eth0; ip addr add 10.0.2.15/24 dev eth0; true")
    vm.run("ping -c 3 -W 5 10.0.2.2")

    assert vm.qmp.command("query-status")["status"] == "running"
    expect_failure(vm.qmp.command, "no-such-command")
    vm.reboot()
    vm.check_log()
    vm.kill()
    assert vm.process.returncode is not None


def test_guest_panic_is_noticed(t):
    """A guest that dies fails the test at once, not by its time limit."""
    vm = t.vm("a").wait_boot()
    expect_failure(vm.run, "echo c >/proc/sysrq-trigger; sleep 100", timeout=100)


def test_namespace(t):
    """A namespace with a tap device is made and removed."""
    ns = t.netns("a")
    ns.run("ip", "tuntap", "add", "tap0", "mode", "tap")
    assert "tap0" in ns.run("ip", "link", "show")
    ns.remove()
