# SPDX-License-Identifier: GPL-2.0-or-later
"""Arguments at functions' entries, in gdb: as our DWARF has them, and as that of the kernel's -dbg package has them.

That package has 260 MB, so this is in `make oracle` only. tests/gdb/test_kernel_types.py has a sample of known values.
"""

from __future__ import annotations

import os
import random
import re
import subprocess
from pathlib import Path
from typing import Final

import pytest

from armprobe import machine
from armprobe.commands import Session
from armprobe.guests.linux.debian import cache_directory, fetch_kernel, fetch_packages
from armprobe.machine.file_lock import exclusive_lock
from armprobe.probes import Kprobe, Kprobes, ProbeError
from armprobe.stub import serve
from tests.oracle.guests import FOLDER
from tests.oracle.references import EVERYTHING
from tests.progress import progress  # tests have no import name to go by
from tests.waiting import PATIENCE

FUNCTIONS: Final = 150
TRIED: Final = 6000  # functions that have a probe while the guest does its work
INSTRUCTIONS: Final = 30_000_000
WORK: Final = (
    b"cat /proc/version /proc/meminfo; ls -l /; mkdir /tmp/x; echo hello > /tmp/x/y; rm -r /tmp/x; kill -0 1; "
    b"mount -t tmpfs none /mnt; umount /mnt; dd if=/dev/zero of=/dev/null bs=4096 count=3\n"
)
# Real DWARF begins behind the two NOPs that ftrace has at a function's start (-fpatchable-function-entry).
SCRIPT: Final = """
import gdb
wanted = {wanted}
for address in wanted:
    gdb.execute("break *%#x" % address, to_string=True)
while wanted:
    gdb.execute("continue", to_string=True)
    address = int(gdb.parse_and_eval("$pc")) & (1 << 64) - 1
    name = wanted.pop(address)
    said = gdb.execute("info args", to_string=True)
    for _ in range(3):
        if "No symbol table" in said:
            gdb.execute("stepi", to_string=True)
            said = gdb.execute("info args", to_string=True)
    print("@@", name)
    print(said)
    gdb.execute("clear *%#x" % address, to_string=True)
"""

pytestmark = pytest.mark.skipif(not EVERYTHING, reason="it takes a package of 260 MB: make oracle")


def debug_vmlinux() -> Path:
    """The vmlinux of the -dbg package of the stock kernel."""
    files = fetch_kernel(progress)
    folder = cache_directory() / FOLDER / f"dbg-{files.kernel_version}_{files.package_version}"
    name = f"linux-image-{files.kernel_version}-dbg"
    with exclusive_lock(folder.with_suffix(".lock"), "another worker fetches a vmlinux: waiting for it", progress):
        found = [path for path in folder.glob("usr/lib/debug/boot/vmlinux-*") if path.is_file()]
        if not found:
            fetch_packages([name], folder, progress, suite=files.suite)
    return next(path for path in folder.glob("usr/lib/debug/boot/vmlinux-*") if path.is_file())


def entered(snapshot: Path, chance: random.Random) -> dict[int, str]:
    """Functions that the guest enters during its work, by address."""
    guest = machine.load(snapshot)
    kprobes = Kprobes(guest)
    functions = [symbol for symbol in guest.symbols.functions() if guest.symbols.is_own(symbol.name)]
    probes = []
    for symbol in chance.sample(functions, TRIED):
        try:
            probes.append((symbol, kprobes.register_kprobe(Kprobe(symbol.name))))
        except ProbeError:
            continue
    guest.console.write(WORK)
    guest.run(instructions=INSTRUCTIONS)
    return {symbol.address: symbol.name for symbol, probe in probes if probe.hits}


def arguments(
    gdb: str, snapshot: Path, wanted: dict[int, str], script: Path, *files: Path
) -> dict[str, dict[str, str]]:
    """The arguments of each of these functions at its first entry, as gdb shows them."""
    script.write_text(SCRIPT.format(wanted=wanted))
    # Without the last, gdb sends all breakpoints twice at each stop, which takes most of the time.
    settings = (
        *("set width 0", "set print symbol off", "set debuginfod enabled off"),
        "set breakpoint always-inserted on",
    )
    with Session(snapshot) as session, serve(session, "127.0.0.1:0") as server:
        session.machine.console.write(WORK)
        words = [gdb, "-nx", "-batch", *map(str, files), *(word for line in settings for word in ("-ex", line))]
        words += ["-ex", f"target remote {server.address}", "-x", str(script)]
        said = subprocess.run(
            words, capture_output=True, text=True, timeout=PATIENCE, check=True, env={**os.environ, "LC_ALL": "C"}
        ).stdout
    parts = (part.partition("\n") for part in said.split("@@ ")[1:])
    return {name: dict(re.findall(r"^(\w+) = (.*)$", text, re.MULTILINE)) for name, _, text in parts}


def test_they_equal_those_of_real_dwarf(snapshot: Path, gdb_path: str, tmp_path: Path) -> None:
    """Each value is equal or absent. Real DWARF has more: of functions without prototypes in BTF, and inlined ones."""
    seed = random.randrange(1 << 32)
    print(f"seed {seed}")
    found = entered(snapshot, random.Random(seed))
    wanted = dict(random.Random(seed).sample(sorted(found.items()), min(FUNCTIONS, len(found))))
    assert len(wanted) >= 100
    script = tmp_path / "arguments.py"
    ours = arguments(gdb_path, snapshot, wanted, script)
    theirs = arguments(gdb_path, snapshot, wanted, script, debug_vmlinux())
    assert ours.keys() == theirs.keys() == set(wanted.values())
    equal, wrong = 0, []
    for function, values in theirs.items():
        for name, value in values.items():
            mine = ours[function].get(name, "<optimized out>")
            if mine == value:
                equal += 1
            elif "<optimized out>" not in (mine, value):
                wrong.append((function, name, mine, value))
    print(f"{len(wanted)} functions, {sum(map(len, theirs.values()))} values, {equal} equal")
    assert wrong == []
    assert equal > sum(map(len, theirs.values())) * 3 // 4
