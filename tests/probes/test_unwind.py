# SPDX-License-Identifier: GPL-2.0-or-later
"""Return addresses as a debugger sees and writes them, and backtraces; the reference is a guest without probes."""

from __future__ import annotations

import struct

import pytest

from armprobe import machine
from armprobe.machine import MachineError, StopReason
from armprobe.probes import ERAS, TRAMPOLINES, Kprobe, Kprobes, Kretprobe, ProbeError, Stage, symbolised

STEPS = 400


def probe_everything(kprobes: Kprobes) -> list[Kretprobe]:
    """A kretprobe on every function that may have one."""
    probes = []
    for symbol in list(kprobes.machine.symbols.functions()):
        try:
            probes.append(kprobes.register_kretprobe(Kretprobe(symbol.name, maxactive=100, record=False)))
        except ProbeError:
            continue
    assert len(probes) > 100
    return probes


def returns(kprobes: Kprobes) -> list[int]:
    """The return addresses, innermost first."""
    backtrace = kprobes.backtrace()
    assert backtrace.end == ""
    assert not backtrace.frames[0].called
    assert all(frame.called for frame in backtrace.frames[1:])
    return [frame.pc for frame in backtrace.frames[1:]]


@pytest.mark.parametrize("function", ["slab_round", "tree_round", "recursion_round", "string_round", "sort_round"])
@pytest.mark.parametrize("probed", [False, True])
def test_the_callers_are_those_who_called(demo: machine.Machine, kprobes: Kprobes, function: str, probed: bool) -> None:
    """At every instruction: whoever executed BL or BLR and has not been returned to by RET or BR x30."""
    demo.run(until=function)
    outer = returns(kprobes)
    assert [name.partition("+")[0] for name in (demo.symbols.describe(pc - 4) for pc in outer)] == [
        "workload_round", "workload_run", "start_kernel", "__primary_switched",
    ]  # fmt: skip
    assert outer[0] == demo.registers.x[30]
    if probed:
        probe_everything(kprobes)
    calls = list(outer)
    deepest = 0
    for _ in range(STEPS):
        pc = demo.registers.pc
        word = struct.unpack("<I", kprobes.unpatched(pc, demo.memory.read(pc, 4)))[0]
        demo.step()
        if word >> 26 == 0b100101 or word & 0xFFFF_FC1F == 0xD63F_0000:
            calls.insert(0, pc + 4)
        elif word == 0xD65F_03C0:
            assert demo.registers.pc == calls.pop(0)
        assert returns(kprobes) == calls, demo.symbols.describe(demo.registers.pc)
        deepest = max(deepest, len(calls) - len(outer))
    assert deepest >= 1
    assert bool(kprobes.outstanding) is probed


def test_interrupted_code_and_its_callers(demo: machine.Machine, kprobes: Kprobes) -> None:
    """In the handler of an interrupt: below it is what there was when it was taken, as seen from the vector."""
    probe_everything(kprobes)
    demo.run(until="el1h_64_irq")
    inside = demo.snapshot()
    registers = demo.registers
    interrupted = registers["elr_el1"]
    registers.pc, registers.sp = interrupted, registers.sp + 0x150  # which the vector's first instruction has lowered
    expected = kprobes.backtrace().frames
    assert expected[0].pc == interrupted
    demo.restore(inside)
    demo.run(until="gic_handle_irq")
    backtrace = kprobes.backtrace()
    assert backtrace.end == ""
    names = [symbolised(demo.symbols, frame).partition("+")[0] for frame in backtrace.frames]
    assert names[:3] == ["gic_handle_irq", "el1h_64_irq_handler", "el1h_64_irq"]
    assert backtrace.frames[3:] == expected


def test_a_system_call_and_the_task_that_made_it(demo: machine.Machine, kprobes: Kprobes) -> None:
    """The task goes on where ELR_EL1 says; a function called through a table is called all the same."""
    probe_everything(kprobes)
    demo.run(until="sys_getpid")
    backtrace = kprobes.backtrace()
    names = [symbolised(demo.symbols, frame).partition("+")[0] for frame in backtrace.frames]
    assert names[:4] == ["sys_getpid", "__arm64_sys_getpid", "invoke_syscall", "el0_svc_common"]
    assert names[4:7] == ["do_el0_svc", "el0t_64_sync_handler", "el0t_64_sync"]
    task = [frame for frame in backtrace.frames if frame.el0]
    assert task[0].pc == demo.registers["elr_el1"]
    assert names[-len(task) :] == ["user_syscall", "user_getpid", "user_report", "user_main", "_user_start"]
    assert backtrace.end == ""
    while demo.registers.pc != task[0].pc:
        demo.step()
    assert kprobes.backtrace().frames == task


@pytest.mark.parametrize(
    ("record", "end"),
    [
        (lambda at: (at, 0), "circle"),
        (lambda at: (at + 4, 0), "not aligned"),
        (lambda at: (at - 64, 0), "comes after one at"),
        (lambda at: (0x1234_5678_0000, 0), "cannot be read"),
        (lambda at: (at + 32, 0x1000), "as return address, where no code is"),
    ],
)
def test_a_damaged_stack(demo: machine.Machine, kprobes: Kprobes, record: object, end: str) -> None:
    """What is wrong with it is said, and what is right is shown."""
    demo.run(until="workload_round")
    demo.run(until="kmalloc")
    right = returns(kprobes)
    at = demo.registers.x[29]
    following, caller = record(at)  # type: ignore[operator]
    demo.memory.write(at, struct.pack("<QQ", following, caller or demo.memory.u64(at + 8)))
    backtrace = kprobes.backtrace()
    assert end in backtrace.end
    found = [frame.pc for frame in backtrace.frames[1:]]
    assert found[: 1 if caller else 2] == right[: 1 if caller else 2]


def test_the_backtrace_of_a_hit(demo: machine.Machine, kprobes: Kprobes) -> None:
    """While its callers have not gone on; after that it is refused in a sentence."""
    outer = kprobes.register_kretprobe(Kretprobe("slab_round"))
    inner = kprobes.register_kretprobe(Kretprobe("kmalloc", stop=[Stage.RETURN]))
    probe = kprobes.register_kprobe(Kprobe("kmalloc"))
    demo.run()
    entries = {hit.probe: hit for hit in kprobes.hits if hit.stage in (Stage.ENTRY, Stage.PRE)}
    back = kprobes.hits[-1]
    assert (back.probe, back.stage) == (inner, Stage.RETURN)
    assert kprobes.backtrace(back) == kprobes.backtrace()
    # slab_round has yet to return: its callers are where they were.
    names = [symbolised(demo.symbols, frame).partition("+")[0] for frame in kprobes.backtrace(entries[outer]).frames]
    assert names == ["slab_round", "workload_round", "workload_run", "start_kernel", "__primary_switched"]
    assert kprobes.backtrace(entries[outer]).frames[2:] == kprobes.backtrace().frames[2:]
    for hit, kind in ((entries[inner], "kretprobe"), (entries[probe], "kprobe")):
        with pytest.raises(ProbeError, match=f"ESTALE: .* since hit 1 of the {kind} kmalloc, "):
            kprobes.backtrace(hit)


def test_a_return_address_that_is_written(demo: machine.Machine, kprobes: Kprobes) -> None:
    """Into the frame record: the kretprobe sees the return, and that is where it goes."""
    seen: list[int] = []
    kprobes.register_kretprobe(Kretprobe("slab_round", handler=lambda ri, regs: seen.append(regs.pc)))
    demo.run(until="kmalloc")
    at = demo.registers.x[29] + 8
    caller, elsewhere = returns(kprobes)[1], demo.symbols["machine_power_off"].address
    raw = demo.memory.read(at - 8, 32)
    shown = kprobes.unwind.with_callers(at - 8, raw)
    assert struct.unpack_from("<Q", shown, 8) == (caller,) != struct.unpack_from("<Q", raw, 8)
    for start, end in ((0, 32), (8, 16), (3, 12), (9, 10)):
        kprobes.unwind.write(at - 8 + start, shown[start:end])
        assert demo.memory.read(at - 8, 32) == raw
        assert kprobes.unwind.with_callers(at - 8 + start, raw[start:end]) == shown[start:end]
    kprobes.unwind.write(at, struct.pack("<Q", elsewhere))
    assert demo.memory.read(at - 8, 32) == raw
    assert kprobes.unwind.with_callers(at, raw[8:16]) == struct.pack("<Q", elsewhere)
    assert demo.run(until="machine_power_off").reason is StopReason.UNTIL
    assert seen == [elsewhere]
    assert kprobes.outstanding == []


@pytest.mark.parametrize("probed", [True, False])
def test_frames_that_a_debugger_has_left_together(demo: machine.Machine, kprobes: Kprobes, probed: bool) -> None:
    """As by gdb's `return` in a caller: the inner calls have leaked, which a return that they were nested in shows."""
    outer = kprobes.register_kretprobe(Kretprobe("slab_round", disabled=not probed))
    inner = kprobes.register_kretprobe(Kretprobe("kmalloc"))
    demo.run(until="slab_round")
    sp, caller = demo.registers.sp, kprobes.unwind.x30
    saved = {i: demo.registers.x[i] for i in range(19, 30)}
    demo.run(until="kmalloc")
    demo.step(3)
    assert len(kprobes.outstanding) == 1 + probed
    demo.registers.sp, demo.registers.pc = sp, caller
    for i, value in saved.items():
        demo.registers.x[i] = value
    kprobes.unwind.before_resume()
    assert (inner.leaked, len(kprobes.outstanding)) == ((1, 0) if probed else (0, 1))
    assert demo.run(instructions=1_000_000).reason is StopReason.INSTRUCTIONS
    assert (inner.leaked, outer.leaked, inner.nmissed) == (1 if probed else inner.leaked, 0, 0)


def test_a_word_that_is_no_return_address(demo: machine.Machine, kprobes: Kprobes) -> None:
    """The trampoline's address below the stack pointer, left over, is shown; a local variable is written as any."""
    kprobes.register_kretprobe(Kretprobe("slab_round"))
    demo.run(until="kmalloc")
    sp, record = demo.registers.sp, demo.registers.x[29]
    (taken,) = struct.unpack("<Q", demo.memory.read(record + 8, 8))
    left_over = struct.pack("<Q", taken)
    for place in (sp - 64, record + 32):
        demo.memory.write(place, left_over)
    assert kprobes.unwind.with_callers(sp - 64, left_over) == left_over
    kprobes.unwind.write(record + 32, struct.pack("<Q", 5))
    assert demo.memory.u64(record + 32) == 5
    (call,) = kprobes.outstanding
    assert call.ret_addr == returns(kprobes)[1]


def test_devices_are_not_read_for_return_addresses(demo: machine.Machine, kprobes: Kprobes) -> None:
    """Writing to one reads nothing from it, whatever calls are outstanding."""
    kprobes.register_kretprobe(Kretprobe("slab_round"))
    demo.run(until="kmalloc")
    with pytest.raises(MachineError):
        kprobes.unwind.write(0x10, b"1234")
    assert kprobes.unwind.with_callers(0x0900_0000, b"12") == b"12"


@pytest.mark.parametrize(("era", "way"), [*((era, None) for era in ERAS), *(("v6.1", way) for way in TRAMPOLINES)])
def test_every_trampoline(demo: machine.Machine, era: str, way: str | None) -> None:
    """At the stages of a kretprobe, whatever the design: the callers and x30 are as without it, and a step is one of
    the caller's."""
    demo.run(until="kmalloc")
    entered = demo.snapshot()
    back, sp = demo.registers.x[30], demo.registers.sp
    demo.run(until=back)
    returned = demo.registers.x[30], demo.registers.sp
    assert returned == (back, sp)
    demo.restore(entered)
    kprobes = Kprobes(demo, era, trampoline=way)
    outer = returns(kprobes)[1:]
    kprobes.register_kretprobe(Kretprobe("kmalloc", stop=[Stage.ENTRY, Stage.RETURN]))
    stop = demo.run()
    assert stop.detail.stage is Stage.ENTRY
    assert returns(kprobes) == [back, *outer]
    assert kprobes.unwind.x30 == back
    demo.step(4)
    assert returns(kprobes) == [back, *outer]
    stop = demo.run()
    assert (stop.detail.stage, stop.address) == (Stage.RETURN, back)
    assert (kprobes.unwind.x30, demo.registers.sp) == returned
    assert returns(kprobes) == outer
    demo.step()
    assert demo.registers.pc == back + 4
    assert returns(kprobes) == outer
