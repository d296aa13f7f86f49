# SPDX-License-Identifier: BSD-2-Clause
"""Other drivers on the emulated NICs: newer kernels, and iPXE that boots over them."""

import functools
import http.server
import os
import threading

from lib import lan, vm
from lib.context import limit

USER = [lan.USER_PORT]


def newer_kernel(t, version):
    """Both drivers of that kernel: no warning, traffic both ways, a reload in between."""
    _, a, b = t.lan(ports=USER, image=vm.driver_image(version))
    for number, (guest, model) in enumerate(zip((a, b), lan.MODELS), 1):
        assert guest.run("uname -r").startswith(version)
        assert "driver: " + lan.DRIVER[model] + "\n" in guest.run("ethtool -i eth0")
        lan.expect_ping(guest, lan.GATEWAY, count=5)
        guest.run("rmmod {0}; modprobe {0}".format(lan.DRIVER[model]))
        lan.configure(guest, number)
    lan.wait_ping(a, lan.address(2))
    lan.transfer(a, b, lan.address(1), 2)
    lan.transfer(b, a, lan.address(2), 2)
    a.check_log()
    b.check_log()


@limit(180)
def test_linux_6_12(t):
    newer_kernel(t, "6.12")


@limit(180)
def test_linux_7(t):
    newer_kernel(t, "7")


def serve(t, directory):
    """An HTTP server on the host's loopback; guests reach it at the gateway's address."""
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=directory)
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    t.later(server.shutdown)
    return server.server_address[1]


@limit(150)
def test_ipxe_82574L(t):
    """iPXE's own driver fetches a kernel and 23 MB of initramfs, and what it boots works."""
    firmware = vm.driver_image("firmware")
    daemon = t.daemon(lan.config(["82574L"], USER))
    port = serve(t, vm.driver_image("6.12"))
    url = "http://%s:%d/" % (lan.GATEWAY, port)
    sercon = t.path("sercon")
    with open(sercon, "wb") as f:
        f.write(b"\xf8\x03")  # SeaBIOS: the console's port
    script = "dhcp && kernel %skernel %s && initrd %sinitramfs.cpio && boot" % (
        url, vm.kernel_command_line(), url)
    guest = t.guest(daemon, 1, memory="512M", boot=[
        "-kernel", os.path.join(firmware, "ipxe.lkrn"), "-append", script,
        "-fw_cfg", "name=etc/sercon-port,file=" + sercon])
    guest.wait_boot(100)
    lan.configure(guest, 1)
    lan.wait_ping(guest, lan.GATEWAY)
    lan.expect_ping(guest, lan.GATEWAY, count=5)
