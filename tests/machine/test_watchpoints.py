# SPDX-License-Identifier: GPL-2.0-or-later
"""Watchpoints: the stop comes before the access takes effect (Arm ARM, D2.10)."""

from collections.abc import Callable

import pytest

from armprobe.machine import Machine, MachineError, StopReason, WatchHit

DATA = 0x4020_0000
ACCESSES = {
    "strb": ("strb w1, [x0, #3]", "write", DATA + 3, 1, 0xF0),
    "str": ("str x1, [x0, #8]", "write", DATA + 8, 8, 0x1234_5678_9ABC_DEF0),
    "ldrh": ("ldrh w2, [x0, #2]", "read", DATA + 2, 2, 0),
    "post-indexed": ("ldr x0, [x0], #16", "read", DATA, 8, 0),
}


@pytest.mark.parametrize("name", ACCESSES)
def test_before_the_access(name: str, bare: Callable[..., Machine]) -> None:
    code, kind, address, size, value = ACCESSES[name]
    guest = bare(f"ldr x0, ={DATA:#x}; ldr x1, =0x123456789abcdef0; nop; {code}; mov x5, #1; b .")
    guest.memory.write(DATA, bytes(range(32)))
    guest.watchpoints.add(kind, address, size)
    stop = guest.run(instructions=100)
    assert (stop.reason, guest.instructions) == (StopReason.WATCHPOINT, 3)
    before = int.from_bytes(bytes(range(32))[address - DATA :][:size], "little") if kind == "write" else None
    assert stop.detail == WatchHit(kind, address, size, value, before)
    assert guest.memory.read(DATA, 32) == bytes(range(32))
    assert (guest.registers.x[0], guest.registers.x[2]) == (DATA, 0)
    assert guest.run(instructions=2).reason is StopReason.INSTRUCTIONS
    assert (guest.instructions, guest.registers.x[5]) == (5, 1)
    if kind == "write":
        assert int.from_bytes(guest.memory.read(address, size), "little") == value


MMU = """
    ldr x0, =0x40600000; msr ttbr0_el1, x0; mov x0, #0xff; msr mair_el1, x0
    ldr x0, =0x803519; msr tcr_el1, x0; isb
    mrs x0, sctlr_el1; orr x0, x0, #1; msr sctlr_el1, x0; isb
"""
NEVER_EXECUTED = 1 << 53  # PXN


def map_data(guest: Machine, attributes: int = 0) -> None:
    """For code that begins with `MMU`: map 0x40400000 to 0x40200000 (D8.3: a table and blocks of 2 MiB)."""
    for address, entry in {
        0x4060_0008: 0x4060_1003,
        0x4060_1000: 0x4000_0701,
        0x4060_1010: 0x4020_0701 | attributes,
    }.items():
        guest.memory.physical.write(address, entry.to_bytes(8, "little"))


@pytest.mark.parametrize("access", ["ldr x2, [x0]", "str x2, [x0]"])
def test_beside_what_the_guest_watches(access: str, bare: Callable[..., Machine]) -> None:
    """It accesses that page, though the page of the code has the same place in the engine's TLB, by number."""
    guest = bare(f"""
        {MMU}
        adr x0, .; and x0, x0, #-4096; add x0, x0, #0x400000
        add x1, x0, #8; msr dbgwvr0_el1, x1; ldr x1, =0x1ffb; msr dbgwcr0_el1, x1; msr oslar_el1, xzr
        mov x1, #0xa000; msr mdscr_el1, x1; msr daifclr, #8; isb
        ldr x2, =0x123456789abcdef0; {access}; b .""")
    data = (guest.registers.pc & 0x3F_F000) + 0x4020_0000
    map_data(guest)
    guest.memory.physical.write(data, b"\xa5" * 8)
    assert guest.run(instructions=100).reason is StopReason.INSTRUCTIONS
    value = (guest.registers.x[2]).to_bytes(8, "little")
    assert guest.memory.physical.read(data, 8) == value
    assert (value == b"\xa5" * 8) is access.startswith("ldr")


@pytest.mark.parametrize("offset", [0, 24, 40, 63])
def test_zeroing_a_block(offset: int, bare: Callable[..., Machine]) -> None:
    """DC ZVA writes a whole block (DCZID_EL0); nothing of it is gone when the machine stops before."""
    guest = bare(f"ldr x0, ={DATA + offset:#x}; mrs x3, dczid_el0; dc zva, x0; mov x5, #1; b .")
    guest.memory.write(DATA - 64, b"\xa5" * 192)
    guest.watchpoints.add("write", DATA + 40, 8)
    stop = guest.run(instructions=100)
    assert stop.reason is StopReason.WATCHPOINT
    assert stop.detail == WatchHit("write", DATA + 40, 8, 0, 0xA5A5_A5A5_A5A5_A5A5)
    assert 4 << guest.registers.x[3] == 64
    assert guest.instructions == 2
    assert guest.memory.read(DATA - 64, 192) == b"\xa5" * 192
    assert guest.run(instructions=2).reason is StopReason.INSTRUCTIONS
    assert guest.memory.read(DATA - 64, 192) == b"\xa5" * 64 + bytes(64) + b"\xa5" * 64
    assert guest.registers.x[5] == 1
    guest.watchpoints.remove("write", DATA + 40, 8)
    assert guest.run(instructions=2).reason is StopReason.INSTRUCTIONS


def test_zeroing_blocks_of_a_page_that_was_written_to(bare: Callable[..., Machine]) -> None:
    """Each is a write (Arm ARM, C6.2, DC), as in the kernel's clear_page."""
    guest = bare(f"""
        {MMU}
        ldr x0, =0x40403000; mov x2, #64; str x2, [x0, #256]
        1: dc zva, x0; add x0, x0, #64; subs x2, x2, #1; b.ne 1b; b .""")
    map_data(guest, NEVER_EXECUTED)
    guest.memory.physical.write(0x4020_3000, b"\xa5" * 4096)
    assert guest.run(instructions=13).reason is StopReason.INSTRUCTIONS
    begun = guest.instructions + 1
    watched = [0x4040_3008 + 64 * block for block in (0, 1, 5, 63)]
    for address in watched:
        guest.watchpoints.add("write", address, 8)
    for address in watched:
        stop = guest.run(instructions=300)
        assert stop.detail == WatchHit("write", address, 8, 0, 0xA5A5_A5A5_A5A5_A5A5)
        assert guest.instructions == begun + 4 * ((address & 0xFFF) // 64)
    assert guest.run(instructions=300).reason is StopReason.INSTRUCTIONS
    assert guest.memory.read(0x4040_3000, 4096) == bytes(4096)


@pytest.mark.parametrize(
    "store", ["stp x1, x1, [x0]", "stp q1, q1, [x0]", "st1 {v1.2d, v2.2d, v3.2d, v4.2d}, [x0], #64"]
)
def test_an_instruction_that_goes_on_to_write(store: str, bare: Callable[..., Machine]) -> None:
    """None of its stores has been made, nor its address been moved on."""
    guest = bare(f"mov x3, #(3 << 20); msr cpacr_el1, x3; isb; ldr x0, ={DATA + 24:#x}; mov x1, #-1; {store}; b .")
    guest.memory.write(DATA, b"\xa5" * 128)
    guest.watchpoints.add("write", DATA + 24, 8)
    assert guest.run(instructions=100).reason is StopReason.WATCHPOINT
    assert guest.memory.read(DATA, 128) == b"\xa5" * 128
    assert (guest.instructions, guest.registers.x[0]) == (5, DATA + 24)
    guest.step()
    assert guest.memory.read(DATA + 24, 16) != b"\xa5" * 16


@pytest.mark.parametrize("times", [1, 3])
@pytest.mark.parametrize(
    ("store", "at"),
    [
        ("stp x1, x1, [x0]", 8),
        ("stp x1, x1, [x0, #16]!", 24),
        ("stp q1, q1, [x0]", 8),
        ("stp q1, q1, [x0]", 24),
        ("st1 {v1.2d, v2.2d, v3.2d, v4.2d}, [x0]", 24),
        ("st1 {v1.2d, v2.2d, v3.2d, v4.2d}, [x0]", 56),
    ],
)
def test_an_instruction_that_has_begun_to_write(store: str, at: int, times: int, bare: Callable[..., Machine]) -> None:
    """What is watched it writes last: nothing of what it has written before that is there, what others wrote is."""
    start = 16 if "!" in store else 0
    others = f"{store.replace('!', '')}; " * (times - 1)
    code = f"ldr x0, ={DATA - 64:#x}; mov x1, #-1; {others} add x0, x0, #64; {store}; b ."
    guest = bare(f"mov x3, #(3 << 20); msr cpacr_el1, x3; isb; {code}")
    guest.memory.write(DATA - 64, b"\xa5" * 192)
    guest.watchpoints.add("write", DATA + at, 8)
    assert guest.run(instructions=100).reason is StopReason.WATCHPOINT
    assert guest.memory.read(DATA, 128) == b"\xa5" * 128
    assert (guest.memory.read(DATA - 64 + start, 8) == b"\xa5" * 8) == (times == 1)
    assert guest.registers.x[0] == DATA
    guest.step()
    assert guest.memory.read(DATA + start, 16) != b"\xa5" * 16
    assert guest.memory.read(DATA + at, 8) != b"\xa5" * 8


@pytest.mark.parametrize("kind", ["write", "access"])
@pytest.mark.parametrize("offset", [0, 4, 8, 15])
@pytest.mark.parametrize(
    ("cpu", "before", "pair"),
    [
        ("cortex-a57", "ldaxp x6, x7, [x0]", "stlxp w1, x2, x3, [x0]"),
        ("cortex-a57", "ldxp x6, x7, [x0]", "stxp w1, x2, x3, [x0]"),
        ("max", "ldp x6, x7, [x0]", "casp x6, x7, x2, x3, [x0]"),
    ],
)
def test_a_pair_is_written_as_one(
    cpu: str, before: str, pair: str, offset: int, kind: str, bare: Callable[..., Machine]
) -> None:
    """Stopped before, and gone on from, it finds in memory what it expects, and succeeds."""
    guest = bare(f".arch armv8.1-a; ldr x0, ={DATA:#x}; mov x2, #-1; mov x3, #-2; {before}; {pair}; b .", cpu)
    old, new = bytes(range(16)), b"\xff" * 8 + b"\xfe" + b"\xff" * 7
    guest.memory.write(DATA, old)
    assert guest.run(instructions=4).reason is StopReason.INSTRUCTIONS
    guest.watchpoints.add(kind, DATA + offset, 1)
    stop = guest.run(instructions=100)
    assert stop.reason is StopReason.WATCHPOINT
    if (kind, cpu) == ("access", "max"):  # which loads, too, and that first
        assert (stop.detail.before, guest.memory.read(DATA, 16)) == (None, old)
    else:
        assert stop.detail == WatchHit(kind, DATA + offset, 1, new[offset], old[offset])
    assert (guest.instructions, guest.memory.read(DATA, 16)) == (4, old)
    assert guest.run(instructions=1).reason is StopReason.INSTRUCTIONS
    assert guest.memory.read(DATA, 16) == new


@pytest.mark.parametrize(
    ("load", "store"),
    [("ldxr w1, [x0]", "stxr w2, w3, [x0]"), ("ldaxp x1, x4, [x0]", "stlxp w2, x3, x5, [x0]")],
)
def test_a_store_exclusive_is_no_load(load: str, store: str, bare: Callable[..., Machine]) -> None:
    guest = bare(f"ldr x0, ={DATA:#x}; mov x3, #5; {load}; {store}; ldr x6, [x0]; b .")
    assert guest.run(instructions=3).reason is StopReason.INSTRUCTIONS
    guest.watchpoints.add("read", DATA, 8)
    assert guest.run(instructions=100).reason is StopReason.WATCHPOINT
    assert (guest.instructions, guest.registers.x[2], guest.memory.u32(DATA)) == (4, 0, 5)


def test_an_access_that_begins_before(bare: Callable[..., Machine]) -> None:
    """Across the start of a page, and of what is watched."""
    start = DATA + 0x1000
    guest = bare(f"ldr x0, ={start - 4:#x}; ldr x1, =-1; stur x1, [x0, #-8]; stur x1, [x0]; b .")
    guest.watchpoints.add("write", start, 4)
    stop = guest.run(instructions=100)
    assert (stop.reason, guest.instructions) == (StopReason.WATCHPOINT, 3)
    assert guest.memory.read(start - 4, 8) == bytes(8)


def test_neighbours_are_not_watched(bare: Callable[..., Machine]) -> None:
    """In the same block, on both sides."""
    guest = bare(f"ldr x0, ={DATA:#x}; str x1, [x0, #32]; str x1, [x0, #48]; add x2, x0, #64; dc zva, x2; b .")
    guest.watchpoints.add("access", DATA + 40, 8)
    assert guest.run(instructions=100).reason is StopReason.INSTRUCTIONS


@pytest.mark.parametrize(("address", "size"), [(0x0900_0000, 4), (0x3FFF_FFFC, 8), (DATA, 0)])
def test_what_cannot_be_watched(address: int, size: int, bare: Callable[..., Machine]) -> None:
    guest = bare("b .")
    with pytest.raises(MachineError, match="be watched"):
        guest.watchpoints.add("write", address, size)
    assert not guest.watchpoints


def test_one_of_two_is_removed(bare: Callable[..., Machine]) -> None:
    """The engine goes on to look for the other at each access, though it knows the page from the write before."""
    guest = bare(f"""
        {MMU}
        ldr x0, ={DATA + (2 << 20):#x}
        1: str x1, [x0, #256]; str x1, [x0]; b 1b""")
    map_data(guest, NEVER_EXECUTED)
    guest.run(instructions=30)
    for offset in (0, 1024):
        guest.watchpoints.add("write", DATA + (2 << 20) + offset, 8)
    guest.watchpoints.remove("write", DATA + (2 << 20) + 1024, 8)
    stop = guest.run(instructions=30)
    assert stop.reason is StopReason.WATCHPOINT
