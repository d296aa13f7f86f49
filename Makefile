# SPDX-License-Identifier: BSD-2-Clause
#
# A thin front: the build is meson's, the checks are tests/check.py's, the demo is demo/demo.py.

PYTHON ?= /usr/bin/python3
MESON ?= /usr/bin/meson

all: build/build.ninja
	ninja -C build

build/build.ninja:
	tools/deps.sh
	$(MESON) setup build

# Two guests, their traffic and what it costs: about two minutes once everything is fetched.
demo: all
	$(PYTHON) demo/demo.py

# Everything: unit, protocol and fuzz tests, with sanitizers too, and stock guests. LIMIT: seconds
# after which what is left counts as failed.
check:
	tools/deps.sh
	$(PYTHON) tests/check.py $(if $(LIMIT),--limit $(LIMIT))

# What needs no guest, without sanitizers.
check-quick:
	tools/deps.sh
	$(PYTHON) tests/check.py release

# All scenarios of the nested machine: long.
check-nested:
	tools/deps.sh
	$(PYTHON) tests/check.py nested-all

install: all
	$(MESON) install -C build

# What was fetched stays; make distclean removes that too.
clean:
	@[ ! -d build ] || find build -mindepth 1 -maxdepth 1 ! -name cache -exec rm -rf {} +

distclean:
	rm -rf build

.PHONY: all demo check check-quick check-nested install clean distclean
