# SPDX-License-Identifier: GPL-2.0-or-later
"""The line of the kernel's tracer for a hit."""

from __future__ import annotations

from collections.abc import Iterable

from armprobe.expressions.errors import printable
from armprobe.kernel.tasks import Task
from armprobe.machine.core.pstate import PSTATE_I
from armprobe.probes import Hit, Kprobes, Stage
from armprobe.probes.recorder import TICK
from armprobe.probes.symbol_text import symbol_and_size
from armprobe.probes.trampoline import DIRECT


def trace_line(
    kprobes: Kprobes, hit: Hit, arguments: Iterable[tuple[str, int]] | None = None, name: str | None = None
) -> str:
    """The line for a hit in the kernel's trace file (Documentation/trace/kprobetrace.rst).

    `arguments` are names and values to print at its end. None stands for the hit's note, or if it has none for x0, or
    what the probe's `Record` chooses. `name` is that of the event, None for the name of the probe. The task is
    `<...>-0`, as for one that the kernel has no name for, unless the hit knows it. Of the flags in the line only the
    first, `d`, is known: interrupts are off, because the kernel has masked them or because they were masked in the
    function that returns.
    """
    task = hit.task or Task("<...>", 0)
    off = "d" if has_interrupts_off(kprobes, hit) else "."
    seconds, micro = divmod((hit.ticks * TICK + 500) // 1000, 1_000_000)  # rounded: ns2usecs, kernel/trace/trace.c
    who = f"{task.comm:>16}-{task.pid:<7} [000] {off:.<{kprobes.era.hits.trace_flags}}"
    return f"{who} {seconds:5}.{micro:06}: {name or hit.probe.name}: {event_text(kprobes, hit, arguments)}"


def has_interrupts_off(kprobes: Kprobes, hit: Hit) -> bool:
    """Whether interrupts are off at a hit, as the kernel's flags say."""
    masked = hit.stage is not Stage.RETURN or kprobes.trampoline != DIRECT or kprobes.era.hits.masks_returns
    return masked or bool(hit.pstate & PSTATE_I)


def event_text(kprobes: Kprobes, hit: Hit, arguments: Iterable[tuple[str, int]] | None = None) -> str:
    """The part of a line behind the event's name: the place, and the values."""
    symbols = kprobes.machine.symbols
    if hit.stage is Stage.RETURN:
        function = symbols.at(hit.address)
        called = function[0].name if function else f"{hit.address:#x}"
        where = f"{symbol_and_size(symbols, hit.caller or 0)} <- {called}"
    else:
        where = symbol_and_size(symbols, hit.address)
    text = values_text(hit) if arguments is None else " ".join(f"{name}={value:#x}" for name, value in arguments)
    return f"({where}) {text}" if text else f"({where})"


def lost_line(stages: int) -> str:
    """The kernel's line where others are missing (print_trace_line, kernel/trace/trace.c)."""
    return f"CPU:0 [LOST {stages} EVENTS]"


def values_text(hit: Hit) -> str:
    """What a hit's line shows of its values: its note, or x0, or what the probe's `Record` chooses."""
    if hit.note:
        return hit.note
    chosen = hit.recorded if hit.missing else {"x0": hit.words[0]}
    words = [f"{name}={value:#x}" for name, value in chosen.items()]
    return " ".join([*words, *(f"{name}={_shown(value)}" for name, value in hit.data.items())])


def _shown(value: bytes | str | None) -> str:
    """As the kernel prints a string and an array of u8, and what it could not read (kernel/trace/trace_probe.c)."""
    if value is None:
        return "(fault)"
    if isinstance(value, str):
        return f'"{printable(value)}"'
    return f"{{{','.join(f'0x{byte:x}' for byte in value)}}}"
