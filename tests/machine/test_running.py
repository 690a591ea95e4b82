# SPDX-License-Identifier: GPL-2.0-or-later
"""Running, stepping, stopping, calling and saving, on the demo guest."""

import hashlib
import itertools
import random
import struct
from collections.abc import Callable

import pytest

from armprobe import machine
from armprobe.machine import Device, Machine, MachineError, StopReason, board
from armprobe.machine.core.registers import NAMES
from armprobe.machine.memory.scratch import Role

MEMORY = "16M"


@pytest.fixture
def demo() -> Machine:
    return machine.load("demo", memory=MEMORY)


def state(guest: Machine) -> tuple[object, ...]:
    """Everything of a machine that a guest could tell apart."""
    registers = tuple(guest.registers[name] for name in NAMES)
    return guest.instructions, guest.clock.now, registers, hashlib.sha256(guest.ram.data).hexdigest()


def test_broken_up_runs_are_one_run(demo: Machine) -> None:
    total = 12_000_000
    assert demo.run(instructions=total).reason is StopReason.INSTRUCTIONS
    other, chance = machine.load("demo", memory=MEMORY), random.Random(1)
    while (left := total - other.instructions) > 0:
        other.run(instructions=min(left, chance.choice((1, 7, 1000, 65_537, 400_000))))
    assert state(other) == state(demo)
    assert other.console.read() == demo.console.read() != b""


def test_instructions_are_counted_exactly(demo: Machine) -> None:
    """A loop of known length: the 8 iterations of `add; subs; b.ne`, after two moves."""
    words = (0xD2800100, 0xD2800001, 0x91000421, 0xF1000400, 0x54FFFFC1, 0x14000000)
    base = 0x4000_1000
    demo.memory.write(base, b"".join(word.to_bytes(4, "little") for word in words))
    demo.registers.pc = base
    stop = demo.run(until=base + 20)
    assert (stop.reason, stop.address) == (StopReason.UNTIL, base + 20)
    assert demo.instructions == 2 + 3 * 8
    assert demo.registers.x[1] == 8


def test_snapshot_and_restore(demo: Machine) -> None:
    demo.run(instructions=3_000_000)
    snapshot = demo.snapshot()
    demo.run(instructions=4_000_000)
    later = state(demo)
    demo.restore(snapshot)
    assert demo.instructions == 3_000_000
    demo.run(instructions=4_000_000)
    assert state(demo) == later


def test_reset_forgets_what_was_typed(demo: Machine) -> None:
    """It was meant for the guest that is no more: here a q, at which the demo kernel powers off."""
    demo.console.write(b"q")
    demo.reset()
    assert demo.run(until="workload_round").reason is StopReason.UNTIL
    assert demo.run(instructions=1_000_000).reason is StopReason.INSTRUCTIONS


def test_reset(demo: Machine) -> None:
    before = state(demo)
    demo.run(instructions=3_000_000)
    demo.reset()
    assert state(demo) == before


def test_breakpoint_in_a_loop_and_stepping_off_it(demo: Machine) -> None:
    address = demo.symbols["kfree"].address
    demo.run(until="workload_round")
    demo.breakpoints.add(address)
    for _ in range(5):
        stop = demo.run()
        assert (stop.reason, stop.address, demo.registers.pc) == (StopReason.BREAKPOINT, address, address)
    demo.step()
    assert demo.registers.pc == address + 4
    demo.breakpoints.remove(address)
    assert demo.run(instructions=1_000_000).reason is StopReason.INSTRUCTIONS


@pytest.mark.parametrize("kind", ["write", "access"])
def test_watchpoint_stops_before_the_write(demo: Machine, kind: str) -> None:
    demo.run(until="workload_round")
    jiffies = demo.symbols["jiffies"].address
    before = demo.memory.u64(jiffies)
    demo.watchpoints.add(kind, jiffies, 8)
    while True:
        stop = demo.run()
        assert stop.reason is StopReason.WATCHPOINT
        assert stop.detail.address == jiffies
        if stop.detail.value == before + 1:
            break
        demo.watchpoints.remove(kind, jiffies, 8)  # a read: go over it
        demo.step()
        demo.watchpoints.add(kind, jiffies, 8)
    assert demo.memory.u64(jiffies) == before
    demo.watchpoints.remove(kind, jiffies, 8)
    demo.step()
    assert demo.memory.u64(jiffies) == before + 1


def test_call(demo: Machine) -> None:
    demo.run(until="workload_round")
    before = state(demo)[2]
    assert demo.call("fib", 15) == 610
    assert state(demo)[2] == before
    with pytest.raises(MachineError, match="at most eight"):
        demo.call("fib", *range(9))
    with pytest.raises(MachineError, match="did you mean"):
        demo.call("kfre")


def test_power_off(demo: Machine) -> None:
    demo.run(until="workload_round")
    demo.console.write(b"q")
    assert demo.run().reason is StopReason.POWER_OFF
    assert demo.ended
    with pytest.raises(MachineError, match="powered the machine off"):
        demo.run()


@pytest.mark.parametrize("vectors", [0x1000_0000, 0x1000_0060, 0x7025_D133_42B3_8C60])
def test_lockup(demo: Machine, vectors: int) -> None:
    """Vectors that cannot be fetched: the exception that is taken raises another, for ever.

    A debugger may write any bits of VBAR_EL1, those too that the architecture keeps 0.
    """
    demo.registers["vbar_el1"] = vectors
    demo.registers.pc = vectors
    assert demo.run(instructions=10_000).reason is StopReason.LOCKUP


def test_access_to_nothing_is_an_external_abort(demo: Machine) -> None:
    """ESR_EL1: EC 0x25, IL, FnV, DFSC 0b010000 (Arm ARM, D19.2.37), the PC at the load; a store has WnR too."""
    for word, wnr in ((0xF9400022, 0), (0xF9000022, 1 << 6)):  # ldr x2, [x1]; str x2, [x1]
        demo.reset()
        base = 0x4000_1000
        demo.memory.write(base, word.to_bytes(4, "little"))
        demo.registers["vbar_el1"] = 0x4000_2000
        demo.registers["x1"], demo.registers.pc = 0x1000_0000, base
        demo.run(until=0x4000_2200)
        assert demo.registers["esr_el1"] == 0x25 << 26 | 1 << 25 | 1 << 10 | wnr | 0x10
        assert demo.registers["elr_el1"] == base


@pytest.mark.parametrize("target", [board.UART.base, board.GIC_DIST.base, board.GIC_CPU.base + 0xFFC])
def test_jump_to_a_device(demo: Machine, target: int) -> None:
    """An instruction abort: EC 0x21, IL, IFSC 0b010000, synchronous external abort (Arm ARM, D19.2.37).

    The guest's handler goes on elsewhere: ELR_EL1 is x30, and it returns.
    """
    vector, base = 0x4000_2200, 0x4000_1000
    demo.registers["vbar_el1"] = vector - 0x200
    demo.memory.write(vector, struct.pack("<2I", 0xD518_403E, 0xD69F_03E0))  # msr elr_el1, x30; eret
    demo.memory.write(base, struct.pack("<2I", 0xD63F_0020, 0x1400_0000))  # blr x1; b .
    for _ in range(2):
        demo.registers.pc, demo.registers.x[1] = base, target
        demo.run(until=vector)
        assert demo.registers["esr_el1"] == 0x21 << 26 | 1 << 25 | 0x10
        assert demo.registers["far_el1"] == demo.registers["elr_el1"] == target
        assert demo.run(until=base + 4, instructions=10).reason is StopReason.UNTIL


def test_what_a_listener_raises_leaves_the_guest_as_it_is(demo: Machine) -> None:
    """The run ends with it, and the access has been made, once: what is printed is what is printed without."""
    demo.run(instructions=1_000_000)
    expected, printed, raised, calls = demo.console.read(), machine.load("demo", memory=MEMORY), 0, itertools.count()

    def sometimes(_: bytes) -> None:
        if next(calls) % 7 == 0:
            raise ValueError

    printed.console.listen(sometimes)
    while printed.instructions < demo.instructions:
        try:
            printed.run(instructions=demo.instructions - printed.instructions)
        except ValueError:
            raised += 1
    assert raised > 10
    assert printed.console.read() == expected
    assert bytes(printed.ram.data) == bytes(demo.ram.data)


@pytest.mark.parametrize("access", ["ldr w2, [x1, w0, uxtw #2]", "str w0, [x1, w0, uxtw #2]"])
def test_what_a_device_raises_leaves_the_guest_as_it_is(bare: Callable[..., Machine], access: str) -> None:
    """Each access is made once, and the run ends with what was raised behind the instruction."""
    guest = bare(f"ldr x1, =0xc000000; mov w0, #0\n1: {access}\n add w0, w0, #1\n cmp w0, #100\n b.ne 1b\n2: b 2b")
    seen: list[int] = []

    def sometimes(offset: int, *_: int) -> int:
        seen.append(offset)
        if len(seen) % 7 == 0:
            raise ValueError
        return offset

    device = guest.devices.add(Device("counted", read=sometimes, write=sometimes))  # type: ignore[arg-type]
    assert device.base == 0xC00_0000
    ends = []
    while guest.instructions < 500:
        try:
            guest.run(instructions=500 - guest.instructions)
        except ValueError:
            ends.append(guest.instructions)
    assert seen == [4 * number for number in range(100)]
    assert ends == [2 + 4 * number + 1 for number in range(6, 100, 7)]


def test_a_count_ends_with_a_guest_that_waits(bare: Callable[..., Machine]) -> None:
    """Nothing will wake it, so it never executes so many."""
    guest = bare("1: wfi\n b 1b")
    stop = guest.run(instructions=1000)
    assert (stop.reason, guest.instructions) == (StopReason.IDLE, 1)


def test_scratch_leaves_the_guests_map_alone(demo: Machine) -> None:
    demo.run(until="workload_round")
    root = demo.registers["ttbr1_el1"] & 0xFFFF_FFFF_F000
    before = demo.memory.physical.read(root, 4096)
    address = demo.scratch.allocate(8)
    demo.scratch.write(address, bytes(range(8)))
    assert demo.memory.read(address, 8) == bytes(range(8))
    assert demo.memory.physical.read(root, 4096) == before


def test_code_in_the_machines_own_memory_can_be_called(demo: Machine) -> None:
    """The guest's tables do not map that memory while it is not executed."""
    demo.run(until="workload_round")  # with the MMU on
    place = demo.scratch.allocate(8)
    demo.scratch.write(place, bytes.fromhex("00001f8b c0035fd6".replace(" ", "")))  # add x0, x0, xzr; ret
    assert demo.call(place, 0x1234) == 0x1234


@pytest.mark.parametrize("loop", [(0x1400_0000,), (0xD503_201F, 0x17FF_FFFF)], ids=["b .", "nop; b .-4"])
@pytest.mark.parametrize("length", [1, 2, 3, 5001])
def test_a_loop_in_code_that_counts_as_nothing_ends(demo: Machine, loop: tuple[int, ...], length: int) -> None:
    """A guest may branch into it with any registers. After some thousand of its instructions, they count."""
    demo.run(until="workload_round")
    place = demo.scratch.allocate(4 * len(loop))
    demo.scratch.write_code(place, struct.pack(f"<{len(loop)}I", *loop), *[Role.EXTRA] * len(loop))
    demo.registers.pc, before = place, demo.instructions
    assert demo.run(instructions=length).reason is StopReason.INSTRUCTIONS
    assert demo.instructions - before == length


def test_a_loop_in_the_machines_own_memory_ends(demo: Machine) -> None:
    """Also behind the first instruction of a block: the block must be translated anew for that."""
    demo.run(until="workload_round")
    loop = demo.scratch.allocate(12)
    demo.scratch.write(loop, struct.pack("<III", 0xF100_0400, 0x54FF_FFE1, 0xD65F_03C0))  # subs x0, x0, #1; b.ne; ret
    for _ in range(2):
        for count in (1_000, 10_000, 100_000):
            before = demo.instructions
            assert demo.call(loop, count) == 0
            assert demo.instructions - before >= 2 * count
        demo.run(instructions=2_500_000)
