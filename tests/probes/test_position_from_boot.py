# SPDX-License-Identifier: GPL-2.0-or-later
"""Linux from its first instruction to its shell, with probes that are set before it: the same run as without them."""

import os
import random
from pathlib import Path

import pytest

from armprobe import machine
from armprobe.guests.linux.debian import build_initramfs
from armprobe.probes import Kprobes
from tests.probes.test_position import LINUX_STRETCHES, compare, probe, states  # tests have no import name to go by
from tests.stock import stock_kernel

PROBES = 1000 if os.environ.get("ARMPROBE_ORACLE") == "all" else 100
BOOT = [(100_000_000, b""), (500_000_003, b""), (320_000_001, b"")]


@pytest.mark.parametrize("optimised", [False, True])
def test_from_boot(tmp_path: Path, optimised: bool) -> None:
    """Half of them are kretprobes. Linux patches its text meanwhile, and walks its page tables at the end."""
    initrd = tmp_path / "initrd"
    initrd.write_bytes(build_initramfs(stock_kernel().busybox.read_bytes()))
    plain, probed = (machine.load(stock_kernel().vmlinuz, initrd=initrd, memory="192M") for _ in range(2))
    kprobes = Kprobes(probed, "v6.1")
    first, end = (probed.symbols[name].address for name in ("_stext", "_etext"))
    names = sorted({symbol.name for symbol in probed.symbols.functions() if first <= symbol.address < end})
    random.Random(12).shuffle(names)
    accepted = 0
    while accepted < PROBES:
        accepted += probe(kprobes, [names.pop()], [("kprobe", "kretprobe")[accepted % 2]], optimised)
    console = b""
    stretches = [*BOOT, *LINUX_STRETCHES]
    for without, with_probes in zip(states(plain, stretches), states(probed, stretches), strict=True):
        compare(without, with_probes, kprobes, probed)
        console += without.console
    assert b"\r\narmprobe-done" in console
    assert sum(each.hits for each in kprobes.list()) > PROBES
