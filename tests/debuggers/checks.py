# SPDX-License-Identifier: GPL-2.0-or-later
"""What is asked of every debugger, a function for each row of the table in docs/debuggers.md.

The guest is looked at a second time through the machine itself, and what must come out follows from the architecture
(x30 is where a function returns to; one step is one instruction) or from the guest's program. None knows what an
earlier one did.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from armprobe.clients.gdb_session import PROXY
from armprobe.commands import Session
from armprobe.machine.memory.regions import TOP
from tests.debuggers.driver import Debugger, DebuggerError
from tests.debuggers.guests import Guest
from tests.waiting import wait_until

_TROUBLE = re.compile(r"warning|error|unknown|cannot|not supported|failed", re.IGNORECASE)
_BL = (0xFC00_0000, 0x9400_0000)  # mask and value (Arm ARM, C6.2.34)


class NotApplicable(Exception):
    """The debugger has no such thing, or the guest has none; the text says what."""


@dataclass
class Bench:
    """A guest, the debugger that is to look at it, and the stub's address."""

    session: Session
    guest: Guest
    debugger: Debugger
    address: str
    folder: Path

    def attach(self) -> None:
        """What every check but those of attaching begins with."""
        self.debugger.attach(self.address)

    def go_to(self, where: str, condition: str = "", hardware: bool = False) -> str:
        """Run to a place, and take the breakpoint out again."""
        said = self.debugger.breakpoint(where, condition, hardware)
        assert not _TROUBLE.search(said), said
        said = self.debugger.execute("continue")
        self.debugger.delete()
        return said

    def machine_pc(self) -> int:
        return self.session.machine.registers.pc

    def symbol(self, name: str) -> int:
        return self.session.machine.symbols[name].address

    def function(self) -> str:
        """The one that the machine is in."""
        found = self.session.machine.symbols.at(self.machine_pc())
        assert found, f"pc {self.machine_pc():#x} is in no function"
        return found[0].name

    @property
    def watched_place(self) -> tuple[int, str]:
        return self.guest.watched(self.session), self.guest.variable

    def watched_value(self) -> int:
        data = self.session.machine.memory.read(self.guest.watched(self.session), self.guest.size)
        return int.from_bytes(data, "little")


Check = Callable[[Bench], None]


def attaching(bench: Bench) -> None:
    """Attaching prints where the guest is, and nothing that sounds of trouble."""
    said = bench.debugger.attach(bench.address)
    assert not _TROUBLE.search(said), said
    assert f"{bench.machine_pc():#018x}" in said or bench.function() in said, said


def symbols(bench: Bench) -> None:
    """A debugger that was started without a program has the guest's symbols."""
    if not bench.debugger.reads_program:
        raise NotApplicable("it takes no program from a stub")
    bench.attach()
    assert bench.debugger.value(f"&{bench.guest.function}") == bench.symbol(bench.guest.function)


def registers(bench: Bench) -> None:
    """x0 to x30, sp, pc and cpsr are the machine's."""
    bench.attach()
    shown = bench.debugger.registers()
    machine = bench.session.machine.registers
    names = [*(f"x{n}" for n in range(31)), "sp", "pc", "cpsr"]
    assert {name: shown.get(name) for name in names} == {name: machine[name] for name in names}


def register_written(bench: Bench) -> None:
    """A general register, and others stay as they are; a system register is shown as it is."""
    bench.attach()
    machine = bench.session.machine.registers
    before = [machine[f"x{n}"] for n in range(31)]
    said = bench.debugger.write_register("x17", 0x1122_3344_5566_7788)
    assert machine["x17"] == 0x1122_3344_5566_7788, said
    bench.debugger.write_register("x17", before[17])
    assert [machine[f"x{n}"] for n in range(31)] == before
    assert bench.debugger.value("$vbar_el1") == machine["vbar_el1"]


def memory(bench: Bench) -> None:
    """64 KiB of the kernel's text, all at once; and eight bytes written."""
    bench.attach()
    text = bench.symbol(bench.guest.function) & ~0xFFF
    assert bench.debugger.memory(text, 0x10000, bench.folder) == bench.session.machine.memory.read(text, 0x10000)
    below = bench.session.machine.registers.sp - 64
    said = bench.debugger.write_word(below, 0x0102_0304_0506_0708)
    assert bench.session.machine.memory.read(below, 8) == struct.pack("<Q", 0x0102_0304_0506_0708), said


def memory_map(bench: Bench) -> None:
    """All that the guest maps is in a region that the debugger knows of, and what it does not map cannot be read."""
    bench.attach()
    shown = bench.debugger.regions()
    at, mapped = 0, []
    while at < TOP:
        region = bench.session.machine.memory.region(at)
        at = region.end
        if region.access:
            mapped.append((region.start, region.end))
    assert mapped
    assert all(any(start <= low and high <= end for start, end in shown) for low, high in mapped), shown
    assert len(shown) in (2, len(mapped)), shown  # gdb's are the halves of the address space
    text = bench.symbol(bench.guest.function)
    word = int.from_bytes(bench.session.machine.memory.read(text, 4), "little")
    assert bench.debugger.value(f"*(unsigned *) {text:#x}") == word
    assert not _readable(bench, 0)
    assert not _readable(bench, TOP - 4)


def _readable(bench: Bench, address: int) -> bool:
    try:
        bench.debugger.value(f"*(unsigned *) {address:#x}")
    except DebuggerError:
        return False
    return True


def breakpoint_hit(bench: Bench) -> None:
    """Stops at the function, each time that it is entered."""
    bench.attach()
    bench.debugger.breakpoint(f"*{bench.symbol(bench.guest.function):#x}")
    before = bench.session.machine.instructions
    for _ in range(3):
        bench.debugger.execute("continue")
        assert bench.machine_pc() == bench.symbol(bench.guest.function)
        assert bench.session.machine.instructions > before
        before = bench.session.machine.instructions


def breakpoint_by_name(bench: Bench) -> None:
    """Where the debugger puts it, behind the prologue perhaps, is in the function."""
    bench.attach()
    bench.go_to(bench.guest.function)
    assert bench.function() == bench.guest.function


def hardware_breakpoint(bench: Bench) -> None:
    """Stops at the function."""
    bench.attach()
    bench.go_to(f"*{bench.symbol(bench.guest.function):#x}", hardware=True)
    assert bench.machine_pc() == bench.symbol(bench.guest.function)


def condition(bench: Bench) -> None:
    """Stops only where the condition is true, which it is not at every hit."""
    bench.attach()
    register, _, value = bench.guest.condition.partition(" == ")
    place = f"*{bench.symbol(bench.guest.function):#x}"
    for _ in range(2):
        bench.go_to(place, bench.guest.condition)
        assert bench.session.machine.registers[register.removeprefix("$")] == int(value)
        assert bench.machine_pc() == bench.symbol(bench.guest.function)
        bench.debugger.execute(bench.debugger.step_instruction)
    bench.go_to(place, bench.guest.condition.replace("==", "!="))
    assert bench.session.machine.registers[register.removeprefix("$")] != int(value)


def watch(bench: Bench) -> None:
    """Stops behind each store, with the value before and after it shown."""
    bench.attach()
    said = bench.debugger.watch("watch", *bench.watched_place)
    assert not _TROUBLE.search(said), said
    for _ in range(3):
        before = bench.watched_value()
        said = bench.debugger.execute("continue")
        after = bench.watched_value()
        assert after == bench.guest.successor(before), f"{before:#x} became {after:#x}"
        assert _shows(said, before), said
        assert _shows(said, after), said


def read_watch(bench: Bench) -> None:
    """Stops behind loads. What an atomic instruction loads it may store as well."""
    bench.attach()
    said = bench.debugger.watch("rwatch", *bench.watched_place)
    assert not _TROUBLE.search(said), said
    for _ in range(3):
        instructions = bench.session.machine.instructions
        said = bench.debugger.execute("continue")
        assert bench.session.machine.instructions > instructions
        assert _touches(bench), said


def access_watch(bench: Bench) -> None:
    """Stops behind loads and stores."""
    bench.attach()
    bench.debugger.watch("awatch", *bench.watched_place)
    changed = []
    for _ in range(40):
        before = bench.watched_value()
        said = bench.debugger.execute("continue")
        after = bench.watched_value()
        assert after in (before, bench.guest.successor(before)), said
        assert _touches(bench), said
        changed.append(after != before)
        if len(set(changed)) == 2:
            return
    raise AssertionError("of 40 accesses all were " + ("stores" if changed[0] else "loads"))


def _touches(bench: Bench) -> bool:
    """Whether the instruction just executed is a load or store (Arm ARM, C4.1: op0 of x1x0)."""
    word = int.from_bytes(bench.session.machine.memory.read(bench.machine_pc() - 4, 4), "little")
    return word >> 25 & 0b0101 == 0b0100


def step_instruction(bench: Bench) -> None:
    """Each step is one instruction, and the debugger is where the machine is."""
    bench.attach()
    bench.go_to(f"*{bench.symbol(bench.guest.function):#x}")
    for _ in range(20):
        before = bench.session.machine.instructions
        bench.debugger.execute(bench.debugger.step_instruction)
        assert bench.session.machine.instructions == before + 1
        assert bench.debugger.value("$pc") == bench.machine_pc()


def next_instruction(bench: Bench) -> None:
    """Over a call: behind it, with the stack as it was."""
    bench.attach()
    bench.go_to(f"*{bench.symbol(bench.guest.function):#x}")
    machine = bench.session.machine
    for _ in range(200):
        pc, sp = machine.registers.pc, machine.registers.sp
        if int.from_bytes(machine.memory.read(pc, 4), "little") & _BL[0] == _BL[1]:
            before = machine.instructions
            bench.debugger.execute(bench.debugger.next_instruction)
            assert (machine.registers.pc, machine.registers.sp) == (pc + 4, sp)
            assert machine.instructions > before + 1
            return
        bench.debugger.execute(bench.debugger.step_instruction)
    raise AssertionError("no call was reached")


def step_line(bench: Bench) -> None:
    """Into the function that the line calls."""
    caller, callee = _lines(bench)
    bench.attach()
    bench.go_to(caller)
    for _ in range(8):  # the breakpoint may be before the line with the call
        said = bench.debugger.execute(bench.debugger.step)
        if bench.function() != caller:
            break
    assert bench.function() == callee, said


def next_line(bench: Bench) -> None:
    """On and on in a function that has no loops, over its calls."""
    caller, _ = _lines(bench)
    bench.attach()
    bench.go_to(caller)
    bench.debugger.execute(bench.debugger.next)  # past the prologue
    sp, places, calls = bench.session.machine.registers.sp, [bench.machine_pc()], 0
    for _ in range(6):
        before = bench.session.machine.instructions
        said = bench.debugger.execute(bench.debugger.next)
        places.append(bench.machine_pc())
        assert (bench.function(), bench.session.machine.registers.sp) == (caller, sp), said
        calls += bench.session.machine.instructions - before > (places[-1] - places[-2]) // 4
    assert places == sorted(set(places)), places
    assert calls, "none of the lines called anything"


def _lines(bench: Bench) -> tuple[str, str]:
    if bench.guest.lines is None:
        raise NotApplicable("it has no line numbers")
    return bench.guest.lines


def finish(bench: Bench) -> None:
    """Ends where x30 said at the entry."""
    bench.attach()
    bench.go_to(f"*{bench.symbol(bench.guest.function):#x}")
    caller, sp = bench.session.machine.registers["x30"], bench.session.machine.registers.sp
    bench.debugger.execute(bench.debugger.finish)
    assert (bench.machine_pc(), bench.session.machine.registers.sp) == (caller, sp)


def backtrace(bench: Bench) -> None:
    """The caller is who x30 says, and a few steps on, with the frame made, still is."""
    bench.attach()
    bench.go_to(f"*{bench.symbol(bench.guest.function):#x}")
    found = bench.session.machine.symbols.at(bench.session.machine.registers["x30"])
    assert found
    for _ in range(8):
        said = bench.debugger.execute("bt")
        assert re.search(rf"\b{bench.guest.function}\b.*\n(?:.*\n)?.*\b{re.escape(found[0].name)}\b", said), said
        bench.debugger.execute(bench.debugger.step_instruction)
        if bench.function() != bench.guest.function:
            break


def goes_on(bench: Bench) -> None:
    """Wait until the guest has executed something more."""
    machine = bench.session.machine
    enough = machine.instructions + 100_000
    wait_until(lambda: machine.instructions >= enough, "the guest goes on")


def control_c(bench: Bench) -> None:
    """Stops the guest where it is, which goes on from there."""
    bench.attach()
    for _ in range(2):
        bench.debugger.run()
        goes_on(bench)
        said = bench.debugger.control_c()
        assert bench.debugger.interrupted in said, said
        assert bench.debugger.value("$pc") == bench.machine_pc()


def monitor(bench: Bench) -> None:
    """armprobe's own commands, and their refusals."""
    bench.attach()
    said = bench.debugger.execute(f"{bench.debugger.monitor} kprobe {bench.guest.function} stop=pre")
    assert f"kprobe 1: {bench.guest.function} at {bench.symbol(bench.guest.function):#x}, stops at pre" in said, said
    said = bench.debugger.execute("continue")
    assert f"kprobe {bench.guest.function}: stage pre" in said, said
    assert bench.machine_pc() == bench.symbol(bench.guest.function)
    bench.debugger.execute(f"{bench.debugger.monitor} unregister 1")
    assert bench.session.kprobes.list() == []


def guest_context(bench: Bench) -> None:
    """armprobe's view, after each stop or not at all."""
    if bench.debugger.prompt != "(gdb) ":
        raise NotApplicable("it is a command that armprobe gives gdb")
    bench.attach()
    bench.debugger.execute(f"source {PROXY}")
    for shown in (True, False):
        bench.debugger.execute(f"guest-context {'regs' if shown else 'off'}")
        said = bench.debugger.execute("stepi")
        assert (f"pc  {bench.machine_pc():016x}" in said) is shown, said


def detach(bench: Bench) -> None:
    """The debugger's breakpoints go, and the guest is where it was left."""
    bench.attach()
    bench.debugger.breakpoint(bench.guest.function)
    bench.debugger.execute("continue")
    pc = bench.machine_pc()
    said = bench.debugger.execute("detach")
    assert "detached" in said, said
    assert bench.machine_pc() == pc
    assert not any(bench.session.machine.breakpoints.count(pc + offset) for offset in range(-32, 36, 4))


def attach_again(bench: Bench) -> None:
    """After a detach, with the same debugger: no trouble, and breakpoints work."""
    bench.attach()
    bench.go_to(bench.guest.function)
    bench.debugger.execute("detach")
    said = bench.debugger.attach(bench.address)
    assert not _TROUBLE.search(said), said
    assert bench.debugger.value("$pc") == bench.machine_pc()
    bench.go_to(f"*{bench.symbol(bench.guest.function):#x}")
    assert bench.machine_pc() == bench.symbol(bench.guest.function)


def kill(bench: Bench) -> None:
    """The guest is as it was at its start, and can be attached to."""
    bench.attach()
    bench.go_to(f"*{bench.symbol(bench.guest.function):#x}")
    before = bench.session.machine.instructions
    said = bench.debugger.execute(bench.debugger.kill)
    assert not _TROUBLE.search(said), said
    start = bench.session.machine.instructions
    assert start < before
    bench.session.run("step 3")
    assert bench.session.machine.instructions == start + 3
    said = bench.debugger.attach(bench.address)
    assert not _TROUBLE.search(said), said
    assert bench.debugger.value("$pc") == bench.machine_pc()


def _shows(said: str, value: int) -> bool:
    """Whether a debugger's words have the number, in decimal or hexadecimal."""
    return bool(re.search(rf"\b(?:{value}|0x0*{value:x})\b", said))


CHECKS: Final[dict[str, Check]] = {
    "attach, no warning": attaching,
    "symbols from the stub": symbols,
    "registers": registers,
    "write a register": register_written,
    "memory": memory,
    "regions of memory": memory_map,
    "break *ADDRESS": breakpoint_hit,
    "break NAME": breakpoint_by_name,
    "hbreak": hardware_breakpoint,
    "break ... if": condition,
    "watch": watch,
    "rwatch": read_watch,
    "awatch": access_watch,
    "stepi": step_instruction,
    "nexti over a call": next_instruction,
    "step into a call": step_line,
    "next": next_line,
    "finish": finish,
    "backtrace": backtrace,
    "Ctrl-C": control_c,
    "monitor, a probe's stop": monitor,
    "guest-context": guest_context,
    "detach": detach,
    "attach again": attach_again,
    "kill": kill,
}
"""By the name of the row, in gdb's words. The last one puts the guest back to its start."""
