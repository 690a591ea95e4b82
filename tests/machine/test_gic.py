# SPDX-License-Identifier: GPL-2.0-or-later
"""The interrupt controller's registers, as the GICv2 architecture has them (Arm IHI 0048B)."""

import pytest

from armprobe.machine.devices import Gic
from armprobe.machine.state import StateRegistry

CTLR, TYPER, ISENABLER, ICENABLER, ISPENDR, ICPENDR = 0x000, 0x004, 0x100, 0x180, 0x200, 0x280
ISACTIVER, ICACTIVER, IPRIORITYR, ITARGETSR, ICFGR = 0x300, 0x380, 0x400, 0x800, 0xC00
SGIR, CPENDSGIR, SPENDSGIR = 0xF00, 0xF10, 0xF20
C_CTLR, C_PMR, C_IAR, C_EOIR, C_RPR, C_HPPIR, C_DIR = 0x00, 0x04, 0x0C, 0x10, 0x14, 0x18, 0x1000
SPURIOUS, IDLE = 1023, 0xFF
PPI, SPI, OTHER = 27, 33, 40


class Rig:
    """A distributor and its CPU interface, both enabled, nothing masked by priority."""

    def __init__(self) -> None:
        self.gic = Gic(StateRegistry())
        self.cpu = self.gic.interfaces[0]
        self.gic.write(CTLR, 4, 1)
        self.cpu.write(C_CTLR, 4, 1)
        self.cpu.write(C_PMR, 4, 0xF8)

    def bit(self, register: int, number: int) -> bool:
        return bool(self.gic.read(register + number // 32 * 4, 4) >> number % 32 & 1)

    def set(self, register: int, number: int) -> None:
        self.gic.write(register + number // 32 * 4, 4, 1 << number % 32)

    def priority(self, number: int, value: int) -> None:
        self.gic.write(IPRIORITYR + number, 1, value)


@pytest.fixture
def rig() -> Rig:
    return Rig()


@pytest.mark.parametrize("number", [PPI, SPI])
def test_a_level_from_line_to_end(rig: Rig, number: int) -> None:
    """3.2.4: pending, active and pending, active, inactive; an asserted level is pending again."""
    rig.set(ISENABLER, number)
    assert rig.gic.pending_interrupt() == SPURIOUS
    rig.gic.set_line(number, True)
    assert rig.bit(ISPENDR, number)
    assert (rig.cpu.read(C_HPPIR, 4), rig.gic.pending_interrupt()) == (number, number)
    assert rig.cpu.read(C_IAR, 4) == number
    assert rig.bit(ISACTIVER, number)
    assert rig.cpu.read(C_IAR, 4) == SPURIOUS
    rig.cpu.write(C_EOIR, 4, number)
    assert not rig.bit(ISACTIVER, number)
    assert rig.cpu.read(C_IAR, 4) == number
    rig.gic.set_line(number, False)
    assert not rig.bit(ISPENDR, number)
    rig.cpu.write(C_EOIR, 4, number)
    assert rig.gic.pending_interrupt() == SPURIOUS


def test_an_edge_is_remembered_once(rig: Rig) -> None:
    rig.set(ISENABLER, SPI)
    rig.gic.write(ICFGR + SPI // 16 * 4, 4, 2 << SPI % 16 * 2)
    for _ in range(2):
        rig.gic.set_line(SPI, True)
        rig.gic.set_line(SPI, False)
    assert rig.cpu.read(C_IAR, 4) == SPI
    assert not rig.bit(ISPENDR, SPI)
    rig.gic.set_line(SPI, True)  # while active: pending again after its end
    assert rig.cpu.read(C_IAR, 4) == SPURIOUS
    rig.cpu.write(C_EOIR, 4, SPI)
    assert rig.cpu.read(C_IAR, 4) == SPI


@pytest.mark.parametrize("off", ["distributor", "interface", "enable", "mask"])
def test_what_keeps_an_interrupt_away(rig: Rig, off: str) -> None:
    """4.3.1, 4.4.1, 4.3.6, and 4.4.2: only a priority higher than (a value below) the mask is signalled."""
    rig.set(ISENABLER, SPI)
    rig.priority(SPI, 0x80)
    rig.gic.set_line(SPI, True)
    assert rig.gic.pending_interrupt() == SPI
    match off:
        case "distributor":
            rig.gic.write(CTLR, 4, 0)
        case "interface":
            rig.cpu.write(C_CTLR, 4, 0)
        case "enable":
            rig.set(ICENABLER, SPI)
        case "mask":
            rig.cpu.write(C_PMR, 4, 0x80)
    assert rig.gic.pending_interrupt() == SPURIOUS
    assert rig.cpu.read(C_IAR, 4) == SPURIOUS
    assert rig.bit(ISPENDR, SPI)


def test_priorities(rig: Rig) -> None:
    """3.3: the highest is first, of equal ones the lowest number; a higher one preempts, an equal one does not."""
    for number, priority in ((OTHER, 0x40), (SPI, 0x80), (PPI, 0x80)):
        rig.set(ISENABLER, number)
        rig.priority(number, priority)
    rig.gic.set_line(SPI, True)
    rig.gic.set_line(PPI, True)
    assert rig.cpu.read(C_RPR, 4) == IDLE
    assert rig.cpu.read(C_IAR, 4) == PPI
    assert rig.cpu.read(C_RPR, 4) == 0x80
    assert rig.gic.pending_interrupt() == SPURIOUS
    rig.gic.set_line(OTHER, True)
    assert rig.cpu.read(C_IAR, 4) == OTHER
    assert rig.cpu.read(C_RPR, 4) == 0x40
    rig.gic.set_line(OTHER, False)
    rig.cpu.write(C_EOIR, 4, OTHER)
    assert rig.cpu.read(C_RPR, 4) == 0x80
    rig.gic.set_line(PPI, False)
    rig.cpu.write(C_EOIR, 4, PPI)
    assert rig.cpu.read(C_IAR, 4) == SPI


def test_end_and_deactivation_apart(rig: Rig) -> None:
    """4.4.5 and 4.4.15: with EOImode, EOIR drops the priority only and DIR deactivates."""
    rig.cpu.write(C_CTLR, 4, 1 << 9 | 1)
    assert rig.cpu.read(C_CTLR, 4) == 1 << 9 | 1
    rig.set(ISENABLER, SPI)
    rig.gic.set_line(SPI, True)
    assert rig.cpu.read(C_IAR, 4) == SPI
    rig.cpu.write(C_EOIR, 4, SPI)
    assert rig.cpu.read(C_RPR, 4) == IDLE
    assert rig.bit(ISACTIVER, SPI)
    assert rig.gic.pending_interrupt() == SPURIOUS
    rig.cpu.write(C_DIR, 4, SPI)
    assert not rig.bit(ISACTIVER, SPI)
    assert rig.gic.pending_interrupt() == SPI


@pytest.mark.parametrize(
    ("value", "pending"), [(1 << 16 | 3, True), (2 << 24 | 3, True), (1 << 24 | 3, False), (3, False)]
)
def test_software_interrupts(rig: Rig, value: int, pending: bool) -> None:
    """4.3.15: to the CPUs of a list, to all others, or to oneself; they are enabled always (4.3.5)."""
    rig.gic.write(SGIR, 4, value)
    assert rig.bit(ISPENDR, 3) == pending
    assert rig.cpu.read(C_IAR, 4) == (3 if pending else SPURIOUS)
    assert not rig.bit(ISPENDR, 3)


def test_software_interrupts_by_byte(rig: Rig) -> None:
    """4.3.16 and 4.3.17."""
    rig.gic.write(SPENDSGIR + 4, 4, 1 << 8)
    assert rig.bit(ISPENDR, 5)
    assert rig.gic.read(CPENDSGIR + 4, 4) == 1 << 8
    rig.gic.write(CPENDSGIR + 4, 4, 1 << 8)
    assert not rig.bit(ISPENDR, 5)
    rig.gic.write(ISPENDR, 4, 1 << 5)  # 4.3.7: not for SGIs
    assert not rig.bit(ISPENDR, 5)


def test_pending_by_register(rig: Rig) -> None:
    """4.3.7 and 4.3.8: ICPENDR takes back what ISPENDR did, but not a level that is asserted."""
    rig.set(ISENABLER, SPI)
    rig.set(ISPENDR, SPI)
    assert rig.gic.pending_interrupt() == SPI
    rig.set(ICPENDR, SPI)
    assert rig.gic.pending_interrupt() == SPURIOUS
    rig.gic.set_line(SPI, True)
    rig.set(ICPENDR, SPI)
    assert rig.gic.pending_interrupt() == SPI


def test_active_by_register(rig: Rig) -> None:
    rig.set(ISENABLER, SPI)
    rig.gic.set_line(SPI, True)
    rig.set(ISACTIVER, SPI)
    assert rig.gic.pending_interrupt() == SPURIOUS
    rig.set(ICACTIVER, SPI)
    assert rig.gic.pending_interrupt() == SPI


def test_identification_and_widths(rig: Rig) -> None:
    gic = rig.gic
    assert gic.read(TYPER, 4) & 0x1F == 1  # 4.3.2: 32 * (N + 1) interrupts
    assert gic.read(TYPER, 4) >> 5 & 7 == 0  # one CPU
    assert gic.read(ITARGETSR + SPI, 1) == 0  # 4.3.12: RAZ/WI
    assert gic.read(0xFE8, 4) >> 4 == 2  # 4.3.18: GICv2
    gic.write(IPRIORITYR + 32, 4, 0x1020_40FF)
    assert gic.read(IPRIORITYR + 32, 4) == 0x1020_40F8  # 32 levels: the low bits are read-as-zero (3.3)
    assert gic.read(IPRIORITYR + 33, 1) == 0x40
    gic.write(ISENABLER + 5, 1, 0x80)  # a byte of the second register
    assert rig.bit(ISENABLER, 47)
    gic.write(ICENABLER, 4, 0xFFFF_FFFF)
    assert gic.read(ISENABLER, 4) == 0xFFFF  # SGIs stay enabled
