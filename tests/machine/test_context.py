# SPDX-License-Identifier: GPL-2.0-or-later
"""The registers side by side, against what the CPU itself reads and writes."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from armprobe.machine import Machine, MachineError, load
from armprobe.machine.core.registers import NAMES
from armprobe.machine.core.sysregs import SYSTEM_REGISTERS

guest = load("demo", memory="16M")
CODE = 0x4000_1000
MRS_X0_NZCV, MRS_X1_DAIF, MRS_X2_CURRENTEL, MRS_X3_SPSEL = 0xD53B4200, 0xD53B4221, 0xD5384242, 0xD5384203
MOV_X4_SP, SVC = 0x910003E4, 0xD4000001

flags = st.integers(0, 15).map(lambda bits: bits << 28)
masks = st.integers(0, 15).map(lambda bits: bits << 6)


@given(flags, masks, st.sampled_from([4, 5]))
def test_pstate_is_what_the_cpu_sees(nzcv: int, daif: int, mode: int) -> None:
    """Written as one word, read by MRS in its parts (Arm ARM, C5.2); at EL1, as EL0 may not read all of them."""
    guest.reset()
    words = (MRS_X0_NZCV, MRS_X1_DAIF, MRS_X2_CURRENTEL, MRS_X3_SPSEL, MOV_X4_SP)
    guest.memory.write(CODE, b"".join(word.to_bytes(4, "little") for word in words))
    guest.registers["sp_el0"], guest.registers["sp_el1"] = 0x4000_9000, 0x4000_8000
    guest.registers.pstate = nzcv | daif | mode
    assert guest.registers.pstate == nzcv | daif | mode
    guest.registers.pc = CODE
    guest.step(len(words))
    seen = [guest.registers.x[i] for i in range(5)]
    assert seen == [nzcv, daif, 1 << 2, mode & 1, 0x4000_8000 if mode & 1 else 0x4000_9000]


@given(flags, masks, st.sampled_from([0, 4, 5]))
def test_pstate_goes_to_spsr_and_back(nzcv: int, daif: int, mode: int) -> None:
    """An exception puts it in SPSR_EL1 as a whole, and ERET takes it from there."""
    guest.reset()
    guest.memory.write(CODE, SVC.to_bytes(4, "little"))
    guest.memory.write(0x4000_2000, (0xD69F03E0).to_bytes(4, "little") * 0x200)  # eret at every vector
    guest.registers["vbar_el1"] = 0x4000_2000
    guest.registers.pstate, guest.registers.pc = nzcv | daif | mode, CODE
    guest.step()
    assert guest.registers["spsr_el1"] == nzcv | daif | mode
    guest.step()
    assert guest.registers.pc == CODE + 4
    assert guest.registers.pstate == nzcv | daif | mode


@pytest.mark.parametrize("name", sorted({*NAMES} - {*SYSTEM_REGISTERS} - {"pstate", "pc"}))
def test_a_register_written_is_read_back(name: str) -> None:
    guest.reset()
    value = {"v": 0x0123_4567_89AB_CDEF_0011_2233_4455_6677, "f": 0}.get(name[0], 0xFEDC_BA98_7654_3210)
    others = {other: guest.registers[other] for other in NAMES if other != name}
    guest.registers[name] = value
    assert guest.registers[name] == value
    banked = {"sp_el1"} if name == "sp" else set()
    assert {other for other in others if guest.registers[other] != others[other]} == banked


def test_the_stack_pointer_in_use_is_one_of_the_banked() -> None:
    """SP is SP_EL1 at EL1h and SP_EL0 at EL1t (Arm ARM, D1.2.2); what is not in use keeps."""
    guest.reset()
    registers = guest.registers
    registers["sp_el0"], registers["sp_el1"] = 0x1000, 0x2000
    assert (registers.sp, registers["sp_el0"], registers["sp_el1"]) == (0x2000, 0x1000, 0x2000)
    registers.pstate = 0x3C4
    assert (registers.sp, registers["sp_el0"], registers["sp_el1"]) == (0x1000, 0x1000, 0x2000)
    registers.sp = 0x3000
    assert (registers.sp, registers["sp_el0"], registers["sp_el1"]) == (0x3000, 0x3000, 0x2000)


@pytest.mark.parametrize("mode", [1, 2, 3, 6, 8, 9, 0xC, 0xD, 0x10, 0x13, 0x1F])
def test_modes_that_are_not_there(mode: int) -> None:
    """EL2, EL3, AArch32, and what is no mode at all."""
    guest.reset()
    before = guest.registers.pstate
    with pytest.raises(MachineError, match="none of EL0t"):
        guest.registers.pstate = 0x3C0 | mode
    assert guest.registers.pstate == before


@pytest.mark.parametrize("name", ["x31", "w0", "r0", "", "x-1", "v32", "hcr_el2", "x\u0661"])
def test_unknown_registers(name: str) -> None:
    with pytest.raises(MachineError, match="there is no register"):
        guest.registers[name]
    with pytest.raises(MachineError, match="there is no register"):
        guest.registers[name] = 0


def test_general_registers_by_number() -> None:
    guest.registers.x[30] = -1
    assert guest.registers.x[30] == (1 << 64) - 1
    assert len(guest.registers.x) == 31
    for number in (31, -1):
        with pytest.raises(IndexError):
            guest.registers.x[number]
        with pytest.raises(IndexError):
            guest.registers.x[number] = 0


def test_registers_of_another_machine_are_its_own() -> None:
    other: Machine = load("demo", memory="16M")
    other.registers.x[0] = 7
    guest.registers.x[0] = 8
    assert other.registers.x[0] == 7


@pytest.mark.parametrize("name", ["midr_el1", "id_aa64mmfr0_el1", "ctr_el0", "afsr0_el1"])
def test_a_register_that_cannot_be_written(name: str) -> None:
    """It is said, or a debugger would show what it believes to have written. To write what there is, as a debugger does
    that puts back what it saved, is no error."""
    guest.reset()
    registers = guest.registers
    before = registers[name]
    with pytest.raises(MachineError, match=f"{name} cannot be written: it stays {before:#x}"):
        registers[name] = before ^ 0x10
    registers[name] = before
    assert registers[name] == before
    registers["vbar_el1"] = 0x4008_0010  # bits 10:0 are RES0
    assert registers["vbar_el1"] & ~0x7FF == 0x4008_0000
