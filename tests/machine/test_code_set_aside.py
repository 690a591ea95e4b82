# SPDX-License-Identifier: GPL-2.0-or-later
"""Watching memory takes other translated code, and leaves that from before as it is."""

from collections.abc import Callable

import pytest
import unicorn

from armprobe.machine import Machine, StopReason
from armprobe.machine.core import calibration

DATA = 0x4020_0000
LOOP = f"""
    ldr x0, ={DATA:#x}; adr x3, function; ldr w4, other; mov x5, #1
    loop: bl function; str x5, [x0]; b loop
    change: str w4, [x3]; dc cvau, x3; dsb ish; ic ivau, x3; dsb ish; isb; b loop
    function: add x1, x1, #1; ret
    other: add x1, x1, #2"""
ROUND = 5  # instructions
ROUNDS = 16 * ROUND


@pytest.fixture
def translated(bare: Callable[..., Machine]) -> tuple[Machine, list[int]]:
    """A guest in that loop, and the addresses of the blocks that are translated from now on, as the engine tells."""
    guest, blocks = bare(LOOP), list[int]()
    guest.core.engine.hook_add(unicorn.UC_HOOK_EDGE_GENERATED, lambda _, block, *__: blocks.append(block.pc))
    guest.run(instructions=4 + ROUNDS)
    blocks.clear()
    guest.run(instructions=ROUNDS)
    assert blocks == []
    return guest, blocks


def test_a_watchpoint_leaves_code_translated(translated: tuple[Machine, list[int]]) -> None:
    guest, blocks = translated
    loop = guest.symbols["loop"].address
    for _ in range(2):
        guest.watchpoints.add("write", DATA + 64, 8)
        guest.run(instructions=ROUNDS)
        assert loop in blocks
        guest.watchpoints.remove("write", DATA + 64, 8)
        blocks.clear()
        guest.run(instructions=ROUNDS)
        assert blocks == []
    guest.watchpoints.add("write", DATA, 8)
    assert guest.run(instructions=ROUNDS).reason is StopReason.WATCHPOINT


def test_code_changes_while_it_is_set_aside(translated: tuple[Machine, list[int]]) -> None:
    guest, _ = translated
    guest.watchpoints.add("write", DATA + 64, 8)
    guest.registers.pc = guest.symbols["change"].address
    guest.run(instructions=20)
    guest.watchpoints.remove("write", DATA + 64, 8)
    guest.registers.pc = guest.symbols["loop"].address
    before = guest.registers.x[1]
    guest.run(instructions=10 * ROUND)
    assert guest.registers.x[1] == before + 2 * 10


def test_last_write_leaves_code_translated(translated: tuple[Machine, list[int]]) -> None:
    guest, blocks = translated
    guest.timeline.take()
    guest.run(instructions=ROUNDS)
    write = guest.timeline.last_write(DATA, 8)
    assert write is not None
    assert write.pc == guest.symbols["loop"].address + 4
    assert blocks != []
    blocks.clear()
    guest.run(instructions=ROUNDS)
    assert blocks == []


def test_code_is_dropped_where_it_cannot_be_set_aside(
    bare: Callable[..., Machine], monkeypatch: pytest.MonkeyPatch
) -> None:
    calibration.calibrate.cache_clear()
    monkeypatch.setattr(calibration, "_separates", lambda *_: False)
    guest = bare(LOOP)
    calibration.calibrate.cache_clear()
    guest.run(instructions=ROUNDS)
    guest.watchpoints.add("write", DATA, 8)
    assert guest.run(instructions=ROUNDS).reason is StopReason.WATCHPOINT
    guest.watchpoints.remove("write", DATA, 8)
    blocks = list[int]()
    guest.core.engine.hook_add(unicorn.UC_HOOK_EDGE_GENERATED, lambda _, block, *__: blocks.append(block.pc))
    assert guest.run(instructions=ROUNDS).reason is StopReason.INSTRUCTIONS
    assert guest.symbols["loop"].address in blocks
