# SPDX-License-Identifier: BSD-2-Clause
"""A client of QEMU's machine protocol, over a connected stream socket."""

import json
import time

from .process import PATIENCE, Failure


class QMP:
    def __init__(self, sock):
        self.sock = sock
        self.buffer = b""
        self.events = []
        self._read(time.monotonic() + 20 * PATIENCE)
        self.command("qmp_capabilities")

    def _read(self, end):
        while b"\n" not in self.buffer:
            self.sock.settimeout(max(0.01, end - time.monotonic()))
            try:
                data = self.sock.recv(65536)
            except TimeoutError:
                raise Failure("QMP: no answer") from None
            except ConnectionResetError:
                data = b""
            if not data:
                raise Failure("QMP: QEMU closed the connection")
            self.buffer += data
        line, self.buffer = self.buffer.split(b"\n", 1)
        return json.loads(line)

    def command(self, name, timeout=20, **arguments):
        """Run a command and return what it returns; its error is a failure."""
        request = {"execute": name, "arguments": arguments}
        self.sock.sendall(json.dumps(request).encode() + b"\n")
        end = time.monotonic() + timeout * PATIENCE
        while True:
            answer = self._read(end)
            if "event" in answer:
                self.events.append(answer)
            elif "error" in answer:
                raise Failure("QMP: %s: %s" % (name, answer["error"]["desc"]))
            elif "return" in answer:
                return answer["return"]

    def wait_event(self, name, timeout=20):
        """Return the next event of that name, one that came before this call included."""
        end = time.monotonic() + timeout * PATIENCE
        while True:
            for event in self.events:
                if event["event"] == name:
                    self.events.remove(event)
                    return event
            answer = self._read(end)
            if "event" in answer:
                self.events.append(answer)
