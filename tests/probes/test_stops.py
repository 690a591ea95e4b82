# SPDX-License-Identifier: GPL-2.0-or-later
"""Stopping between the stages, looking, changing, calling, and going on."""

from __future__ import annotations

import struct
import threading

import pytest

from armprobe import machine
from armprobe.machine import StopReason
from armprobe.probes import Hit, Kprobe, Kprobes, Kretprobe, Stage

NZCV = 0xF000_0000


def test_stop_at_pre(demo: machine.Machine, kprobes: Kprobes) -> None:
    ran: list[str] = []
    probe = kprobes.register_kprobe(
        Kprobe(
            "kfree",
            pre_handler=lambda p, regs: ran.append("pre"),
            post_handler=lambda p, regs, flags: ran.append("post"),
            stop=[Stage.PRE],
        )
    )
    stop = demo.run()
    address = demo.symbols["kfree"].address
    assert (stop.reason, stop.address, stop.text) == (StopReason.PROBE, address, "kprobe kfree: stage pre, hit 1")
    assert isinstance(stop.detail, Hit)
    assert (stop.detail.probe, stop.detail.number) == (probe, 1)
    assert demo.registers.pc == address
    assert ran == ["pre"]
    demo.step()
    assert demo.registers.pc == address + 4
    assert ran == ["pre", "post"]
    assert demo.run().detail.number == 2
    assert ran == ["pre", "post", "pre"]


@pytest.mark.parametrize("name", ["insn_nop", "pcrel_ret", "pcrel_cbz"])
def test_changes_at_pre_take_effect(demo: machine.Machine, kprobes: Kprobes, name: str) -> None:
    expected = {"insn_nop": 1234, "pcrel_ret": 1234, "pcrel_cbz": 1}[name]
    probe = kprobes.register_kprobe(Kprobe(name, stop=[Stage.PRE]))
    demo.run()
    back, sp = demo.registers.x[30], demo.registers.sp
    demo.registers.x[0] = 1234
    probe.stop.clear()
    while demo.run(until=back).address != back or demo.registers.sp != sp:
        pass
    assert demo.registers.x[0] == expected


def test_moving_the_pc_at_pre_abandons_the_step(demo: machine.Machine, kprobes: Kprobes) -> None:
    posts: list[int] = []
    probe = kprobes.register_kprobe(
        Kprobe("fib", post_handler=lambda p, regs, flags: posts.append(1), stop=[Stage.PRE])
    )
    demo.run()
    probe.stop.clear()
    back = demo.registers.x[30]
    demo.registers.x[0], demo.registers.pc = 77, back
    assert demo.run(until=back + 4).reason is StopReason.UNTIL
    assert posts == []
    hits = probe.hits
    assert demo.call("fib", 1) == 1
    assert (probe.hits, probe.nmissed) == (hits + 1, 0)


def test_stop_at_post(demo: machine.Machine, kprobes: Kprobes) -> None:
    probe = kprobes.register_kprobe(Kprobe("pcrel_b", stop=[Stage.POST]))
    stop = demo.run()
    target = demo.symbols["pcrel_b"].address + 12  # where the branch there goes
    assert (stop.address, stop.text, demo.registers.pc) == (target, "kprobe pcrel_b: stage post, hit 1", target)
    value = demo.registers.x[0]
    demo.step()
    assert (demo.registers.x[0], demo.registers.pc) == (value + 1, target + 4)
    assert probe.nmissed == 0


def test_stop_at_entry(demo: machine.Machine, kprobes: Kprobes) -> None:
    probe = kprobes.register_kretprobe(Kretprobe("kmalloc", stop=[Stage.ENTRY, Stage.RETURN]))
    stop = demo.run()
    address = demo.symbols["kmalloc"].address
    assert (stop.address, stop.text, demo.registers.pc) == (address, "kretprobe kmalloc: stage entry, hit 1", address)
    # A debugger finds the caller; the trampoline takes its place when the guest goes on.
    caller = stop.detail.regs.regs[30]
    assert demo.registers.x[30] == caller
    stop = demo.run()
    assert (stop.text, stop.address, stop.detail.caller) == ("kretprobe kmalloc: stage return, hit 1", caller, caller)
    assert probe.hits == 1


def test_stop_at_return_shows_the_caller(demo: machine.Machine, kprobes: Kprobes) -> None:
    """And a call made there, on the stack just below, does not spoil the way back."""
    snapshot = demo.snapshot()
    names = [*(f"x{i}" for i in range(30)), "sp", "pc", "pstate"]
    demo.run(until="kmalloc")
    back, sp = demo.registers.x[30], demo.registers.sp
    while demo.run(until=back) and demo.registers.sp != sp:
        pass
    expected = [demo.registers[name] for name in names]
    demo.step(3)
    afterwards = [demo.registers[name] for name in names]
    demo.restore(snapshot)

    probe = kprobes.register_kretprobe(Kretprobe("kmalloc", stop=[Stage.RETURN]))
    demo.run()
    assert [demo.registers[name] for name in names] == expected
    assert demo.call("hanoi", 3, 1, 2, 3) == 7
    assert demo.call("kmalloc", 64, 0) != 0
    assert probe.kp.nmissed == 1  # the hit is still being handled
    kprobes.unregister(probe)
    demo.run(until=back)
    assert [demo.registers[name] for name in names] == expected
    demo.step(3)
    assert [demo.registers[name] for name in names] == afterwards


def test_a_step_at_return_is_an_instruction_of_the_caller(demo: machine.Machine, kprobes: Kprobes) -> None:
    """What is left of the trampoline is not counted for one."""
    kprobes.register_kretprobe(Kretprobe("kmalloc", stop=[Stage.RETURN]))
    back = demo.run().address
    demo.step()
    assert demo.registers.pc == back + 4
    back = demo.run().address
    snapshot = demo.snapshot()
    demo.step(3)
    assert demo.registers.pc == back + 12
    demo.restore(snapshot)
    demo.registers.pc = back + 8  # moved by hand: the trampoline is left
    demo.step()
    assert demo.registers.pc == back + 12


def test_changes_at_return_take_effect(demo: machine.Machine, kprobes: Kprobes) -> None:
    probe = kprobes.register_kretprobe(Kretprobe("fib", stop=[Stage.RETURN]))
    stop = demo.run()
    probe.stop.clear()
    demo.registers.x[0], demo.registers.x[19] = 4321, 19
    flags = demo.registers.pstate ^ NZCV
    demo.registers.pstate = flags
    demo.run(until=stop.address)
    assert (demo.registers.x[0], demo.registers.x[19]) == (4321, 19)
    assert demo.registers.pstate & NZCV == flags & NZCV
    assert demo.registers.x[30] == stop.address


def test_moving_the_pc_at_return(demo: machine.Machine, kprobes: Kprobes) -> None:
    probe = kprobes.register_kretprobe(Kretprobe("insn_nop", stop=[Stage.RETURN]))
    stop = demo.run()
    probe.stop.clear()
    demo.registers.pc = stop.address + 4
    assert demo.run(until=stop.address + 8, instructions=2).reason is StopReason.UNTIL
    assert demo.call("insn_nop", 6) == 6
    assert (probe.hits, probe.nmissed, probe.kp.nmissed) == (2, 0, 0)


def test_step_over_a_simulated_instruction(demo: machine.Machine, kprobes: Kprobes) -> None:
    """One step is one instruction, with a stop before it or not; interrupts stay as they were."""
    probe = kprobes.register_kprobe(Kprobe("pcrel_b"))
    address = demo.symbols["pcrel_b"].address
    for stops in ([], [Stage.PRE], [Stage.PRE, Stage.POST]):
        probe.stop = set(stops)
        demo.run(until="pcrel_b")
        pstate = demo.registers.pstate
        if Stage.PRE in stops:
            assert demo.step().reason is StopReason.PROBE
            assert demo.registers.pc == address
        demo.step()
        assert demo.registers.pc == address + 12
        assert demo.registers.pstate == pstate
    assert probe.nmissed == 0


@pytest.mark.parametrize("stage", [Stage.PRE, Stage.POST])
def test_hits_at_a_stop_are_missed(demo: machine.Machine, kprobes: Kprobes, stage: Stage) -> None:
    probe = kprobes.register_kprobe(Kprobe("kfree", stop=[stage]))
    other = kprobes.register_kprobe(Kprobe("insn_nop"))
    demo.run()
    assert demo.call("insn_nop", 3) == 3
    assert (other.hits, other.nmissed) == (0, 1)
    assert demo.run().detail.number == 2
    assert (probe.hits, probe.nmissed) == (2, 0)


def test_several_stops_at_one_place(demo: machine.Machine, kprobes: Kprobes) -> None:
    """Handlers of all run; one stop a stage, for the first that wants one."""
    old = kprobes.register_kprobe(Kprobe("kfree", stop=[Stage.PRE]))
    new = kprobes.register_kprobe(Kprobe("kfree", stop=[Stage.PRE, Stage.POST]))
    stop = demo.run()
    assert (stop.detail.probe, stop.detail.stage) == (new, Stage.PRE)
    assert (old.hits, new.hits) == (1, 1)
    stop = demo.run()
    assert (stop.detail.probe, stop.detail.stage) == (new, Stage.POST)


def test_unregister_at_a_stop(demo: machine.Machine, kprobes: Kprobes) -> None:
    """The instruction is still executed, in its slot, and the guest goes on."""
    probe = kprobes.register_kprobe(Kprobe("kfree", stop=[Stage.PRE]))
    demo.run()
    address = demo.symbols["kfree"].address
    word = kprobes.unpatched(address, demo.memory.read(address, 4))
    kprobes.unregister(probe)
    assert demo.memory.read(address, 4) == word
    demo.step()
    assert demo.registers.pc == address + 4
    other = kprobes.register_kprobe(Kprobe("kfree", stop=[Stage.PRE]))
    assert demo.run().detail.probe is other


def test_reentry_into_a_slot_stops_with_the_kernels_words(demo: machine.Machine) -> None:
    """What BUGs in v5.10 is brought about by a debugger that stands in the slot and calls a probed function."""
    kprobes = Kprobes(demo, "v5.10")
    kprobes.optimization = False  # an optimised probe has no slot
    probe = kprobes.register_kprobe(Kprobe("insn_nop"))
    other = kprobes.register_kprobe(Kprobe("pcrel_leaf"))
    assert probe.site is not None
    demo.run(until=probe.site.slot)
    with pytest.raises(machine.MachineError, match="Unrecoverable kprobe detected"):
        demo.call("pcrel_leaf", 1)
    assert other.nmissed == 0
    demo.run(instructions=1)
    assert demo.registers.pc == demo.symbols["insn_nop"].address + 4
    hits = other.hits
    assert demo.call("pcrel_leaf", 2) == 6
    assert (other.hits, other.nmissed) == (hits + 1, 0)


def test_a_slot_that_does_not_end(demo: machine.Machine, kprobes: Kprobes) -> None:
    """The guest has written to it, by another mapping of that memory: steps end, and Ctrl-C is not lost."""
    kprobes.optimization = False  # an optimised probe has no slot
    probe = kprobes.register_kprobe(Kprobe("kfree"))
    assert probe.site is not None
    demo.scratch.write(probe.site.slot, struct.pack("<I", 0x1400_0000))  # b .
    demo.run(until="kfree")
    stop = demo.step()
    assert (stop.reason, stop.address) == (StopReason.INSTRUCTIONS, probe.site.slot)
    demo.interrupt()
    assert demo.run().reason is StopReason.INTERRUPTED
    timer = threading.Timer(0.1, demo.interrupt)
    timer.start()
    assert demo.run().reason is StopReason.INTERRUPTED


def test_ctrl_c_in_a_slot_that_has_gone(demo: machine.Machine) -> None:
    """The guest uses the entry of its top-level table that was free for ours: the ERET of v4.8 cannot be fetched."""
    kprobes = Kprobes(demo, "v4.8")
    kprobes.register_kprobe(Kprobe("kfree"))
    root = demo.registers["ttbr1_el1"] & 0xFFFF_FFFF_F000
    invalid = 1 << 1  # bit 0 is the valid bit (Arm ARM, D8.3)
    demo.memory.physical.write(root + demo.scratch._entry[0], invalid.to_bytes(8, "little"))
    assert "Unexpected kernel single-step exception" in demo.run().text
    for _ in range(5):
        demo.interrupt()
        assert demo.run().reason in (StopReason.INTERRUPTED, StopReason.PROBE)
        demo.step(50)
