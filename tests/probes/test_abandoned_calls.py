# SPDX-License-Identifier: GPL-2.0-or-later
"""Calls of guest functions that are stopped before they return: probes and interrupts are as before them.

How often functions run afterwards is counted by `Machine.intercept`, which probes have no part in.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

import pytest

from armprobe.machine import CallNotReturned, Machine
from armprobe.machine.core.registers import NAMES
from armprobe.probes import ERAS, Kprobe, Kprobes, Kretprobe, PtRegs, Stage


@pytest.fixture(params=sorted(ERAS))
def kprobes(request: pytest.FixtureRequest, demo: Machine) -> Kprobes:
    return Kprobes(demo, request.param)


def text(demo: Machine) -> int:
    """The address of a string."""
    return demo.symbols["__start_rodata"].address


def registers(demo: Machine) -> list[int]:
    return [demo.registers[name] for name in NAMES]


def register(kprobes: Kprobes, name: str, stage: Stage, handler: Callable[..., None]) -> Kprobe | Kretprobe:
    """A probe whose handler of that stage is `handler`."""
    match stage:
        case Stage.PRE:
            return kprobes.register_kprobe(Kprobe(name, pre_handler=handler))
        case Stage.POST:
            return kprobes.register_kprobe(Kprobe(name, post_handler=handler))
        case Stage.ENTRY:
            return kprobes.register_kretprobe(Kretprobe(name, entry_handler=handler))
        case Stage.RETURN:
            return kprobes.register_kretprobe(Kretprobe(name, handler=handler))


def check_probes(demo: Machine, kprobes: Kprobes) -> None:
    """Each call of these functions from here on is a hit, none is missed, and none is waited for in vain."""
    arrived: Counter[str] = Counter()

    def counts(name: str) -> Callable[[Machine], None]:
        return lambda _: arrived.update([name])

    kmalloc = kprobes.register_kretprobe(Kretprobe("kmalloc", record=False))
    strlen = kprobes.register_kprobe(Kprobe("strlen", record=False))
    for name in ("kmalloc", "strlen"):
        demo.intercept(demo.symbols[name].address, counts(name))
    for _ in range(3):
        demo.run(until="sort_round")  # which follows what calls both
    assert min(arrived["kmalloc"], arrived["strlen"]) > 1
    assert {"kmalloc": kmalloc.hits, "strlen": strlen.hits} == arrived
    assert (kmalloc.nmissed, kmalloc.kp.nmissed, strlen.nmissed) == (0, 0, 0)
    assert len(kprobes.outstanding) <= 1  # the last call may not be over


@pytest.mark.parametrize("stage", list(Stage))
def test_stopped_by_a_probe(demo: Machine, kprobes: Kprobes, stage: Stage) -> None:
    probe: Kprobe | Kretprobe
    if stage in (Stage.PRE, Stage.POST):
        probe = kprobes.register_kprobe(Kprobe("strlen", stop=[stage]))
    else:
        probe = kprobes.register_kretprobe(Kretprobe("strlen", stop=[stage], maxactive=3))
    before = registers(demo)
    for number in range(1, 6):
        with pytest.raises(CallNotReturned, match=f"stage {stage.value}, hit {number} .*abandoned"):
            demo.call("strlen", text(demo))
        assert registers(demo) == before
    if isinstance(probe, Kretprobe):
        assert (len(probe.free), probe.nmissed) == (3, 0)
    kprobes.unregister(probe)
    check_probes(demo, kprobes)


def test_stopped_in_a_slot(demo: Machine, kprobes: Kprobes) -> None:
    """Before the access that strlen's first load makes, in all eras: in v4.8 and v5.4 the slot is stepped."""
    load = next(
        address
        for address in range(demo.symbols["strlen"].address, demo.symbols["strlen"].address + 64, 4)
        if demo.memory.u32(address) & 0xFFE0_0C00 in (0x3860_0800, 0x3840_0400)  # LDRB
        or demo.memory.u32(address) & 0xFFC0_0000 == 0x3940_0000
    )
    kprobes.optimization = False  # an optimised probe has no slot
    probe = kprobes.register_kprobe(Kprobe(addr=load))
    demo.watchpoints.add("read", text(demo), 1)
    before = registers(demo)
    with pytest.raises(CallNotReturned, match=f"read of 1 bytes at {text(demo):#x}") as caught:
        demo.call("strlen", text(demo))
    assert probe.site is not None
    assert caught.value.stop.address == probe.site.slot
    assert registers(demo) == before
    demo.watchpoints.remove("read", text(demo), 1)
    length = len(demo.memory.read_string(text(demo)))
    assert demo.call("strlen", text(demo)) == length
    assert (probe.hits, probe.nmissed) == (2, 0)
    kprobes.unregister(probe)
    check_probes(demo, kprobes)


@pytest.mark.parametrize("stage", list(Stage))
def test_stopped_in_a_handler(demo: Machine, kprobes: Kprobes, stage: Stage) -> None:
    """The function that the handler calls has a probe, which is missed, and a breakpoint behind it."""
    inner = kprobes.register_kprobe(Kprobe("insn_nop"))
    address = demo.symbols["insn_nop"].address + 4
    raised: list[str] = []

    def handler(_: object, regs: PtRegs, flags: int = 0) -> None:
        demo.breakpoints.add(address)
        try:
            demo.call("insn_nop", 1)
        except CallNotReturned as error:
            raised.append(str(error))
        finally:
            demo.breakpoints.remove(address)

    outer = register(kprobes, "pcrel_leaf", stage, handler)
    for number in range(1, 6):
        assert demo.call("pcrel_leaf", number) == 3 * number
    assert len(raised) == inner.nmissed == outer.hits == 5
    assert all("breakpoint" in text for text in raised)
    assert inner.hits == 0
    check_probes(demo, kprobes)


def test_stopped_where_a_called_function_is_stopped_for(demo: Machine, kprobes: Kprobes) -> None:
    """A call made at a stop leaves that stop as it is."""
    outer = kprobes.register_kretprobe(Kretprobe("kmalloc", stop=[Stage.RETURN]))
    back = demo.run().address
    value = demo.registers.x[0]
    kprobes.register_kprobe(Kprobe("insn_nop"))
    address = demo.symbols["insn_nop"].address + 4
    demo.breakpoints.add(address)
    with pytest.raises(CallNotReturned):
        demo.call("insn_nop", 1)
    demo.breakpoints.remove(address)
    assert (demo.registers.pc, demo.registers.x[0]) == (back, value)
    demo.step()
    assert demo.registers.pc == back + 4
    kprobes.unregister(outer)
    check_probes(demo, kprobes)


def test_stopped_in_an_interrupt_handler(demo: Machine) -> None:
    """The interrupt that the guest was handling is not left active: the tick, of 250 Hz, still ticks."""
    kprobes = Kprobes(demo)
    probe = kprobes.register_kprobe(Kprobe("tick_periodic", stop=[Stage.PRE]))
    with pytest.raises(CallNotReturned, match="tick_periodic"):
        demo.call("fib", 25)  # 2.4 million instructions: 250,000 of them are a tick
    probe.stop.clear()
    hits, start = probe.hits, demo.clock.seconds
    demo.run(instructions=5_000_000)
    assert abs(probe.hits - hits - (demo.clock.seconds - start) * 250) <= 1


def test_a_called_function_that_ends_in_an_exception_of_the_users(demo: Machine) -> None:
    kprobes = Kprobes(demo)

    def leave(probe: Kprobe, regs: PtRegs) -> None:
        raise SystemExit

    probe = kprobes.register_kprobe(Kprobe("strlen", pre_handler=leave))
    before = registers(demo)
    with pytest.raises(SystemExit):
        demo.call("strlen", text(demo))
    assert registers(demo) == before
    kprobes.unregister(probe)
    check_probes(demo, kprobes)


@pytest.mark.parametrize("stage", list(Stage))
def test_a_handler_that_ends_the_program(demo: Machine, kprobes: Kprobes, stage: Stage) -> None:
    """SystemExit leaves `run`, and the guest can go on after it."""
    left: list[Stage] = []

    def leave(_: object, regs: PtRegs, flags: int = 0) -> None:
        if not left:
            left.append(stage)
            raise SystemExit

    register(kprobes, "kfree", stage, leave)
    with pytest.raises(SystemExit):
        demo.run(instructions=1_000_000)
    assert left == [stage]
    check_probes(demo, kprobes)


@pytest.mark.parametrize("where", ["condition", "note", "on_hit"])
def test_what_ends_the_program_while_a_hit_is_recorded(demo: Machine, where: str) -> None:
    kprobes = Kprobes(demo)
    left: list[str] = []

    def leave(*_: object) -> str:
        if not left:
            left.append(where)
            raise SystemExit
        return "1"

    probe = Kprobe("kfree", condition=leave if where == "condition" else None, note=leave if where == "note" else None)
    kprobes.register_kprobe(probe)
    if where == "on_hit":
        kprobes.on_hit = leave
    with pytest.raises(SystemExit):
        demo.run(instructions=1_000_000)
    check_probes(demo, kprobes)
