# SPDX-License-Identifier: GPL-2.0-or-later
"""The guest's counters are the machine's clock, whoever reads them from where."""

from collections.abc import Callable

import pytest

from armprobe.machine import Machine

LATER = 0x4030_0000
READS = {"virtual": 0xD53B_E040, "physical": 0xD53B_E020, "virtual, self-synchronised": 0xD53B_E0C0}  # mrs x0, ...
READ_CVAL, RET, NOP = 0xD53B_E340, 0xD65F_03C0, 0xD503_201F


def code(*words: int) -> bytes:
    return b"".join(word.to_bytes(4, "little") for word in words)


@pytest.mark.parametrize("word", [w for name, w in READS.items() if "self" not in name])
def test_code_that_was_not_there_at_the_start(word: int, bare: Callable[..., Machine]) -> None:
    """As a module's: to the instruction from its first time on, and again where other code takes its place."""
    guest = bare(f"ldr x3, ={LATER:#x}; 1: blr x3; mov x4, x0; blr x3; sub x5, x0, x4; hvc #0x111; b 1b")
    guest.memory.write(LATER, code(NOP, word, RET))
    guest.run(instructions=4)
    assert guest.registers.x[0] == guest.clock.now  # the instruction itself is counted
    guest.run(instructions=7)
    assert guest.registers.x[5] == 5
    other = LATER + 0x1000
    guest.memory.write(other, code(word, RET))
    guest.registers.pc = other
    guest.step()
    assert guest.registers.x[0] == guest.clock.now


def test_timers_written_by_code_that_was_not_there(bare: Callable[..., Machine]) -> None:
    guest = bare("b .")
    guest.memory.write(LATER, code(0xD51B_E340, 0xD53B_E341, NOP))  # msr cntv_cval_el0, x0; mrs x1, cntv_cval_el0
    guest.registers.x[0], guest.registers.pc = 0x1234_5678_9ABC, LATER
    guest.step(2)
    assert guest.core.timers[3].compare == guest.registers.x[1] == 0x1234_5678_9ABC
