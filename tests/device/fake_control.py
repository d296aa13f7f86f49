# SPDX-License-Identifier: BSD-2-Clause
"""A control socket whose answers a test makes."""

import json
import os
import socket
import threading


class FakeControl:
    """answer(n, request) gives the result of the n-th request, from 0; meanwhile the client waits."""

    def __init__(self, path, answer):
        self.path = path
        self.answer = answer
        self.failed = None

    def __enter__(self):
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(self.path)
        self.listener.listen()
        self.thread = threading.Thread(target=self.serve)
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.listener.shutdown(socket.SHUT_RDWR)
        self.thread.join()
        self.listener.close()
        os.unlink(self.path)
        if self.failed:
            raise self.failed

    def serve(self):
        n = 0
        while True:
            try:
                client, _ = self.listener.accept()
            except OSError:
                return
            with client, client.makefile("rw") as lines:
                try:
                    request = json.loads(lines.readline())
                    result = self.answer(n, request)
                except Exception as error:
                    self.failed = error
                    return
                lines.write(json.dumps({"jsonrpc": "2.0", "id": 1, "result": result}) + "\n")
                n += 1
