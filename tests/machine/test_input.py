# SPDX-License-Identifier: GPL-2.0-or-later
"""Input: whatever changes the guest from outside is announced, once, and nothing else is.

A change that is not announced is found in two ways. What was announced is entered anew into the state from before, and
the guest has to be what the change made it. The other one is in `test_input_gate`.
"""

import hashlib
import inspect
import json
from collections.abc import Callable
from typing import Any

import pytest

from armprobe import machine
from armprobe.machine import Device, Machine, StopReason, board
from armprobe.machine.devices import Pl031
from armprobe.machine.devices.timer import FREQUENCY
from armprobe.machine.input import Input, InputKind
from armprobe.probes import Jprobe, Kprobe, Kprobes, Kretprobe

HLT = 0xD45E_F000  # Arm, "Semihosting for AArch32 and AArch64"
RAM = 0x4000_0000  # QEMU's virt board
UNUSED = RAM + (3 << 20)
UART = 0x0900_0000
IMSC = 0x38  # DDI 0183


@pytest.fixture
def demo() -> Machine:
    guest = machine.load("demo", memory="4M")
    guest.devices.add(Button())
    guest.run(until="workload_round")
    return guest


def state(guest: Machine) -> tuple[object, ...]:
    """Everything of the guest; `met` is where the machine was last looked at, not the guest's."""
    values = guest.state.save_for_file()
    values["core0.run_loop"].pop("met")
    return values, [hashlib.sha256(ram.data).hexdigest() for ram in guest.bus.rams]


def enter(guest: Machine, entered: Input) -> None:
    """Have the same input enter again."""
    where: Any = entered.where
    value: Any = entered.value
    match entered.kind:
        case InputKind.CONSOLE:
            guest.console.write(value)
            guest.console.deliver()
        case InputKind.REGISTER:
            guest.registers[where] = value
        case InputKind.MEMORY:
            guest.memory.write(where, value)
        case InputKind.PHYSICAL:
            guest.memory.physical.write(where, value)
        case InputKind.DEVICE:
            device = guest.devices[where]
            assert isinstance(device, Device)
            device.state.clear()
            device.state.update(json.loads(value[0]))
            device.deadline = value[1]
        case InputKind.TIME:
            guest.skip_to(value)
        case InputKind.LINE:
            guest.gic.set_line(where, value)
        case InputKind.CALL:
            guest.call(where, *value)
        case _:
            raise AssertionError(f"{entered} cannot be entered again here")


def explained(guest: Machine, action: Callable[[Machine], object]) -> list[Input] | None:
    """What `action` announces; None where that does not make the guest what `action` made it."""
    heard: list[Input] = []
    before = guest.snapshot()
    guest.input.listeners.append(heard.append)
    action(guest)
    guest.input.listeners.remove(heard.append)
    after = state(guest)
    guest.restore(before)
    for entered in heard:
        enter(guest, entered)
    return heard if state(guest) == after else None


class Button(Device):
    """A device with a method of its own, which Python calls."""

    def __init__(self) -> None:
        super().__init__("button", interrupt=True, state={"presses": 0})

    def press(self) -> None:
        with self.entering():
            self.state["presses"] += 1
            self.set_interrupt(True)


def kinds(heard: list[Input]) -> list[tuple[InputKind, str | int]]:
    return [(entered.kind, entered.where) for entered in heard]


def set_general(guest: Machine) -> None:
    guest.registers.x[3] = 0x1234


def set_sp(guest: Machine) -> None:
    guest.registers.sp -= 64


def set_pc(guest: Machine) -> None:
    guest.registers.pc = guest.symbols["kfree"].address


def set_pstate(guest: Machine) -> None:
    guest.registers.pstate ^= 1 << 31


def set_other_stack_pointer(guest: Machine) -> None:
    guest.registers["SP_EL0"] = 0x4321


SP = -1  # in place of an address: what the stack pointer is, less 64

ACTIONS: dict[str, tuple[Callable[[Machine], object], InputKind, str | int]] = {
    "x3": (set_general, InputKind.REGISTER, "x3"),
    "sp": (set_sp, InputKind.REGISTER, "sp"),
    "pc": (set_pc, InputKind.REGISTER, "pc"),
    "pstate": (set_pstate, InputKind.REGISTER, "pstate"),
    "sp_el0": (set_other_stack_pointer, InputKind.REGISTER, "sp_el0"),
    **{
        name: (lambda guest, name=name: guest.registers.__setitem__(name, 7), InputKind.REGISTER, name)  # type: ignore[misc]
        for name in ("x30", "v5", "tpidr_el1", "contextidr_el1")
    },
    "fpcr": (lambda guest: guest.registers.__setitem__("fpcr", 1 << 22), InputKind.REGISTER, "fpcr"),
    "memory": (lambda guest: guest.memory.write(guest.registers.sp - 64, b"abc"), InputKind.MEMORY, SP),
    "much memory": (lambda guest: guest.memory.write(guest.registers.sp - 64, bytes(64)), InputKind.MEMORY, SP),
    "physical": (lambda guest: guest.memory.physical.write(UNUSED, b"abc"), InputKind.PHYSICAL, UNUSED),
    "device": (lambda guest: guest.memory.physical.write(UART + IMSC, b"\x10\0\0\0"), InputKind.PHYSICAL, UART + IMSC),
    "time": (lambda guest: guest.skip_to(guest.clock.now + FREQUENCY), InputKind.TIME, ""),
    "call": (lambda guest: guest.call("strlen", guest.registers.sp), InputKind.CALL, "strlen"),
}


@pytest.mark.parametrize("name", ACTIONS)
def test_each_way_to_change_the_guest_is_announced_once(demo: Machine, name: str) -> None:
    action, kind, where = ACTIONS[name]
    place: str | int = demo.registers.sp - 64 if where == SP else where
    if kind is InputKind.CALL:
        place = demo.symbols[str(where)].address
    position, before = demo.instructions, state(demo)
    heard = explained(demo, action)
    assert heard is not None
    assert state(demo) != before
    assert kinds(heard) == [(kind, place)]
    assert heard[0].position == position


def write_behind(guest: Machine) -> None:
    guest.bus.write(UNUSED, b"abc")


def store_behind(guest: Machine) -> None:
    guest.core.load().x[3] = 0x1234
    guest.core.store()


def receive_behind(guest: Machine) -> None:
    guest.uart.receive(b"x")


def press_behind(guest: Machine) -> None:
    button = guest.devices["button"]
    assert isinstance(button, Button)
    button.state["presses"] += 1


@pytest.mark.parametrize("action", [write_behind, store_behind, receive_behind, press_behind])
def test_a_way_around_is_found_out(demo: Machine, action: Callable[[Machine], object]) -> None:
    """The comparison above is one that can fail."""
    assert explained(demo, action) is None


# Methods of devices that Python calls: what each announces.

DEVICE_METHODS: dict[str, tuple[Callable[[Any], object], list[tuple[InputKind, object]]]] = {
    "Pl031.set": (lambda device: device.set(1_436_832_000), [(InputKind.DEVICE, "pl031")]),
    "Button.press": (lambda device: device.press(), [(InputKind.LINE, 40), (InputKind.DEVICE, "button")]),
    "Device.alarm": (lambda device: device.alarm(1.5), [(InputKind.DEVICE, "button")]),
    "Device.dma_write": (lambda device: device.dma_write(UNUSED, b"abc"), [(InputKind.PHYSICAL, UNUSED)]),
    "Device.set_interrupt": (lambda device: device.set_interrupt(True), [(InputKind.LINE, 40)]),
}
CHANGE_NOTHING = {"Device.dma_read", "Device.entering"}
CALLED_BY_THE_MACHINE = {"read", "write", "expired", "update"}
OF_A_VIRTIO_DEVICE = {
    f"VirtioDevice.{name}" for name in ("config", "gather", "scatter", "serve")
}  # while it is written to


def device_of(guest: Machine, name: str) -> Device:
    device = guest.devices["pl031" if name.startswith("Pl031") else "button"]
    assert isinstance(device, Device)
    return device


@pytest.mark.parametrize("name", DEVICE_METHODS)
def test_methods_of_devices_are_announced(demo: Machine, name: str) -> None:
    call, expected = DEVICE_METHODS[name]
    before = state(demo)
    heard = explained(demo, lambda guest: call(device_of(guest, name)))
    assert heard is not None
    assert state(demo) != before
    assert kinds(heard) == expected


def test_an_rtc_that_is_set_to_its_match_interrupts(demo: Machine) -> None:
    """RTCMR, RTCIMSC (DDI 0224, 3.3): the line goes up by the setting, which is input, too."""
    rtc = board.RTC.base
    demo.memory.physical.write(rtc + 0x04, (1000).to_bytes(4, "little"))
    demo.memory.physical.write(rtc + 0x10, (1).to_bytes(4, "little"))
    heard = explained(demo, lambda guest: device_of(guest, "Pl031").set(1000))  # type: ignore[attr-defined]
    assert heard is not None
    assert kinds(heard) == [(InputKind.LINE, board.RTC.intid), (InputKind.DEVICE, "pl031")]


def test_no_other_method_of_a_device_changes_the_guest() -> None:
    """A public method that is new in machine/devices belongs into one of the tables."""
    classes: list[type[Device]] = [
        Device,
        *(each for each in Device.__subclasses__() if each.__module__.startswith("armprobe.")),
    ]
    assert Pl031 in classes
    methods = {
        f"{each.__name__}.{name}"
        for each in classes
        for name, value in vars(each).items()
        if inspect.isfunction(value) and not name.startswith("_") and name not in CALLED_BY_THE_MACHINE
    }
    assert methods == DEVICE_METHODS.keys() - {"Button.press"} | CHANGE_NOTHING | OF_A_VIRTIO_DEVICE


def test_what_a_device_does_for_the_guest_is_no_input(demo: Machine) -> None:
    """Nor what it does when its alarm goes off; that the alarm was set is."""

    class Timer(Device):
        def write(self, offset: int, size: int, value: int) -> None:
            self.state["value"] = value
            self.alarm(0.0)
            self.dma_write(UNUSED, b"abc")

        def expired(self) -> None:
            self.set_interrupt(True)
            button.press()
            demo.memory.physical.write(UNUSED, b"def")

    pressed = demo.devices["button"]
    assert isinstance(pressed, Button)
    button = pressed
    timer = demo.devices.add(Timer("timer", interrupt=True))
    heard: list[Input] = []
    demo.input.listeners.append(heard.append)
    assert timer.base is not None
    demo.memory.physical.write(timer.base, b"\1\0\0\0")
    demo.run(instructions=1000)
    assert demo.memory.physical.read(UNUSED, 3) == b"def"
    assert button.state == {"presses": 1}
    assert kinds(heard) == [(InputKind.PHYSICAL, timer.base)]


def test_what_the_guest_does_itself_is_no_input(demo: Machine) -> None:
    """Nor what the machine does to run it: exceptions, interrupts, breakpoints, watchpoints that undo an access."""
    heard: list[Input] = []
    demo.input.listeners.append(heard.append)
    demo.breakpoints.add(demo.symbols["kfree"].address)
    demo.watchpoints.add("write", demo.symbols["jiffies"].address, 8)
    for _ in range(50):
        demo.run(instructions=100_000)
    demo.step(100)
    demo.snapshot()
    assert heard == []


def test_the_console(demo: Machine) -> None:
    """At the position where the guest can first read it, which is not before a run looks up."""
    heard: list[Input] = []
    demo.input.listeners.append(heard.append)
    demo.console.write(b"ab")
    demo.console.write(b"c")
    assert heard == []
    position = demo.instructions
    demo.run(instructions=1000)
    assert [(each.position, each.kind, each.value) for each in heard] == [(position, InputKind.CONSOLE, b"abc")]


def test_states(demo: Machine) -> None:
    heard: list[Input] = []
    snapshot, position = demo.snapshot(), demo.instructions
    demo.run(instructions=1000)
    demo.input.listeners.append(heard.append)
    demo.restore(snapshot)
    demo.reset()
    assert [(each.position, *each_kind) for each, each_kind in zip(heard, kinds(heard), strict=True)] == [
        (position, InputKind.STATE, "restore"),
        (0, InputKind.STATE, "reset"),
    ]


# Sets the virtual timer to a tenth of a second, waits for it without taking the interrupt, powers off (PSCI).
WAIT_FOR_TIMER = f"""
    mov x1, #{board.GIC_DIST.base}
    mov w2, #1
    str w2, [x1]
    mov w2, #1 << 27            // the virtual timer's PPI
    str w2, [x1, #0x100]
    mov x3, #{board.GIC_CPU.base}
    mov w2, #1
    str w2, [x3]
    mov w2, #0xf8
    str w2, [x3, #4]
    ldr x0, ={FREQUENCY // 10}
    msr cntv_tval_el0, x0
    mov x0, #1
    msr cntv_ctl_el0, x0
    wfi
    mrs x1, cntvct_el0
    ldr x0, =0x84000008
    hvc #0
"""


def test_wall_clock_in_a_paced_run(bare: Callable[..., Machine]) -> None:
    """The time to which the wall clock lets the guest idle, each time that it is looked at before the timer's."""
    unpaced, paced = bare(WAIT_FOR_TIMER), bare(WAIT_FOR_TIMER)
    heard: list[Input] = []
    for guest in (unpaced, paced):
        guest.input.listeners.append(heard.append)
        guest.clock.paced = guest is paced
        assert guest.run().reason is StopReason.POWER_OFF
        assert bool(heard) == guest.clock.paced
    assert {entered.kind for entered in heard} == {InputKind.TIME}
    values = [entered.value for entered in heard]
    assert values == sorted(values, key=lambda value: int(str(value)))
    assert {entered.position for entered in heard} == {15}  # behind the WFI
    assert state(unpaced) == state(paced)


def test_semihosting(bare: Callable[..., Machine]) -> None:
    """What the debugger answers is input; what the machine answers follows from the guest's run."""
    guest = bare("1: hlt #0xf000\n b 1b")
    assert guest.semihosting is not None
    guest.semihosting.files = True
    guest.memory.write(RAM + 0x1000, b"\0" * 64)
    heard: list[Input] = []
    guest.input.listeners.append(heard.append)
    guest.registers.x[0], guest.registers.x[1] = 0x31, 0  # SYS_TICKFREQ
    guest.step(2)
    guest.registers.x[0], guest.registers.x[1] = 0x30, RAM + 0x1000  # SYS_ELAPSED writes memory
    guest.step(2)
    guest.memory.write(RAM + 0x1000, (5).to_bytes(8, "little"))
    guest.registers.x[0], guest.registers.x[1] = 0x02, RAM + 0x1000  # SYS_CLOSE of a file
    guest.run(instructions=2)
    guest.semihosting.answer(0, 0)
    registers = [(InputKind.REGISTER, "x0"), (InputKind.REGISTER, "x1")]
    memory = (InputKind.MEMORY, RAM + 0x1000)
    assert kinds(heard) == [*registers, *registers, memory, *registers, (InputKind.ANSWER, "")]
    assert heard[-1].value == (0, 0)


# What handlers change


def changes(number: int, value: int) -> Callable[..., None]:
    def handler(probe: object, regs: Any, *rest: object) -> None:
        regs.regs[number] = value

    return handler


def handler_inputs(guest: Machine, era: str, probe: Kprobe | Kretprobe | Jprobe) -> list[Input]:
    kprobes = Kprobes(guest, era)
    heard: list[Input] = []
    match probe:
        case Kretprobe():
            kprobes.register_kretprobe(probe)
        case Jprobe():
            kprobes.register_jprobe(probe)
        case _:
            kprobes.register_kprobe(probe)
    guest.input.listeners.append(heard.append)
    while not heard:
        guest.run(instructions=10_000)
    return heard


@pytest.mark.parametrize("era", ["v4.8", "v6.1", "v6.9"])
def test_what_handlers_change(demo: Machine, era: str) -> None:
    """The register and the value, at the instruction; not what the probe itself does, which takes x30 and the PC."""
    probes: list[Kprobe | Kretprobe] = [
        Kprobe("kfree", pre_handler=changes(9, 0x111)),
        Kprobe("kfree", post_handler=changes(10, 0x222)),
        Kretprobe("kmalloc", entry_handler=changes(11, 0x333)),
        Kretprobe("kmalloc", handler=changes(12, 0x444)),
    ]
    for number, probe in enumerate(probes):
        guest = machine.load("demo", memory="4M")
        guest.run(until="workload_round")
        heard = handler_inputs(guest, era, probe)
        assert (heard[0].kind, heard[0].where, heard[0].value) == (
            InputKind.HANDLER,
            f"x{9 + number}",
            0x111 * (number + 1),
        )
        assert {entered.where for entered in heard} == {f"x{9 + number}"}


def test_handlers_that_only_look_and_probes_themselves_are_no_input(demo: Machine) -> None:
    kprobes = Kprobes(demo, "v4.8")
    heard: list[Input] = []
    looked: list[int] = []
    probes: list[Kprobe | Kretprobe | Jprobe] = [
        kprobes.register_kprobe(Kprobe("kfree", pre_handler=lambda p, regs: looked.append(regs.pc))),
        kprobes.register_kretprobe(Kretprobe("kmalloc", handler=lambda ri, regs: looked.append(regs.pc))),
        kprobes.register_jprobe(Jprobe("cmp_u32", entry=lambda a, b: looked.append(a))),
    ]
    demo.input.listeners.append(heard.append)
    demo.run(instructions=300_000)
    assert len(looked) > 20
    assert heard == []
    demo.input.listeners.clear()
    for probe in probes:
        kprobes.unregister(probe)


def test_a_handler_that_writes_memory_and_calls(demo: Machine) -> None:
    """Each at the position of the hit."""
    hits: list[int] = []

    def handler(p: Kprobe, regs: Any) -> None:
        if not hits:
            hits.append(demo.instructions)
            demo.memory.write(regs.sp - 256, b"abc")
            demo.call("strlen", regs.sp - 256)

    heard = handler_inputs(demo, "v6.1", Kprobe("kfree", pre_handler=handler))
    assert [kind for kind, _ in kinds(heard)] == [InputKind.MEMORY, InputKind.CALL]
    assert [entered.position for entered in heard] == hits * 2
