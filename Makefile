# SPDX-License-Identifier: GPL-2.0-or-later
# `make` sets armprobe up in .venv and shows what it does; `make help` lists the rest.

VENV := .venv
PY := $(VENV)/bin/python
PIP := $(PY) -m pip -qq --disable-pip-version-check
ROOMS := face machine kernel expressions probes traces stub session clients commands guests
FOLDERS := $(shell find $(wildcard $(ROOMS)) -type d -not -name __pycache__)
NATIVE := $(wildcard machine/native/*.[ch]) machine/native/compile.py
LIBRARY := $(wildcard build/__editable__.*/armprobe/machine/native/libarmprobe.so)

# command:package, or file:package, for the Debian packages that armprobe and its tests use
FOR_RUN := gdb-multiarch:gdb-multiarch
FOR_TEST := $(FOR_RUN) aarch64-linux-gnu-gcc:gcc-aarch64-linux-gnu aarch64-linux-gnu-ld:binutils-aarch64-linux-gnu \
	/usr/aarch64-linux-gnu/include/stdlib.h:libc6-dev-arm64-cross \
	qemu-system-aarch64:qemu-system-arm /usr/lib/ipxe/qemu/efi-virtio.rom:ipxe-qemu \
	dtc:device-tree-compiler cpio:cpio trace-cmd:trace-cmd /usr/lib/u-boot/qemu_arm64/u-boot.bin:u-boot-qemu
FOR_DEJAGNU := runtest:dejagnu qemu-img:qemu-utils /usr/src/gdb.tar.xz:gdb-source \
	/usr/lib/picolibc/aarch64-linux-gnu:picolibc-aarch64-linux-gnu

# One more than cores: a test often waits for a debugger or a guest of its own. Four cores at most, for the memory.
WORKERS := $(PY) -c "import os; print(min(len(os.sched_getaffinity(0)), 4) + 1)"

# Tests start hundreds of armprobes, each of which would compile all of its files again.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: demo
demo: build/run ## set up, and show what armprobe does on the demo guest (plain `make`)
	@$(VENV)/bin/armprobe demo

.PHONY: linux
linux: build/run ## boot a stock Debian arm64 kernel to a shell
	@$(VENV)/bin/armprobe linux

.PHONY: test
test: build/test ## the tests; of those that take long one in five, all with ARMPROBE_ONE_IN=1
	$(PY) -m pytest -n $$($(WORKERS)) --dist loadfile --no-loadscope-reorder

.PHONY: oracle
oracle: build/test ## compare with the functions of stock Debian kernels, at length
	$(VENV)/bin/pip install -q drgn
	ARMPROBE_ORACLE=all $(PY) -m pytest -n auto --maxprocesses 4 --dist loadfile tests/oracle \
		tests/linux/test_driver.py tests/linux/test_disk.py

.PHONY: record
record: build/test ## put a kernel's answers on record: make record SUITE=trixie KERNEL=6.12.107+deb13
	$(PY) -m tests.oracle.record $(SUITE) $(KERNEL)

.PHONY: check
check: build/test ## ruff, mypy and gcc's analyzer
	CC=gcc CFLAGS="-Werror -fanalyzer" $(PY) machine/native/compile.py build/analyzed.so
	$(VENV)/bin/ruff format --check
	$(VENV)/bin/ruff check
	$(VENV)/bin/mypy

# The tests use a second installed tree, whose library is built with the sanitizers. Python allocates with malloc, so that
# they see its buffers too. What Python and Unicorn leave allocated at the end is theirs. The sanitizers refuse
# RTLD_DEEPBIND, with which capstone loads its library where os has it. They need more address space
# than test_hostile_files.py allows. They keep 32 MiB of what was freed, and not 256: a test measures what machines that
# are thrown away leave behind. faulthandler would take the signals that they report. Rewriting assert statements, and
# executing them rewritten, more than doubles the time of a short test under them.
SANITIZED := build/sanitized
SANITIZED_TESTS := tests/machine tests/expressions tests/probes --ignore=tests/machine/test_hostile_files.py
.PHONY: sanitize
sanitize: build/test ## the tests that use the C core, with AddressSanitizer and UndefinedBehaviorSanitizer in it
	rm -rf $(SANITIZED)
	cp -a build/__editable__.*/. $(SANITIZED)
	echo 'import os; del os.RTLD_DEEPBIND' >$(SANITIZED)/sitecustomize.py
	CC=gcc CFLAGS="-g -O1 -fno-omit-frame-pointer -fsanitize=address,undefined -fno-sanitize-recover=all" \
		$(PY) $(SANITIZED)/armprobe/machine/native/compile.py
	PYTHONPATH=$(CURDIR)/$(SANITIZED) PYTHONMALLOC=malloc LD_PRELOAD=$$(gcc -print-file-name=libasan.so) \
		ASAN_OPTIONS=detect_leaks=0:quarantine_size_mb=32:log_path=$(CURDIR)/$(SANITIZED)/report \
		UBSAN_OPTIONS=print_stacktrace=1:log_path=$(CURDIR)/$(SANITIZED)/report \
		$(PY) -m pytest -n auto --maxprocesses 4 --assert=plain -p no:faulthandler \
		$(SANITIZED_TESTS) || { cat $(SANITIZED)/report.*; exit 1; }

.PHONY: fuzz
fuzz: build/test ## a million random packets to the demo kernel, ten thousand debuggers that come and go, ten thousand hostile files of each format, a hostile driver of the disk, and millions of lines and expressions
	ARMPROBE_FUZZ=1000000 $(PY) -m pytest -n auto --maxprocesses 4 -rP \
		tests/stub/test_flood.py tests/stub/test_guest_flood.py tests/stub/test_endurance.py \
		tests/machine/test_hostile_files.py tests/machine/test_virtio_block.py tests/expressions/test_native.py \
		tests/probes/events/test_definitions.py tests/probes/events/test_filter.py tests/probes/events/test_histogram.py

.PHONY: soak
soak: build/test ## the tests that otherwise take samples, at length: takes hours
	ARMPROBE_SOAK=1 $(PY) -m pytest -n auto --maxprocesses 4 -rP -m soak

# The Pythons that are tried: `make wheel PYTHONS="python3.13 /opt/python/bin/python3"` names others.
PYTHONS = $(foreach minor,11 12 13 14,$(shell command -v python3.$(minor)))
.PHONY: wheel
wheel: build/test ## the wheel in clean environments, on each of the Pythons 3.11 to 3.14 that is here; takes the network
	ARMPROBE_PYTHONS="$(PYTHONS)" $(PY) -m pytest -rP tests/test_clean_environments.py

.PHONY: bench
bench: build/test ## measure; SVG=docs/benchmarks.svg also writes the plot
	$(PY) tests/bench/run.py $(if $(SVG),--svg $(SVG))

.PHONY: matrix
matrix: build/test ## try the stub with many debuggers and with web pages, and write docs/debuggers.md
	$(PY) -m tests.browsers.live
	$(PY) -m tests.debuggers.matrix
	$(PY) -m tests.debuggers.tools.main

.PHONY: dejagnu
dejagnu: build/test ## run tests of GDB's own suite, on QEMU's stub too, and write docs/dejagnu.md
	@$(call system,$(FOR_DEJAGNU))
	$(PY) -m tests.dejagnu.run

.PHONY: docs
docs: build/test ## write docs/commands.md and docs/json.md, the references, and the man page
	$(PY) -m armprobe.commands.documents docs

.PHONY: figures
figures: build/test ## draw the figures of the documentation again, for the site; takes npm and chromium
	PYTHONPATH=. $(PY) -m tests.docs.figures

.PHONY: pictures
pictures: build/test ## take the pictures of the prompt again; takes tmux
	$(PY) -m tests.docs.pictures

.PHONY: site
site: build/test ## build the documentation as a site, in build/site; a broken link is an error
	NO_MKDOCS_2_WARNING=1 $(PY) -m mkdocs build --strict

.PHONY: conformance
conformance: build/test ## build the conformance guests, run them on QEMU too, and write docs/conformance.md
	@$(MAKE) -s -C tests/machine/conformance
	$(PY) -m tests.machine.conformance.table docs/conformance.md

.PHONY: clean
clean: ## remove what make made
	rm -rf $(VENV) build dist armprobe.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis
	find $(wildcard $(ROOMS)) tests -name __pycache__ -prune -exec rm -rf {} +

.PHONY: help
help: ## this list
	@sed -n 's/^\([a-z]*\):.*## /\1\t/p' Makefile

# gdb warns of an executable older than its sources, which the order of a checkout can make it.
#
# The stamps are in build/ because the install consists of links there. A room's folder changes when a file is added or
# removed, which takes a new set of links; one that is edited does not.
# What mypy remembers of the old set misleads it ("module is installed, but missing library stubs").
#
# Where the C core alone has changed, it alone is compiled, into the installed tree. Where it is missing there, the tree
# is made again.
build/run: $(VENV)/pyvenv.cfg Makefile setup.py pyproject.toml $(FOLDERS) $(NATIVE) $(if $(LIBRARY),,missing)
	@$(if $(filter-out $(NATIVE),$?),$(call set_up,armprobe,.,$(FOR_RUN)),$(compile))
	@touch guests/demo/demo.elf $@

build/test: $(VENV)/pyvenv.cfg Makefile setup.py pyproject.toml $(FOLDERS) $(NATIVE) $(if $(LIBRARY),,missing)
	@$(if $(filter-out $(NATIVE),$?),$(call set_up,armprobe and its tests,'.[test]',$(FOR_TEST)),$(compile))
	@touch guests/demo/demo.elf build/run $@

.PHONY: missing
missing:

# set_up(what, package with extras, system packages): apt and pip at the same time, as neither takes two cores. pip
# compiles what it installs: compiled by the tests, where a warning is an error, some of it could not be imported.
set_up = $(compiler); { $(call system,$(3)); } & rm -rf build .mypy_cache && echo "setting up $(1) in $(VENV)" && \
	$(PIP) install --editable $(2); status=$$?; wait; exit $$status
compile = $(PY) build/__editable__.*/armprobe/machine/native/compile.py

# The first Python that is new enough and can make a virtual environment: Debian's needs the package python3-venv.
$(VENV)/pyvenv.cfg:
	@find_python() { \
		for python in python3 /usr/bin/python3; do \
			$$python -c 'import ensurepip, sys, venv; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && return; \
		done; return 1; \
	}; \
	find_python || { $(call get,python3-venv); find_python; } || { echo "armprobe takes a Python from 3.11 on that can \
	make virtual environments; as root: apt-get install python3-venv" >&2; exit 1; }; \
	$$python -m venv $(VENV) || { rm -rf $(VENV); exit 1; }

# compiler: there is a C compiler that finds the C library's headers, or make ends here
compiler = compiles() { echo '\#include <stdlib.h>' | $${CC:-cc} -E - >/dev/null 2>&1; }; \
	compiles || { $(call get,gcc libc6-dev); compiles; } || { echo "armprobe's core is compiled, and there is no C \
	compiler ($${CC:-cc}) with the C library's headers; as root: apt-get install gcc libc6-dev" >&2; exit 1; }

# system(command:package ...): install the packages whose command or file is missing
system = missing=; for pair in $(1); do \
	command -v $${pair%%:*} >/dev/null || [ -e $${pair%%:*} ] || missing="$$missing $${pair\#*:}"; \
	done; [ -z "$$missing" ] || $(call install,$$missing)

# install(packages): get them, and name those that cannot be had
install = { $(call get,$(1)); \
	[ -z "$$left" ] || echo "Not installed, and of use to armprobe; as root: apt-get install" $$left >&2; }

# get(packages): as root, with apt, one by one if not all can be had; leaves the others in $left
get = left="$(strip $(1))"; if [ "$$(id -u)" -eq 0 ] && command -v apt-get >/dev/null; then \
	echo installing $$left; lists=$$(apt-get -qq update 2>&1); \
	get() { DEBIAN_FRONTEND=noninteractive apt-get -qq install -y --no-install-recommends \
	-o DPkg::Lock::Timeout=120 "$$@" </dev/null 2>&1; }; \
	said=$$(get $$left) && left= || { echo "$$lists$$said" >&2; wanted=$$left; left=; \
	for package in $$wanted; do get $$package >/dev/null || left="$$left $$package"; done; }; fi
