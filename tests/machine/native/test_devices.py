# SPDX-License-Identifier: GPL-2.0-or-later
"""The devices in C, access by access, against the classes in Python from which they were written.

Hypothesis draws bytes, eight of them for each access: an example has a thousand accesses. A failure names the access,
which is quicker than shrinking. ARMPROBE_FUZZ sets the accesses to each device.
"""

import os
from collections.abc import Callable, Iterator
from typing import Any, Final

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from armprobe.machine import Machine, StopReason
from armprobe.machine.devices import GenericTimer, Gic, Pl011
from armprobe.machine.state import Order, StateRegistry
from tests.machine.reference.gic import Gic as ReferenceGic
from tests.machine.reference.gic_cpu import GicCpuInterface as ReferenceInterface
from tests.machine.reference.pl011 import Pl011 as ReferencePl011
from tests.machine.reference.timer import GenericTimer as ReferenceTimer

M64: Final = (1 << 64) - 1
UART: Final = 33
TIMER: Final = 27
ACCESSES: Final = st.binary(min_size=7000, max_size=8000)
MANY: Final = settings(
    max_examples=int(os.environ.get("ARMPROBE_FUZZ", "40000")) // 1000,
    deadline=None,
    phases=[Phase.generate],
    suppress_health_check=list(HealthCheck),
)

# Registers, more often than the gaps between them.
DISTRIBUTOR: Final = (
    *(0x000, 0x000, 0x004, 0x008, 0xF00, 0xF00, 0xFE8),
    *(register + word for register in range(0x080, 0x400, 0x80) for word in (0, 4)),
    *range(0x400, 0x440, 4),
    *(0x3FC, 0x440, 0x820, *range(0xC00, 0xC14, 4), *range(0xF0C, 0xF34, 4)),
)
INTERFACE: Final = (*range(0, 0x2C, 4), 0x0C, 0x0C, 0x10, 0x10, 0x20, 0x24, 0xD0, 0xE0, 0xFC, 0x1000)
SERIAL: Final = (*range(0, 0x4C, 4), 0x00, 0x00, 0x18, 0x38, 0x44, *range(0xFDC, 0x1004, 4))


def accesses(data: bytes) -> Iterator[tuple[int, int, int, int]]:
    """A kind of access from 0 to 255, the choice of a register, a size, and a value of that size."""
    for at in range(0, len(data) - 7, 8):
        kind, choice, shape = data[at : at + 3]
        size = 1 << (shape & 3)
        value = int.from_bytes(data[at + 3 : at + 8], "little")
        if shape & 0x10:
            value = 1 << value % 64  # one bit, as drivers write them
        elif shape & 0x20:
            value |= value << 27
        yield kind, choice, size, value & (1 << 8 * size) - 1


def offset_of(choice: int, kind: int, registers: tuple[int, ...]) -> int:
    """Mostly a register; sometimes between two."""
    return registers[choice % len(registers)] + (kind & 3 if kind & 0x1C == 0x1C else 0)


def state_of(device: Any) -> dict[str, object]:
    """The state as snapshots have it."""
    registry = StateRegistry()
    registry.join("device", device, Order.DEVICES)
    return dict(registry.save()["device"])


@MANY
@given(ACCESSES)
def test_the_interrupt_controller(data: bytes) -> None:
    ours, theirs = Gic(StateRegistry()), ReferenceGic(StateRegistry())
    our_interface, their_interface = ours.interfaces[0], ReferenceInterface(theirs)
    for number, (kind, choice, size, value) in enumerate(accesses(data)):
        match kind >> 5:
            case 0 | 1:
                ours.set_line(choice % 64, bool(value & 1))
                theirs.set_line(choice % 64, bool(value & 1))
            case 2 | 3:
                at = offset_of(choice, kind, DISTRIBUTOR)
                ours.write(at, size, value)
                theirs.write(at, size, value)
            case 4:
                at = offset_of(choice, kind, DISTRIBUTOR)
                assert ours.read(at, size) == theirs.read(at, size), (number, hex(at), size)
            case 5:
                at = offset_of(choice, kind, INTERFACE)
                our_interface.write(at, size, value)
                their_interface.write(at, size, value)
            case 6:
                at = offset_of(choice, kind, INTERFACE)
                assert our_interface.read(at, size) == their_interface.read(at, size), (number, hex(at))
            case _ if kind & 7 == 0:
                priorities = list(ours.active_priorities)
                ours.abandon(priorities, value & 0xFF)
                theirs.abandon(list(priorities), value & 0xFF)
        assert ours.pending_interrupt() == theirs.pending_interrupt(), number
        assert ours.signal().name == theirs.signal().name
    assert state_of(ours) == state_of(theirs)


@MANY
@given(ACCESSES)
def test_the_serial_line(data: bytes) -> None:
    gic, lines, sent = Gic(StateRegistry()), [False], bytearray()
    ours = Pl011(StateRegistry(), gic, UART, lambda: None)
    theirs = ReferencePl011(StateRegistry(), lambda on: lines.append(on), sent.append)
    for number, (kind, choice, size, value) in enumerate(accesses(data)):
        at = offset_of(choice, kind, SERIAL)
        match kind >> 5:
            case 0:
                arrived = value.to_bytes(8, "little")[: choice & 7]
                ours.receive(arrived)
                theirs.receive(arrived)
            case 1 if choice & 7 == 0:
                assert ours.take(size) == theirs.take(size)
            case 1 | 2 | 3:
                ours.write(at, size, value)
                theirs.write(at, size, value)
            case _:
                assert ours.read(at, size) == theirs.read(at, size), (number, hex(at))
        assert gic.level == lines[-1] << UART, number
    assert ours.collect() == sent
    assert state_of(ours) == state_of(theirs)


@MANY
@given(ACCESSES)
def test_the_timers(data: bytes) -> None:
    count, gic, their_lines = 0, Gic(StateRegistry()), [False]
    ours = GenericTimer("timer", StateRegistry(), lambda: count, gic, TIMER)
    theirs = ReferenceTimer("timer", StateRegistry(), lambda: count, their_lines.append)
    for number, (kind, choice, _, value) in enumerate(accesses(data)):
        match kind >> 5:
            case 0 | 1 | 2:
                ours.write(choice % 3, value)
                theirs.write(choice % 3, value)
            case 3 | 4:
                assert ours.read(choice % 3) == theirs.read(choice % 3), number
            case 5:
                count = (theirs.compare + choice - 128) & M64  # about when it fires
                ours.update(count)
                theirs.update(count)
            case _:
                count += value >> (kind & 31)
                count &= M64
        assert gic.level == their_lines[-1] << TIMER, number
        never = theirs.deadline is None or theirs.deadline == M64
        assert ours.deadline == (None if never else theirs.deadline)
    assert state_of(ours) == state_of(theirs)


PROGRAM = """
    .set GICD, 0x8000000
    .set GICC, 0x8010000
    .set UART, 0x9000000
    adr x0, vectors
    msr vbar_el1, x0
    ldr x1, =GICD
    ldr x2, =GICC
    ldr x3, =UART
    mov w0, #1
    str w0, [x1]            // GICD_CTLR
    str w0, [x2]            // GICC_CTLR
    mov w0, #0xf0
    str w0, [x2, #4]        // GICC_PMR
    msr daifclr, #2
"""

VECTORS = """
    .balign 0x800
vectors:
    .skip 0x280             // IRQ at EL1h
    mrs x20, elr_el1
    ldr w21, [x2, #0xc]     // GICC_IAR
    mov x0, #99
2:  b 2b
"""


def test_an_interrupt_comes_behind_the_access_that_raises_it(bare: Callable[..., Machine]) -> None:
    """In the midst of a block: a software interrupt to oneself (GICD_SGIR), which PSTATE does not mask."""
    raises = """
    ldr w4, =0x2000003
    mov x5, #0
    str w4, [x1, #0xf00]
behind:
    add x5, x5, #1
    add x5, x5, #1
1:  b 1b
"""
    guest = bare(PROGRAM + raises + VECTORS)
    guest.run(instructions=60)
    registers = guest.registers
    assert registers.x[0] == 99
    assert (registers.x[20], registers.x[21], registers.x[5]) == (guest.symbols["behind"].address, 3, 0)


@pytest.mark.parametrize("width", [1, 2, 4, 8])
def test_the_guests_accesses_have_their_width(bare: Callable[..., Machine], width: int) -> None:
    """A narrow load gets the bytes of its width, with zeros above; a store changes no other byte of GICD_IPRIORITYR."""
    load, store = {1: ("ldrb w", "strb w"), 2: ("ldrh w", "strh w"), 4: ("ldr w", "str w"), 8: ("ldr x", "str x")}[
        width
    ]
    access = f"""
    ldr x4, =0x8090a0b0c0d0e0f0
    {store}4, [x1, #0x420]
    mov x5, #-1
    {load}5, [x1, #0x420]
    ldr x6, [x1, #0x420]
    mov w7, #0xfff
    str w7, [x3, #0x38]     // UARTIMSC
    {load}8, [x3, #0x38]
1:  b 1b
"""
    guest = bare(PROGRAM + access + VECTORS)
    guest.run(instructions=60)
    stored = 0x8090_A0B0_C0D0_E0F0 & (1 << 8 * width) - 1
    assert guest.registers.x[5] == guest.registers.x[6] == stored
    assert guest.registers.x[8] == 0xFFF & (1 << 8 * width) - 1
    theirs = ReferenceGic(StateRegistry())
    theirs.write(0x420, width, stored)
    assert list(guest.gic.priority) == theirs.priority


class Counted:
    """Each read gives the next number; the last of `accesses` calls `stop`."""

    name = "counted"
    timed = False  # as the devices in C are

    def __init__(self, accesses: int, stop: Callable[[], None]) -> None:
        self.offsets: list[int] = []
        self._accesses, self._stop = accesses, stop

    def read(self, offset: int, size: int) -> int:
        self.offsets.append(offset)
        if len(self.offsets) == self._accesses:
            self._stop()
        return len(self.offsets)

    def write(self, offset: int, size: int, value: int) -> None:
        self.read(offset, size)


@pytest.mark.parametrize(
    ("access", "accesses", "x4", "x5"),
    [
        ("ldr w4, [x6]", 1, 1, 0),
        ("ldr x4, [x6]", 2, 2 << 32 | 1, 0),  # Unicorn makes accesses of at most four bytes to a device
        ("ldp w4, w5, [x6, #8]!", 2, 1, 2),
        ("ldp x4, x5, [x6, #16]!", 4, 2 << 32 | 1, 4 << 32 | 3),
        ("stp x4, x5, [x6], #16", 4, 0, 0),
        ("ld4 {v0.16b-v3.16b}, [x6]", 64, 0, 0),
    ],
)
def test_an_instruction_with_many_accesses_makes_each_once(
    bare: Callable[..., Machine], access: str, accesses: int, x4: int, x5: int
) -> None:
    """Also if the run is to end at the last of them, in the midst of a block."""
    before = "mov x0, #3 << 20\n msr cpacr_el1, x0\n isb\n ldr x6, =0xc000000\n"
    guest = bare(f"{before}{access}\nbehind: nop\n nop\n1: b 1b")
    device = Counted(accesses, guest.interrupt)
    guest.bus.attach(device, 0xC00_0000, 0x1000)
    stop = guest.run(instructions=100)
    assert (stop.reason, stop.address) == (StopReason.INTERRUPTED, guest.symbols["behind"].address)
    assert len(device.offsets) == len(set(device.offsets)) == accesses
    assert (guest.registers.x[4], guest.registers.x[5]) == (x4, x5)
    if accesses == 64:  # an element of each register by turns
        read = [guest.core.vector(number).to_bytes(16, "little") for number in range(4)]
        assert [read[i % 4][i // 4] for i in range(64)] == list(range(1, 65))
