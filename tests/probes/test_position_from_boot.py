# SPDX-License-Identifier: GPL-2.0-or-later
"""Linux from its first instruction to its shell, with probes that are set before it: the same run as without them."""

import random
from pathlib import Path

import pytest

from armprobe import machine
from armprobe.guests.linux.debian import build_initramfs
from armprobe.machine import Machine
from armprobe.probes import Kprobes
from tests.probes.test_position import LINUX_STRETCHES, compare, probe, states  # tests have no import name to go by
from tests.soak import AT_LENGTH, chance
from tests.stock import stock_kernel

PROBES = 1000 if AT_LENGTH else 100
BOOT = (
    [(100_000_000, b""), (500_000_003, b""), (320_000_001, b"")]
    if AT_LENGTH
    else [(60_000_000, b""), (90_000_001, b"")]
)


def probed_kernel(initrd: Path, optimised: bool) -> Kprobes:
    """Half of the probes are kretprobes."""
    kprobes = Kprobes(boot_kernel(initrd), "v6.1")
    symbols = kprobes.machine.symbols
    first, end = (symbols[name].address for name in ("_stext", "_etext"))
    names = sorted({symbol.name for symbol in symbols.functions() if first <= symbol.address < end})
    random.Random(12).shuffle(names)
    accepted = 0
    while accepted < PROBES:
        accepted += probe(kprobes, [names.pop()], [("kprobe", "kretprobe")[accepted % 2]], optimised)
    return kprobes


def boot_kernel(initrd: Path) -> Machine:
    return machine.load(stock_kernel().vmlinuz, initrd=initrd, memory="144M")


def text(guest: Machine) -> memoryview:
    """The words of the kernel's text."""
    first, end = (guest.symbols[name].address for name in ("_stext", "_etext"))
    return memoryview(guest.memory.read(first, end - first)).cast("I")


@pytest.mark.soak
@pytest.mark.sample(of="tests")
def test_from_boot(tmp_path: Path) -> None:
    """Linux patches its text meanwhile, and walks its page tables at the end.

    Probes are optimised or not, by chance; at length both, and on to the shell.
    """
    initrd = tmp_path / "initrd"
    initrd.write_bytes(build_initramfs(stock_kernel().busybox.read_bytes()))
    ways = (False, True) if AT_LENGTH else (chance().random() < 0.5,)
    every = [probed_kernel(initrd, optimised) for optimised in ways]
    stretches = [*BOOT, *(LINUX_STRETCHES if AT_LENGTH else ())]
    runs = [states(kprobes.machine, stretches) for kprobes in every]
    console = b""
    plain = boot_kernel(initrd)
    for without in states(plain, stretches):
        for kprobes, run in zip(every, runs, strict=True):
            compare(without, next(run), kprobes, kprobes.machine)
        console += without.console
    assert (b"\r\narmprobe-done" if AT_LENGTH else b"Linux version") in console
    for kprobes in every:
        assert sum(each.hits for each in kprobes.list()) > PROBES
        kprobes.unregister_kprobes(kprobes.list())
        words = zip(text(kprobes.machine), text(plain), strict=True)
        assert [hex(4 * number) for number, (ours, theirs) in enumerate(words) if ours != theirs] == []
