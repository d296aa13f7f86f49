#!/usr/bin/python3
# SPDX-License-Identifier: BSD-2-Clause
"""Checks of the tree's form. usage: check.py CHECK ROOT [CC]

includes  a folder of src/ includes only itself and folders before it (src/meson.build's order)
headers   each header compiles on its own, with gcc and with clang
format    clang-format would change nothing
spdx      each source file starts with its licence
size      no source file above 900 lines, no absolute path of one machine
named     the tests that docs/testing.md names exist
"""
import os
import re
import subprocess
import sys

ORDER = ["base", "sandbox", "memory", "core", "pci", "virtio", "net", "nic", "port", "disk", "passthrough",
	"transport", "manager", "control"]
# besides src/: what each may include
OTHERS = {"client": {"base", "client"}, "host": {"base", "host"},
	"cli": {"base", "host", "client", "cli", "bench"}, "bench": None, "tests": None}
SOURCES = (".c", ".h")
SCRIPTS = (".py", ".sh", ".build")


def files(root, *suffixes):
	out = subprocess.run(["git", "-C", root, "ls-files", "-co", "--exclude-standard"],
		capture_output=True, text=True)
	if out.returncode == 0:
		names = out.stdout.split("\n")
	else:  # an unpacked archive
		names = [os.path.relpath(os.path.join(d, n), root)
			for d, dirs, ns in os.walk(root)
			if not dirs.__setitem__(slice(None), [x for x in dirs if x != "build"]) for n in ns]
	return sorted(n for n in names if n.endswith(suffixes) and os.path.isfile(os.path.join(root, n)))


def text(root, name):
	with open(os.path.join(root, name), encoding="utf-8") as f:
		return f.read()


def includes(root):
	bad = []
	for name in files(root, *SOURCES):
		parts = name.split("/")
		if parts[0] == "kernel":
			continue
		for line, target in re.findall(r'^(\s*#\s*include\s*"([^"]+)")', text(root, name), re.M):
			folder = target.split("/")[0]
			if parts[0] == "src":
				if len(parts) < 3:  # exitlessd.c may include all
					continue
				own = parts[1]
				if own not in ORDER:
					bad.append(f"{name}: folder {own} is not in the order of folders")
				elif folder in ORDER:
					if ORDER.index(folder) > ORDER.index(own):
						bad.append(f"{name}: {own} must not include {target}")
				elif folder != own:
					bad.append(f"{name}: {target} is not of src/")
			elif parts[0] in OTHERS and OTHERS[parts[0]] is not None:
				if folder in ORDER + list(OTHERS) and folder not in OTHERS[parts[0]]:
					bad.append(f"{name}: {parts[0]} must not include {target}")
	return bad


def headers(root):
	bad = []
	for name in files(root, ".h"):
		if name.startswith("kernel/"):
			continue
		for cc in ("gcc", "clang"):
			unit = f'#include "{name[4:] if name.startswith("src/") else name}"\n'
			run = subprocess.run([cc, "-std=gnu11", "-D_GNU_SOURCE", "-Wall", "-Wextra", "-Werror",
				"-Wno-unused-parameter", "-fsyntax-only", "-Isrc", "-I.", "-x", "c", "-"],
				input=unit, text=True, capture_output=True, cwd=root)
			if run.returncode:
				bad.append(f"{name} does not stand alone ({cc}):\n{run.stderr}")
	return bad


def clang_format(root):
	names = files(root, *SOURCES)
	run = subprocess.run(["clang-format", "--dry-run", "-Werror"] + names, cwd=root,
		capture_output=True, text=True)
	return [run.stderr] if run.returncode else []


def spdx(root):
	bad = []
	for name in files(root, *SOURCES, *SCRIPTS):
		head = text(root, name)[:400]
		want = "GPL-2.0-only" if name.startswith("kernel/") else "BSD-2-Clause"
		match = re.search(r"SPDX-License-Identifier: (\S+(?: (?:WITH|OR|AND) \S+)*)", head)
		if not match:
			bad.append(f"{name}: no SPDX line")
		elif want not in match.group(1):
			bad.append(f"{name}: {match.group(1)}, not {want}")
	return bad


def size(root):
	bad = []
	for name in files(root, *SOURCES, *SCRIPTS, ".md", ".json"):
		content = text(root, name)
		if name.endswith((*SOURCES, *SCRIPTS)) and content.count("\n") > 900:
			bad.append(f"{name}: {content.count(chr(10))} lines; make it two files")
		if re.search(r"/(work|home/[a-z]+|tmp/lab)/(main|wt|shared)\b", content):
			bad.append(f"{name}: an absolute path of one machine")
	return bad


def named(root):
	bad = []
	tests = re.findall(r"`([a-z0-9_/]+\.c): (\w+)`", text(root, "docs/testing.md"))
	for name, test in sorted(set(tests)):
		path = os.path.join(root, "tests", name)
		if not os.path.isfile(path) or not re.search(r"^static void %s\(void \*\*state\)" % test,
				text(root, "tests/" + name), re.M):
			bad.append(f"docs/testing.md: there is no {test} in tests/{name}")
	return bad if tests else ["docs/testing.md: no tests are named"]


CHECKS = {"includes": includes, "headers": headers, "format": clang_format, "spdx": spdx, "size": size,
	"named": named}

if __name__ == "__main__":
	if len(sys.argv) != 3 or sys.argv[1] not in CHECKS:
		sys.exit(__doc__)
	problems = CHECKS[sys.argv[1]](sys.argv[2])
	print("\n".join(problems))
	sys.exit(1 if problems else 0)
