#!/usr/bin/python3
# SPDX-License-Identifier: BSD-2-Clause
"""Storage that is stuck: stuck_fs.py FOLDER mounts a file system in a mount namespace of its own.

It has one file, "image", and takes its reads and writes without ever answering them. Says "mounted",
then "stuck" for each of them; ends with its standard input, and with it all that waits. Needs root and
FUSE (the kernel's include/uapi/linux/fuse.h); the status is 77 where that cannot be.
"""

import ctypes
import os
import select
import stat
import struct
import sys

SIZE = 1 << 20
LOOKUP, FORGET, GETATTR, OPEN, READ, WRITE = 1, 2, 3, 14, 15, 16
STATFS, RELEASE, FSYNC, FLUSH, INIT, INTERRUPT = 17, 18, 20, 25, 26, 36
CLONE_NEWNS, MS_REC_PRIVATE = 0x20000, 0x44000
libc = ctypes.CDLL(None, use_errno=True)


def mount(folder):
    fd = os.open("/dev/fuse", os.O_RDWR)
    options = "fd=%d,rootmode=40000,user_id=0,group_id=0,allow_other" % fd
    if (libc.unshare(CLONE_NEWNS) or libc.mount(None, b"/", None, MS_REC_PRIVATE, None) or
            libc.mount(b"stuck", folder.encode(), b"fuse", 0, options.encode())):
        raise OSError(ctypes.get_errno(), "cannot mount")
    return fd


def attributes(node):
    mode = stat.S_IFDIR | 0o755 if node == 1 else stat.S_IFREG | 0o666
    return struct.pack("<6Q10I", node, SIZE, SIZE // 512, 0, 0, 0, 0, 0, 0, mode, 1, 0, 0, 0, 4096, 0)


def answer(message):
    """What to say to a request: (error, bytes), or None for nothing."""
    op, _, node = struct.unpack_from("<IQQ", message, 4)
    if op == INIT:
        return 0, struct.pack("<4I2H2I2H8I", 7, 31, 65536, 0, 12, 9, 65536, 1, 16, *[0] * 8, 0)
    if op == LOOKUP and message[40:].rstrip(b"\0") == b"image":
        return 0, struct.pack("<4Q2I", 2, 0, 1, 1, 0, 0) + attributes(2)
    if op == LOOKUP:
        return -2, b""
    if op == GETATTR:
        return 0, struct.pack("<Q2I", 1, 0, 0) + attributes(node)
    if op == OPEN:
        return 0, struct.pack("<Q2I", 1, 0, 0)
    if op == STATFS:
        return 0, struct.pack("<5Q10I", 1000, 1000, 1000, 10, 10, 4096, 255, 4096, *[0] * 7)
    if op in (RELEASE, FLUSH):
        return 0, b""
    if op in (READ, WRITE, FSYNC):
        print("stuck", flush=True)
    if op in (READ, WRITE, FSYNC, FORGET, INTERRUPT):
        return None
    return -38, b""


def main():
    try:
        fd = mount(sys.argv[1])
    except OSError as error:
        print(error, file=sys.stderr)
        sys.exit(77)
    print("mounted", flush=True)
    while sys.stdin not in select.select([fd, sys.stdin], [], [])[0]:
        try:
            message = os.read(fd, 1 << 20)
        except OSError:  # its folder was removed
            break
        said = answer(message)
        if said:
            os.write(fd, struct.pack("<IiQ", 16 + len(said[1]), said[0],
                                     struct.unpack_from("<Q", message, 8)[0]) + said[1])


if __name__ == "__main__":
    main()
