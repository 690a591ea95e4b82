# SPDX-License-Identifier: GPL-2.0-or-later
"""The reader of page tables against the CPU's own walks: AT, and where it would fetch instructions from."""

import ctypes
from typing import Final, NamedTuple

import unicorn
from hypothesis import given, settings
from hypothesis import strategies as st

from armprobe import machine
from armprobe.machine import MachineError
from armprobe.machine.core.engine import LIBRARY, engine_handle
from armprobe.machine.memory.mmu import Mapping

CODE, TABLES = 0x4000_1000, 0x4010_0000
BITS = 39  # so that the top-level table is of level 1
AT_S1E1R, AT_S1E1W, AT_S1E0R, AT_S1E0W = (0xD508_7800 | op2 << 5 for op2 in range(4))
PAR_F, PAR_PA = 1, 0x0000_FFFF_FFFF_F000
TCR: Final = 2 << 32 | 2 << 30 | (64 - BITS) << 16 | (64 - BITS)  # 40 bits of output; 4 KiB granules; both ranges
TBI0, TBI1 = 1 << 37, 1 << 38
TABLE_BITS: Final = [1 << bit for bit in (59, 60, 61, 62, 63)]  # PXNTable, XNTable, APTable, NSTable
LEAF_BITS: Final = [1 << bit for bit in (53, 54, 6, 7)]  # PXN, UXN, AP
ATTRIBUTES: Final = TABLE_BITS + LEAF_BITS
ACCESSED: Final = 1 << 10 | 3 << 8 | 1 << 2  # AF, inner shareable, AttrIndx 1

guest = machine.load("demo", memory="16M")


class Entry(NamedTuple):
    kind: str  # invalid, leaf or table
    attributes: int
    output: int


entries = st.builds(
    Entry,
    st.sampled_from(["table", "table", "table", "leaf", "leaf", "invalid", "reserved"]),
    st.sets(st.sampled_from(ATTRIBUTES)).map(sum),
    st.integers(0, (1 << 32) - 1),
)


def descriptor(entry: Entry, level: int) -> int:
    """What stands at `level`; the table of the next one follows."""
    last = level == 3
    match entry.kind:
        case "table" if not last:
            return TABLES + level * 0x1000 | entry.attributes & sum(TABLE_BITS) | 3
        case "invalid":
            return entry.output << 1
        case "reserved" if last:
            return entry.output << 12 | 1
    size = 1 << 12 + 9 * (3 - level)
    return entry.output & -size | entry.attributes & sum(LEAF_BITS) | ACCESSED | (3 if last else 1)


def at(instruction: int, address: int) -> int:
    """PAR_EL1 after it. Done with the MMU on, from a block that maps itself."""
    guest.memory.physical.write(CODE, instruction.to_bytes(4, "little"))
    guest.registers.pc, guest.registers.x[0] = CODE, address
    guest.step()
    assert guest.registers.pc == CODE + 4
    return guest.registers["par_el1"]


def executable(address: int) -> bool:
    status = LIBRARY.uc_vmem_translate(
        ctypes.c_void_p(engine_handle(guest.core.engine)),
        ctypes.c_uint64(address),
        unicorn.UC_PROT_EXEC,
        ctypes.byref(ctypes.c_uint64()),
    )
    return bool(status == unicorn.UC_ERR_OK)


@settings(deadline=None, max_examples=300)
@given(
    st.tuples(entries, entries, entries),
    st.booleans(),
    st.integers(0, (1 << BITS) - 1),
    st.sampled_from([0, 0, 0x5A, 0x80, 0xFF]),
    st.sampled_from([0, TBI0, TBI1, TBI0 | TBI1]),
)
def test_walks(walk: tuple[Entry, ...], upper: bool, offset: int, tag: int, tagged: int) -> None:
    guest.reset()
    index = offset >> 30
    if not upper and index == 1:
        index = 2  # where our code is
    offset = index << 30 | offset & (1 << 30) - 1
    address = offset + ((1 << 64) - (1 << BITS) if upper else 0) ^ tag << 56
    physical = guest.memory.physical
    own_root = TABLES + 0x8000
    root = TABLES if upper else own_root
    physical.write(own_root + 8, (0x4000_0000 | 1 << 10 | 3 << 8 | 1 << 2 | 1).to_bytes(8, "little"))
    for level, entry in enumerate(walk, 1):
        table = root if level == 1 else TABLES + (level - 1) * 0x1000
        slot = offset >> 12 + 9 * (3 - level) & 511
        physical.write(table + slot * 8, descriptor(entry, level).to_bytes(8, "little"))
    registers = guest.registers
    registers["ttbr0_el1"], registers["ttbr1_el1"] = own_root, TABLES
    registers["mair_el1"], registers["tcr_el1"] = 0xFF00, TCR | tagged
    registers["sctlr_el1"] |= 1
    guest.core.forget_translations()
    found: Mapping | None
    try:
        found = guest.memory.translate(address)
    except MachineError:
        found = None
    par = at(AT_S1E1R, address)
    assert (found is None) == bool(par & PAR_F)
    if found is None:
        assert guest.core.physical(address) is None
        return
    assert found.physical & PAR_PA == par & PAR_PA
    assert found.physical & 0xFFF == address & 0xFFF
    assert guest.core.physical(address) == found.physical
    assert found.writable != bool(at(AT_S1E1W, address) & PAR_F)
    assert found.user != bool(at(AT_S1E0R, address) & PAR_F)
    assert (found.user and found.writable) != bool(at(AT_S1E0W, address) & PAR_F)
    assert found.executable == executable(address)
    last = found.remaining - 1
    assert guest.memory.translate(address + last).physical == found.physical + last
    assert (found.physical + found.remaining) % 0x1000 == 0


def test_off() -> None:
    guest.reset()
    assert guest.memory.translate(0x1234_5678).physical == 0x1234_5678
    assert guest.memory.pieces(0x4000_0FF0, 0x20) == [(0x4000_0FF0, 0x10), (0x4000_1000, 0x10)]
