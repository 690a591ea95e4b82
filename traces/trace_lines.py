# SPDX-License-Identifier: GPL-2.0-or-later
"""The line of the kernel's tracer for a hit."""

from __future__ import annotations

from collections.abc import Iterable

from armprobe.expressions.errors import printable
from armprobe.kernel.tasks import Task
from armprobe.machine.core.pstate import PSTATE_I
from armprobe.probes import Hit, Kprobes, Stage, TraceRecord
from armprobe.probes.record import TICK
from armprobe.probes.symbol_text import symbol_and_size
from armprobe.probes.trampoline import DIRECT


def trace_line(
    kprobes: Kprobes, hit: Hit, arguments: Iterable[tuple[str, int]] | None = None, name: str | None = None
) -> str:
    """The line for a hit in the kernel's trace file (Documentation/trace/kprobetrace.rst).

    `arguments` are names and values to print at its end. None stands for what `values_text` has. `name` is that of the
    event, None for the name of the probe. The task is `<...>-0`, as for one that the kernel has no name for, unless the
    hit knows it. Of the flags in the line only the first, `d`, is known: interrupts are off, because the kernel has
    masked them or because they were masked in the function that returns. An event of the guest's kernel has all flags,
    and the text that the kernel prints.
    """
    task, width = hit.task or Task("<...>", 0), kprobes.era.hits.trace_flags
    if isinstance(hit.data, TraceRecord):
        flags = trace_flags(hit.data, width)
        text = f"{hit.data.event.name}: {hit.note}" if hit.note else printable(hit.data.line)
    else:
        flags = f"{'d' if has_interrupts_off(kprobes, hit) else '.':.<{width}}"
        text = f"{name or hit.probe.name}: {event_text(kprobes, hit, arguments)}"
    seconds, micro = divmod((hit.ticks * TICK + 500) // 1000, 1_000_000)  # rounded: ns2usecs, kernel/trace/trace.c
    return f"{task.comm:>16}-{task.pid:<7} [000] {flags} {seconds:5}.{micro:06}: {text}"


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
    text = (
        values_text(hit, kprobes) if arguments is None else " ".join(f"{name}={value:#x}" for name, value in arguments)
    )
    return f"({where}) {text}" if text else f"({where})"


def lost_line(stages: int) -> str:
    """The kernel's line where others are missing (print_trace_line, kernel/trace/trace.c)."""
    return f"CPU:0 [LOST {stages} EVENTS]"


def values_text(hit: Hit, kprobes: Kprobes | None = None) -> str:
    """What a hit's line shows of its values: its note, or what the probe's `Record` chooses, or the event's.

    Of other hits it is the arguments or the result, which `kprobes` knows the names and types of, or else x0.
    """
    if hit.note:
        return hit.note
    if isinstance(hit.data, TraceRecord):
        return hit.data.text
    recorded = {name: _shown(value) for name, value in hit.data.items()}
    named = None if kprobes is None or hit.missing else kprobes.hit_values(hit)
    if named is not None:
        values = [*(named | recorded).items()]  # the text of an argument instead of its address
    else:
        words = hit.recorded if hit.missing else {"x0": hit.words[0]}
        values = [*((name, f"{word:#x}") for name, word in words.items()), *recorded.items()]
    return " ".join(f"{name}={text}" for name, text in values)


def trace_flags(record: TraceRecord, width: int) -> str:
    """The flags of a record as the kernel prints them: interrupts, need for scheduling, interrupt level, and depths.

    `width` is 4 for kernels that do not show the depth of migration, and 5 for others (trace_print_lat_fmt,
    kernel/trace/trace_output.c).
    """
    from armprobe.kernel.trace_code import BH_OFF, HARDIRQ, IRQS_OFF, NEED_RESCHED, NMI, PREEMPT_RESCHED, SOFTIRQ

    flags = record.flags
    off = {IRQS_OFF | BH_OFF: "D", IRQS_OFF: "d", BH_OFF: "b"}.get(flags & (IRQS_OFF | BH_OFF), ".")
    if width < 5 and off != ".":
        off = "d" if flags & IRQS_OFF else "."
    need = {NEED_RESCHED | PREEMPT_RESCHED: "N", NEED_RESCHED: "n", PREEMPT_RESCHED: "p"}
    hard, soft = flags & HARDIRQ, flags & SOFTIRQ
    level = ("Z" if hard else "z") if flags & NMI else "H" if hard and soft else "h" if hard else "s" if soft else "."
    depth, migration = record.preempt_count & 15, record.preempt_count >> 4
    text = off + need.get(flags & (NEED_RESCHED | PREEMPT_RESCHED), ".") + level + (f"{depth:x}" if depth else ".")
    return text + (f"{migration:x}" if migration else ".") if width >= 5 else text


def _shown(value: bytes | str | int | None) -> str:
    """As the kernel prints a string and an array of u8, and what it could not read (kernel/trace/trace_probe.c)."""
    if value is None:
        return "(fault)"
    if not isinstance(value, bytes):
        return f'"{printable(str(value))}"'
    return f"{{{','.join(f'0x{byte:x}' for byte in value)}}}"
