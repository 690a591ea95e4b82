# SPDX-License-Identifier: GPL-2.0-or-later
"""Devices that users put on the board, and the RTC, which is one of them (Arm DDI 0224)."""

import struct
import subprocess
from collections.abc import Callable
from pathlib import Path

import fdt
import pytest

from armprobe import machine
from armprobe.machine import Device, Machine, MachineError, StopReason, board
from armprobe.machine.devices import Pl031

BASE = board.OTHERS.start
DR, MR, LR, CR, IMSC, RIS, MIS, ICR = range(0, 0x20, 4)

# Reads the register at +4 of a device, adds one, writes it to +8, and powers off (PSCI SYSTEM_OFF).
READ_AND_WRITE = f"""
    mov x1, #{BASE}
    ldr w2, [x1, #4]
    add w2, w2, #1
    str w2, [x1, #8]
    ldr x0, =0x84000008
    hvc #0
"""
# Enables INTID 40, unmasks IRQs, asks the device at +0 for an interrupt, waits, writes the INTID that came to +8.
WAIT_FOR_INTERRUPT = f"""
    adr x0, vectors
    msr vbar_el1, x0
    mov x1, #{board.GIC_DIST.base}
    mov w2, #1
    str w2, [x1]
    mov w2, #1 << 8
    str w2, [x1, #0x104]
    mov x3, #{board.GIC_CPU.base}
    mov w2, #1
    str w2, [x3]
    mov w2, #0xf8
    str w2, [x3, #4]
    mov x4, #{BASE}
    str w2, [x4]
    msr daifclr, #2
1:  wfi
    b 1b
    .balign 2048
vectors:
    .balign 0x80
    b .
    .balign 0x80
    b .
    .balign 0x80
    b .
    .balign 0x80
    b .
    .balign 0x80
    b .
    .balign 0x80
    ldr w5, [x3, #0xc]
    str w5, [x4, #8]
    ldr x0, =0x84000008
    hvc #0
"""


@pytest.fixture
def demo() -> Machine:
    return machine.load("demo")


def test_registers(bare: Callable[..., Machine]) -> None:
    guest, written = bare(READ_AND_WRITE), list[tuple[int, int, int]]()
    device = Device("counter", read=lambda offset, size: 0x41, write=lambda *what: written.append(what))
    assert guest.devices.add(device) is device
    assert (device.base, guest.devices.placement("counter").size) == (BASE, 0x1000)
    assert guest.run().reason is StopReason.POWER_OFF
    assert written == [(8, 4, 0x42)]


def test_interrupt_after_a_time(bare: Callable[..., Machine]) -> None:
    """WFI takes the guest to the alarm; the interrupt is the first free INTID for such devices."""
    guest, written = bare(WAIT_FOR_INTERRUPT), list[int]()

    class Alarm(Device):
        def write(self, offset: int, size: int, value: int) -> None:
            if offset == 0:
                self.alarm(2.5)
            else:
                written.append(value)

        def expired(self) -> None:
            self.set_interrupt(True)

    device = guest.devices.add(Alarm("alarm", interrupt=True))
    assert guest.run(instructions=100_000).reason is StopReason.POWER_OFF
    assert written == [device.interrupt] == [40]
    assert 2.5 <= guest.clock.seconds < 2.5001


# Calls a function twice; between that the device, told by a write to +0, writes over what the function does.
CALL_TWICE = f"""
    mov x1, #{BASE}
    mov x0, #0
    bl function
    mov x2, x0
    str wzr, [x1]
    bl function
    mov x19, x0
    ldr x0, =0x84000008
    hvc #0
function:
    mov x0, #1
    ret
"""


def test_code_that_a_device_writes_is_executed(bare: Callable[..., Machine]) -> None:
    """MOV X0, #2 (Arm ARM, C6.2, MOVZ) takes the place of what the engine has translated."""
    guest = bare(CALL_TWICE)
    place = guest.symbols["function"].address

    def write(*_: int) -> None:
        assert device.dma_read(place, 4) == (0xD280_0020).to_bytes(4, "little")
        device.dma_write(place, (0xD280_0040).to_bytes(4, "little"))

    device = guest.devices.add(Device("dma", write=write))
    assert guest.run().reason is StopReason.POWER_OFF  # without stops, at which translations are dropped
    assert (guest.registers.x[2], guest.registers.x[19]) == (1, 2)


def test_code_that_a_device_writes_is_executed_through_the_mmu(demo: Machine) -> None:
    """The kernel executes it at a virtual address: MOV X0, #42; RET takes the place of strlen's first instructions."""
    demo.run(until="workload_round")
    device = demo.devices.add(Device("dma"))
    text, strlen = demo.symbols["__start_rodata"].address, demo.symbols["strlen"].address
    assert demo.call("strlen", text) != 42
    device.dma_write(demo.memory.translate(strlen).physical, struct.pack("<II", 0xD280_0540, 0xD65F_03C0))
    assert demo.call("strlen", text) == 42


def test_a_watchpoint_sees_a_device_write(bare: Callable[..., Machine]) -> None:
    guest = bare(READ_AND_WRITE)
    watched = board.RAM_BASE + 0x80_0000

    def read(*_: int) -> int:
        device.dma_write(watched - 2, b"abcdef")
        return 0

    device = guest.devices.add(Device("dma", read=read))
    guest.watchpoints.add("write", watched, 2)
    stop = guest.run()
    assert stop.reason is StopReason.WATCHPOINT
    assert stop.address == board.RAM_BASE + 8  # after the load that made the device write
    hit = stop.detail
    assert (hit.address, hit.size, hit.value, hit.before) == (watched, 2, int.from_bytes(b"cd", "little"), 0)
    assert guest.run().reason is StopReason.POWER_OFF


def test_where_a_device_cannot_write(demo: Machine) -> None:
    device = Device("dma")
    with pytest.raises(MachineError, match="is on no board"):
        device.dma_write(board.RAM_BASE, b"x")
    demo.devices.add(device)
    with pytest.raises(MachineError, match="a device accesses 1 bytes at physical address 0x0: there is no memory"):
        device.dma_write(0, b"x")
    before = demo.bus.changes
    device.dma_write(board.RAM_BASE, b"")
    assert demo.bus.changes == before


def test_what_a_handler_raises_ends_the_run(bare: Callable[..., Machine]) -> None:
    guest = bare(READ_AND_WRITE)

    def read(offset: int, size: int) -> int:
        raise ValueError("mine")

    guest.devices.add(Device("broken", read=read))
    with pytest.raises(ValueError, match="mine"):
        guest.run()


def test_node_in_the_device_tree(bare: Callable[..., Machine], tool: Callable[[str, str], str], tmp_path: Path) -> None:
    """As dtc's fdtget reads it from the guest's memory."""
    guest = bare(READ_AND_WRITE)
    guest.devices.add(
        Device("timer", 0x2000, interrupt=50, compatible=["me,timer", "timer"], properties={"me,rate": [100]})
    )
    tree = tmp_path / "tree"

    def check(address: int) -> None:
        tree.write_bytes(guest.memory.physical.read(address, len(guest.guest.device_tree)))
        fdtget = [tool("fdtget", "device-tree-compiler"), "-t"]
        for name, kind, expected in (
            ("compatible", "s", "me,timer timer"),
            ("reg", "x", f"0 {BASE:x} 0 2000"),
            ("interrupts", "x", "0 12 4"),
            ("me,rate", "u", "100"),
        ):
            node = f"/timer@{BASE:x}"
            assert subprocess.check_output([*fdtget, kind, tree, node, name], text=True).rstrip() == expected

    check(guest.registers.x[0])
    guest.run(instructions=3)
    guest.reset()
    check(guest.registers.x[0])


def test_a_guest_that_runs_gets_no_node(demo: Machine) -> None:
    demo.run(instructions=1)
    before = demo.guest.device_tree
    device = demo.devices.add(Device("late", interrupt=True))
    assert (demo.guest.device_tree, device.base, device.interrupt) == (before, BASE, 40)


def test_places_and_interrupts_are_not_shared(demo: Machine) -> None:
    first = demo.devices.add(Device("first", 0x3000, interrupt=True))
    second = demo.devices.add(Device("second", base=BASE + 0x4000, interrupt=True))
    third = demo.devices.add(Device("third"))
    fourth = demo.devices.add(Device("fourth", 0x2000))
    assert [first.base, second.base, third.base, fourth.base] == [BASE, BASE + 0x4000, BASE + 0x3000, BASE + 0x5000]
    assert [first.interrupt, second.interrupt, third.interrupt] == [40, 41, False]
    assert list(demo.devices)[-4:] == ["first", "third", "second", "fourth"]
    demo.run(until="kfree")


@pytest.mark.parametrize(
    ("device", "why"),
    [
        (lambda: Device("pl011"), "has a device pl011 already"),
        (lambda: Device("a b"), "cannot be called 'a b'"),
        (lambda: Device("@x"), "cannot be called '@x'"),
        (lambda: Device("x", 100), "cannot have 100 bytes of registers"),
        (lambda: Device("x", 1 << 40), "no 1,099,511,627,776 free bytes"),
        (lambda: Device("x", base=board.UART.base), "cannot be at 0x9000000"),
        (lambda: Device("x", base=board.RAM_BASE + 0x1000), "cannot be at 0x40001000"),
        (lambda: Device("x", base=0x123), "cannot be at 0x123"),
        (lambda: Device("x", base=1 << 40), "cannot be at 0x10000000000"),
        (lambda: Device("x", interrupt=33), "cannot have INTID 33"),
        (lambda: Device("x", interrupt=16), "cannot have INTID 16"),
        (lambda: Device("x", interrupt=64), "cannot have INTID 64"),
        (lambda: Device("x", state={"file": object()}), "cannot be kept in a snapshot"),
    ],
)
def test_what_cannot_be_added(demo: Machine, device: Callable[[], Device], why: str) -> None:
    with pytest.raises(MachineError, match=why):
        demo.devices.add(device())
    assert len(demo.devices) == len(machine.load("demo").devices)


def test_there_is_an_end_of_interrupts(demo: Machine) -> None:
    for number in range(24):
        demo.devices.add(Device(f"d{number}", interrupt=True))
    with pytest.raises(MachineError, match="no free interrupt"):
        demo.devices.add(Device("one-more", interrupt=True))


def test_an_interrupt_line_that_is_not_there(demo: Machine) -> None:
    with pytest.raises(MachineError, match="has no interrupt: give it one"):
        demo.devices.add(Device("silent")).set_interrupt(True)


class Counter(Device):
    """Counts what is written to it."""

    def __init__(self) -> None:
        super().__init__("counter", interrupt=True, state={"sum": 0})

    def write(self, offset: int, size: int, value: int) -> None:
        self.state["sum"] += value

    def read(self, offset: int, size: int) -> int:
        return int(self.state["sum"])


def test_snapshots_and_reset(demo: Machine, tmp_path: Path) -> None:
    device = demo.devices.add(Counter())
    demo.memory.physical.write(BASE, (5).to_bytes(4, "little"))
    before = demo.snapshot()
    demo.save(tmp_path / "snapshot")
    demo.memory.physical.write(BASE, (7).to_bytes(4, "little"))
    device.alarm(1)
    demo.restore(before)
    assert (device.state, device.deadline) == ({"sum": 5}, None)
    demo.reset()
    assert device.state == {"sum": 0}

    again = machine.load(tmp_path / "snapshot")
    again.devices.add(Device("other"))  # takes no place that is waiting for another
    resumed = again.devices.add(Counter())
    assert (resumed.state, resumed.base, resumed.interrupt) == ({"sum": 5}, BASE, 40)
    assert again.memory.physical.read(BASE, 4) == (5).to_bytes(4, "little")
    again.memory.physical.write(BASE, (7).to_bytes(4, "little"))
    again.reset()
    assert resumed.state == {"sum": 5}


def test_a_snapshot_with_a_device_where_the_ram_is(demo: Machine) -> None:
    demo.devices.add(Counter())
    again = machine.load("demo")
    again.devices.kept = [[row[0], board.RAM_BASE, *row[2:]] for row in demo.devices.kept]
    with pytest.raises(MachineError, match="device counter cannot be at 0x40000000"):
        again.devices.add(Counter())


def test_a_snapshot_keeps_the_state_of_a_device_nobody_added(demo: Machine, tmp_path: Path) -> None:
    demo.devices.add(Counter()).state["sum"] = 9
    demo.save(tmp_path / "one")
    machine.load(tmp_path / "one").save(tmp_path / "two")
    assert machine.load(tmp_path / "two").devices.add(Counter()).state == {"sum": 9}
    with pytest.raises(MachineError, match=r"the snapshot's device counter has 4,096 bytes of registers, not 8,192"):
        machine.load(tmp_path / "two").devices.add(Device("counter", 0x2000))


@pytest.fixture
def rtc(demo: Machine) -> Pl031:
    device = demo.devices["pl031"]
    assert isinstance(device, Pl031)
    return device


def test_rtc_counts_seconds_of_guest_time(demo: Machine, rtc: Pl031) -> None:
    assert rtc.read(DR, 4) == 0
    demo.clock.skip_to(3 * 62_500_000 + 1)
    assert rtc.read(DR, 4) == 3
    rtc.write(LR, 4, 1_000_000_000)
    demo.clock.skip_to(5 * 62_500_000)
    assert (rtc.read(DR, 4), rtc.read(LR, 4), rtc.read(CR, 4)) == (1_000_000_002, 1_000_000_002, 1)


def test_rtc_match(demo: Machine, rtc: Pl031) -> None:
    """3.3.5 to 3.3.8: raw status when the count is RTCMR, masked by RTCIMSC, cleared by RTCICR."""
    rtc.write(MR, 4, 2)
    demo.clock.skip_to(2 * 62_500_000 - 1)
    rtc.update(rtc.now)
    assert rtc.read(RIS, 4) == 0
    demo.clock.skip_to(2 * 62_500_000)
    rtc.update(rtc.now)
    assert (rtc.read(RIS, 4), rtc.read(MIS, 4), demo.gic.level >> 34 & 1) == (1, 0, 0)
    rtc.write(IMSC, 4, 1)
    assert (rtc.read(MIS, 4), demo.gic.level >> 34 & 1) == (1, 1)
    rtc.write(ICR, 4, 1)
    assert (rtc.read(RIS, 4), demo.gic.level >> 34 & 1) == (0, 0)


def test_rtc_is_identified(rtc: Pl031) -> None:
    """PrimeCell ID 0xb105f00d, part 0x031, designer 0x41 (3.3.9, 3.3.10)."""
    words = [rtc.read(0xFE0 + 4 * number, 4) for number in range(8)]
    assert int.from_bytes(bytes(words[4:]), "little") == 0xB105F00D
    assert int.from_bytes(bytes(words[:4]), "little") & 0xFFFFF == 0x41031


def test_every_placement_with_a_node_is_in_the_tree(demo: Machine) -> None:
    tree = fdt.parse_dtb(demo.guest.device_tree)
    for placement in board.PLACEMENTS:
        assert bool(placement.node) == tree.exist_node(placement.path) if placement.node else True


def test_a_device_s_registers_are_no_page_tables(demo: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    """A write to them drops no translated code: translating it again takes 0.2 s on Linux."""
    forgotten: list[bool] = []
    monkeypatch.setattr(demo.core, "forget_translations", lambda: forgotten.append(True))
    demo.memory.physical.write(board.GIC_DIST.base + 0x100, (1 << 27).to_bytes(4, "little"))  # GICD_ISENABLER0
    assert forgotten == []
    demo.memory.physical.write(board.RAM_BASE, bytes(8))
    assert forgotten == [True]
