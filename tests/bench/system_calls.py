# SPDX-License-Identifier: GPL-2.0-or-later
"""System calls of a stock Debian kernel, here and in QEMU."""

from __future__ import annotations

import math
from functools import partial

from armprobe import machine
from armprobe.guests import linux
from tests.bench.linux import Shell
from tests.bench.peers import booted
from tests.bench.pieces import PIECES, TURNS, cpu_seconds, least

_START = 1000
"""Blocks of a short copy, which has the start of dd and translates what there is."""


def rates(scale: float) -> dict[str, float]:
    """System calls for each second of CPU time during `dd bs=1`, in both by turns; the start of dd is taken off."""
    blocks = int(200_000 * scale) // PIECES
    here = Shell(machine.load(linux.prepare()))
    with booted() as (qemu, _):
        copies = {"system_calls": lambda count: cpu_seconds(lambda: here.dd(count)), "qemu_system_calls": qemu.dd_cpu}
        short, long = dict.fromkeys(copies, math.inf), dict.fromkeys(copies, math.inf)
        for _ in range(TURNS):
            for name, seconds in copies.items():
                short[name] = min(short[name], least(partial(seconds, _START)))
                long[name] = min(long[name], least(partial(seconds, _START + blocks)))
    return {name: 2 * blocks / (long[name] - short[name]) for name in copies}
