# SPDX-License-Identifier: GPL-2.0-or-later
"""The kernel's memory as the C core finds it by the guest's tables, and as the engine's own translation has it."""

from __future__ import annotations

import ctypes
import random
import secrets
from pathlib import Path

from armprobe import machine
from armprobe.machine import Machine
from armprobe.machine.memory.mmu import translate
from armprobe.machine.native.binding import function

_FIND = function("armprobe_kernel_page", ctypes.c_void_p, ctypes.c_void_p, ctypes.c_uint64, ctypes.c_uint64)


def found(guest: Machine, address: int, size: int) -> bytes | None:
    """What C finds by the tables in RAM; None where it leaves it to the engine."""
    at = _FIND(guest.core.native.address, address, size)
    return None if at is None else ctypes.string_at(at, size)


def test_it_is_what_the_engine_reads(snapshot: Path) -> None:
    """At symbols, in the linear map, the vmalloc area and the fixmap, and at addresses without a meaning."""
    guest = machine.load(snapshot)
    guest.run(instructions=1000)
    seed = secrets.randbits(32)
    print(f"seed {seed}")
    rng = random.Random(seed)
    addresses = [symbol.address for symbol in rng.sample(list(guest.symbols.own()), 2000)]
    top = 1 << 64
    addresses += [top - rng.randrange(1 << rng.randrange(12, 49)) for _ in range(4000)]
    task = guest.registers["sp_el0"]
    addresses += [task + rng.randrange(-32 << 20, 32 << 20) for _ in range(2000)]
    addresses += [rng.randrange(top) for _ in range(500)]
    hits = 0
    for address in addresses:
        size = rng.choice((1, 4, 8, 16))
        if address % 4096 + size > 4096:
            continue
        ours, theirs = found(guest, address, size), guest.core.read_virtual(address, size)
        assert ours is None or ours == theirs, hex(address)
        hits += ours is not None
    assert hits > 3000


def test_tables_with_any_bits() -> None:
    """Bits of the tables that translate an address are inverted, one or two at a time: none is read that the engine
    would not read, and nothing else."""
    seed = secrets.randbits(32)
    print(f"seed {seed}")
    rng = random.Random(seed)
    demo = machine.load("demo")
    demo.run(instructions=100_000)
    address = demo.registers.sp & ~0xFFF
    assert found(demo, address, 8) == demo.core.read_virtual(address, 8)
    entries = []
    physical = demo.memory.physical

    def read_entry(at: int) -> int:
        entries.append(at)
        return int.from_bytes(physical.read(at, 8), "little")

    translate(demo.core.translation_registers(), read_entry, address)
    kept = same = 0
    for _ in range(2000):
        at = rng.choice(entries)
        before = physical.read(at, 8)
        changed = int.from_bytes(before, "little") ^ 1 << rng.randrange(64) ^ rng.choice((0, 1 << rng.randrange(64)))
        physical.write(at, changed.to_bytes(8, "little"))
        demo.core.forget_addresses()
        ours, theirs = found(demo, address, 8), demo.core.read_virtual(address, 8)
        physical.write(at, before)
        assert ours is None or ours == theirs, f"{changed:#x} at level {entries.index(at)}"
        kept += ours is None
        same += ours is not None
    assert min(kept, same) > 100
