# SPDX-License-Identifier: GPL-2.0-or-later
"""What gdb makes of the memory map, which it asks for once, before and after the guest turns its MMU on."""

import re
from pathlib import Path

import pytest

from armprobe.commands import GdbError, GdbSession, Session
from armprobe.machine import board

FR = 0x18  # the PL011's flag register, which reads the same twice (Arm DDI 0183)
TOP = 1 << 64
KERNEL = "*(unsigned *) &kfree"


def listed(gdb: GdbSession) -> list[tuple[int, int]]:
    """The regions of `info mem`; all are read and written, and none is cached."""
    found = re.findall(r"^\d+\s+(\S)\s+(0x\w+) (0x\w+) +(.*?) *$", gdb.execute("info mem"), re.MULTILINE)
    assert {(enabled, attributes) for enabled, _, _, attributes in found} == {("y", "rw nocache")}
    pieces = [(int(start, 16), int(end, 16)) for _, start, end, _ in found]
    assert [end for _, end in pieces] == [*(start for start, _ in pieces[1:]), TOP]
    return pieces


def unreadable(gdb: GdbSession, expression: str) -> bool:
    with pytest.raises(GdbError) as raised:
        gdb.evaluate(expression)
    return "Cannot access memory" in str(raised.value)


def test_before_and_after_the_mmu_is_on(gdb: GdbSession, session: Session) -> None:
    """Nothing becomes unreadable by the map: what can be read is what the guest has."""
    before = listed(gdb)
    assert {(board.UART.base, board.UART.end), (board.RAM_BASE, board.RAM_BASE + board.RAM_SIZE)} <= {*before}
    flags = gdb.evaluate(f"*(unsigned *) {board.UART.base + FR:#x}")
    assert unreadable(gdb, KERNEL)
    gdb.execute("thbreak workload_round")
    gdb.continue_to_stop()
    assert listed(gdb) == before
    kfree = session.machine.memory.read(session.machine.symbols["kfree"].address, 4)
    assert int(gdb.evaluate(KERNEL)) == int.from_bytes(kfree, "little")
    assert unreadable(gdb, f"*(unsigned *) {board.UART.base + FR:#x}")
    assert gdb.evaluate(f"*(unsigned *) (0xffff800040000000 + {board.UART.base + FR:#x})") == flags
    gdb.execute("set var workload.random = 5")
    assert gdb.evaluate("workload.random") == "5"


def test_attached_with_the_mmu_on(session: Session, gdb_path: str, gdbinit: Path) -> None:
    session.run("continue until=workload_round")
    with GdbSession(session, gdb=gdb_path, gdbinit=gdbinit) as gdb:
        assert listed(gdb) == [(0, TOP >> 1), (TOP >> 1, TOP)]
        assert int(gdb.evaluate(KERNEL))
        assert unreadable(gdb, "*(unsigned *) 0")


@pytest.mark.parametrize("address", [0, 4, (TOP >> 1) - 4, TOP >> 1, TOP - 4])
def test_where_nothing_is(gdb: GdbSession, address: int) -> None:
    assert unreadable(gdb, f"*(unsigned *) {address:#x}")
    assert unreadable(gdb, f"*(unsigned char *) {address + 3:#x}")


def test_breakpoints_are_what_they_were(gdb: GdbSession) -> None:
    """gdb makes hardware breakpoints of those in read-only memory."""
    gdb.execute(f"break *{board.RAM_BASE + 0x80004:#x}")
    gdb.execute(f"hbreak *{board.RAM_BASE + 0x80008:#x}")
    kinds = re.findall(r"^\d+ +(breakpoint|hw breakpoint) ", gdb.execute("info breakpoints"), re.MULTILINE)
    assert kinds == ["breakpoint", "hw breakpoint"]
    assert [gdb.continue_to_stop().pc, gdb.continue_to_stop().pc] == [
        board.RAM_BASE + 0x80004,
        board.RAM_BASE + 0x80008,
    ]


def test_load_and_find(gdb: GdbSession) -> None:
    """They write and read across all of RAM, by physical address."""
    said = gdb.execute("load")
    assert "Loading section .head.text, size 0x98 lma 0x40080000" in said
    assert "Start address 0x0000000040080000" in said
    first = int(gdb.evaluate("*(unsigned *) 0x40080000"))
    found = gdb.execute(f"find /w {board.RAM_BASE:#x}, {board.RAM_BASE + board.RAM_SIZE - 1:#x}, {first:#x}")
    assert "0x40080000" in found
    assert gdb.execute(f"find /w 0x40080004, +0x40, {first:#x}").startswith("Pattern not found")
