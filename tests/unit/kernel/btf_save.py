#!/usr/bin/python3
# SPDX-License-Identifier: BSD-2-Clause
"""Saves what matters of a kernel's BTF (Documentation/bpf/btf.rst) for tests.

    btf_save.py VMLINUZ MODULE.ko[.xz]... >OUT

The structures in WHOLE keep all members, those in SIZES their size; other structures that these
name are left without members. Kernel and modules become one section, without bases.
"""
import lzma
import struct
import subprocess
import sys
import zlib

WHOLE = ["kvm_lapic", "kvm_timer", "vcpu_svm", "vcpu_vmx", "vcpu_vt", "apic_chip_data",
         "eventfd_ctx"]
SIZES = ["kvm_vcpu", "kvm"]
(INT, PTR, ARRAY, STRUCT, UNION, ENUM, FWD, TYPEDEF, VOLATILE, CONST, RESTRICT, FUNC, PROTO, VAR,
 DATASEC, FLOAT, DECL_TAG, TYPE_TAG, ENUM64) = range(1, 20)
MORE = {INT: (4, 0), ARRAY: (12, 0), STRUCT: (0, 12), UNION: (0, 12), ENUM: (0, 8), PROTO: (0, 8),
        VAR: (4, 0), DATASEC: (0, 12), DECL_TAG: (4, 0), ENUM64: (0, 12)}


def section(elf, wanted):
    shoff, = struct.unpack_from("<Q", elf, 40)
    size, n, names = struct.unpack_from("<HHH", elf, 58)
    heads = [struct.unpack_from("<IIQQQQ", elf, shoff + i * size) for i in range(n)]
    for head in heads:
        at = heads[names][4] + head[0]
        if elf[at:elf.index(b"\0", at)].decode() == wanted:
            return elf[head[4]:head[4] + head[5]]
    sys.exit("there is no section " + wanted)


def vmlinux(path):
    """The compressed payload of a bzImage (Documentation/arch/x86/boot.rst)."""
    with open(path, "rb") as f:
        image = f.read()
    begin = ((image[0x1f1] or 4) + 1) * 512 + struct.unpack_from("<I", image, 0x248)[0]
    data = image[begin:begin + struct.unpack_from("<I", image, 0x24c)[0]]
    if data[:2] == b"\x1f\x8b":
        return zlib.decompressobj(31).decompress(data)
    if data[:6] == b"\xfd7zXZ\0":
        return lzma.LZMADecompressor().decompress(data)
    # the last four bytes are the size
    return subprocess.run(["zstd", "-dc"], input=data[:-4], stdout=subprocess.PIPE,
                          check=True).stdout


def module(path):
    with (lzma.open if path.endswith(".xz") else open)(path, "rb") as f:
        return f.read()


class Image:
    def __init__(self, data, base=None):
        hdr, = struct.unpack_from("<I", data, 4)
        toff, tlen, soff, slen = struct.unpack_from("<IIII", data, 8)
        self.base, self.data = base, data
        self.strings = data[hdr + soff:hdr + soff + slen]
        self.first_string = base.first_string + len(base.strings) if base else 0
        self.first = base.first + len(base.types) if base else 1
        self.types = []
        at, end = hdr + toff, hdr + toff + tlen
        while at < end:
            name, info, ref = struct.unpack_from("<III", data, at)
            kind, n = info >> 24 & 0x1f, info & 0xffff
            fixed, each = MORE.get(kind, (0, 0))
            self.types.append((kind, n, info >> 31, name, ref, data[at + 12:at + 12 + fixed + n * each]))
            at += 12 + fixed + n * each

    def text(self, at):
        if self.base and at < self.first_string:
            return self.base.text(at)
        at -= self.first_string
        return self.strings[at:self.strings.index(b"\0", at)].decode()

    def type(self, ident):
        if self.base and ident < self.first:
            return self.base.type(ident)
        return self.types[ident - self.first]

    def find(self, name):
        for i, t in enumerate(self.types):
            if t[0] == STRUCT and self.text(t[3]) == name:
                return self.first + i
        return self.base.find(name) if self.base else None


class Saved:
    def __init__(self):
        self.types, self.strings, self.known = [], bytearray(b"\0"), {}

    def text(self, s):
        if not s:
            return 0
        at = self.strings.find(b"\0" + s.encode() + b"\0")
        if at < 0:
            at = len(self.strings) - 1
            self.strings += s.encode() + b"\0"
        return at + 1

    def add(self, image, ident):
        """The number that this type of @image has here."""
        if not ident:
            return 0
        kind, n, flag, name, ref, rest = image.type(ident)
        name = image.text(name)
        if kind in (FUNC, PROTO, VAR, DATASEC, DECL_TAG):
            return 0
        key = (kind, name) if name and kind in (STRUCT, UNION) else (id(image), ident)
        if key in self.known:
            return self.known[key]
        self.types.append(None)
        number = self.known[key] = len(self.types)
        if kind in (STRUCT, UNION):
            members = b""
            if name and name not in WHOLE:
                n = 0
            for i in range(n):
                m = struct.unpack_from("<III", rest, i * 12)
                members += struct.pack("<III", self.text(image.text(m[0])),
                                       self.add(image, m[1]), m[2])
            rest = members
        elif kind in (ENUM, ENUM64):
            n, rest = 0, b""
        elif kind == ARRAY:
            elem, index, count = struct.unpack("<III", rest)
            rest = struct.pack("<III", self.add(image, elem), self.add(image, index), count)
        elif kind in (PTR, TYPEDEF, VOLATILE, CONST, RESTRICT, TYPE_TAG):
            ref = self.add(image, ref)
        self.types[number - 1] = struct.pack("<III", self.text(name), flag << 31 | kind << 24 | n,
                                             ref) + rest
        return number

    def section(self):
        types = b"".join(self.types)
        return struct.pack("<HBBIIIII", 0xeb9f, 1, 0, 24, 0, len(types), len(types),
                           len(self.strings)) + types + bytes(self.strings)


def main():
    if len(sys.argv) < 3:
        sys.exit(__doc__)
    base = Image(section(vmlinux(sys.argv[1]), ".BTF"))
    images = [Image(section(module(path), ".BTF"), base) for path in sys.argv[2:]]
    saved = Saved()
    for name in WHOLE + SIZES:
        for image in images:
            ident = image.find(name)
            if ident:
                saved.add(image, ident)
                break
    sys.stdout.buffer.write(saved.section())


if __name__ == "__main__":
    main()
