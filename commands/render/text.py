# SPDX-License-Identifier: GPL-2.0-or-later
"""Text of what commands answer with: `as_text(value)`, whole lines, a function a class of values.

Other files of this folder have those of probes, of verdicts and of help; here are the others.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import singledispatch

from armprobe.commands import values
from armprobe.commands.pstate import pstate
from armprobe.machine import host_files

from .layout import described, named_address, registers, where


@singledispatch
def as_text(value: object) -> str:
    """The text of a value, with the end of its last line; empty for None. Raises TypeError for what is no value."""
    from . import catalog  # noqa: F401  what the other files have is registered now

    function = as_text.dispatch(type(value))
    if function is as_text.dispatch(object):
        raise TypeError(f"there is no text for {type(value).__name__}: register one in armprobe.commands.render")
    return function(value)


@as_text.register(type(None))
def _(value: None) -> str:
    return ""


@as_text.register(values.NamedValues)
def _(value: values.NamedValues) -> str:
    return "".join(f"{each.name} = {each.text}\n" for each in value) or "it takes no arguments\n"


@as_text.register(values.Printed)
@as_text.register(values.PrintedLine)
@as_text.register(values.TypeDefinition)
def _(value: values.Printed | values.PrintedLine | values.TypeDefinition) -> str:
    return f"{value.text}\n"


@as_text.register(values.Answers)
def _(value: values.Answers) -> str:
    return "".join(map(as_text, value))


# Running


@as_text.register(values.Stopped)
def _(value: values.Stopped) -> str:
    return f"{stop_text(value)}\n"


def stop_text(stop: values.Stopped) -> str:
    """Why and where the guest stopped, in words."""
    place = described(stop.location)
    return f"{stop.text} at {place}" + (f" ({stop.location.address:#x})" if stop.location.symbol is not None else "")


@as_text.register(values.Stepped)
def _(value: values.Stepped) -> str:
    return as_text(value.stop if value.instruction is None else value.instruction)


@as_text.register(values.Returned)
def _(value: values.Returned) -> str:
    return f"{value.value:#x} ({value.signed})\n"


@as_text.register(values.Finished)
def _(value: values.Finished) -> str:
    return as_text(value.stop) + ("" if value.returned is None else f"it returned {as_text(value.returned)}")


@as_text.register(values.ConsoleText)
def _(value: values.ConsoleText) -> str:
    return value.text


@as_text.register(values.ConsoleOutput)
def _(value: values.ConsoleOutput) -> str:
    return value.text or "(the guest has printed nothing since)\n"


@as_text.register(values.ConsoleAnswer)
def _(value: values.ConsoleAnswer) -> str:
    if value.waits:
        return "sent; the guest reads it when it runs\n"
    if value.stop is not None:
        return f"{value.text}\n{as_text(value.stop)}"
    return value.text if value.text.endswith("\n") else f"{value.text}\n"


@as_text.register(values.LentFiles)
def _(value: values.LentFiles) -> str:
    lends = "those of the gdb that is attached" if value.lends else "none; files=gdb lends it those of gdb"
    return f"the guest's files are {lends}\n"


@as_text.register(values.Pushed)
def _(value: values.Pushed) -> str:
    return f"{value.file} is {host_files.shown(value.path)} in the guest\n"


@as_text.register(values.Pulled)
def _(value: values.Pulled) -> str:
    return f"{host_files.shown(value.path)} of the guest is {value.file}, {value.size:,} bytes\n"


@as_text.register(values.Completed)
def _(value: values.Completed) -> str:
    parts = [part if part.endswith("\n") else f"{part}\n" for part in (value.out, value.err) if part]
    if value.status:
        parts.append(f"exit status {value.status}\n")
    return "".join(parts)


# Looking at the guest


@as_text.register(values.Location)
def _(value: values.Location) -> str:
    return f"{where(value)}\n"


@as_text.register(values.SymbolMatches)
def _(value: values.SymbolMatches) -> str:
    lines = []
    for row in value.symbols:
        module = f" [{row.module}]" if row.module and ":" not in row.name else ""
        lines.append(f"{row.address:#018x} {row.size:>8} {row.kind:<8} {row.name}{module}\n")
    if value.more:
        lines.append(f"... and more: give more of the name than {value.beginning!r}\n")
    return "".join(lines)


@as_text.register(values.Memory)
def _(value: values.Memory) -> str:
    lines = []
    for at in range(0, len(value.data), 16):
        row = value.data[at : at + 16]
        characters = "".join(chr(byte) if 32 <= byte < 127 else "." for byte in row)
        lines.append(f"{value.address + at:#018x}  {row[:8].hex(' '):<23}  {row[8:].hex(' '):<23}  {characters}\n")
    if len(value.data) < value.wanted:
        lines.append(f"{value.address + len(value.data):#018x}  (the guest maps nothing from here)\n")
    return "".join(lines)


@as_text.register(values.Examined)
def _(value: values.Examined) -> str:
    """As gdb's x has it: tabs between the values."""
    return "".join(f"{named_address(row.location)}:\t{chr(9).join(row.shown)}\n" for row in value)


@as_text.register(values.Assigned)
def _(value: values.Assigned) -> str:
    return f"{value.target} = {value.value:#x}\n"


@as_text.register(values.Disassembly)
def _(value: values.Disassembly) -> str:
    lines = []
    for number, instruction in enumerate(value):
        location = instruction.location
        if location.symbol is not None and (number == 0 or location.offset == 0):
            lines.append(f"{described(location)}:\n")
        mark = "=>" if instruction.current else "  "
        note = "" if instruction.replaced is None else f"  // a probe, in place of: {instruction.replaced}"
        lines.append(f"{mark} {location.address:#018x}  {instruction.word:08x}  {instruction.text}{note}\n")
    return "".join(lines)


@as_text.register(values.Backtrace)
def _(value: values.Backtrace) -> str:
    heading = f"{stage_text(value.hit)}:\n" if value.hit is not None else ""
    return heading + stack_text(value.frames, value.end)


def stack_text(frames: Iterable[values.StackFrame], end: str) -> str:
    """A line for each frame. `end`: why more frames are not known; empty if there are no more."""
    lines = []
    for frame in frames:
        note = " (interrupted)" if frame.number and not frame.called else ""
        level = " at EL0" if frame.el0 else ""
        place = described(frame.location, sized=True)
        lines.append(f"#{frame.number:<3} {frame.location.address:#018x} {place}{level}{note}\n")
    if end:
        lines.append(f"No further: {end}\n")
    return "".join(lines)


def stage_text(at: values.HitStage) -> str:
    """A stage of a hit, such as "kprobe kfree: stage pre, hit 1"."""
    return f"{at.kind} {at.name}: stage {at.stage}, hit {at.hit}"


@as_text.register(values.MachineInfo)
def _(value: values.MachineInfo) -> str:
    rows = [("guest", f"{value.guest} ({value.kind}), {value.symbols:,} symbols")]
    if value.modules is not None:
        rows.append(("modules", ", ".join(value.modules) or value.why_no_modules or "none"))
    rows += [
        ("memory", f"{value.memory_size >> 20} MiB at {value.memory_base:#x}"),
        ("CPU", f"{value.cpu}, pstate {pstate(value.pstate)}"),
        ("instructions", f"{value.instructions:,}"),
        ("guest time", f"{value.seconds:.6f} s"),
        ("era", f"{value.era} ({value.era_origin})"),
        ("probes", str(value.probes)),
        ("gdb", f"target remote {value.gdb}" if value.gdb else "not listening"),
    ]
    if value.stop is not None:
        rows.append(("stopped", stop_text(value.stop)))
    return "".join(f"{name:<13} {said}\n" for name, said in rows)


@as_text.register(values.Registers)
def _(value: values.Registers) -> str:
    return registers(value)


@as_text.register(values.SystemRegisters)
def _(value: values.SystemRegisters) -> str:
    return "".join(f"{register.name:<10} {register.value:#018x}\n" for register in value)


@as_text.register(values.MemoryMap)
def _(value: values.MemoryMap) -> str:
    """In the format of QEMU's `info mem` for x86, which has none for AArch64 (mem_print, target/i386/monitor.c).

    And with the column `x`, for which pwndbg looks (kernel_vmmap_via_monitor_info_mem).
    """
    if not value.translating:
        return "PG disabled\n"
    lines = []
    for area in value.ranges:
        access = "".join(letter if letter in area.access else "-" for letter in "urwx")
        lines.append(f"{area.start:016x}-{area.end:016x} {area.end - area.start:016x} {access}\n")
    return "".join(lines)
