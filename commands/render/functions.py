# SPDX-License-Identifier: GPL-2.0-or-later
"""Text of functions that are watched: as bcc's funccount and the kernel's tracer function_graph print them."""

from __future__ import annotations

from typing import Final

from armprobe.commands import values

from .layout import described
from .text import as_text

_MARKS: Final = ((10**9, "$"), (10**8, "@"), (10**7, "*"), (10**6, "#"), (10**5, "!"), (10**4, "+"))
"""ns, and the mark of a call that has taken more (trace_find_mark, kernel/trace/trace_output.c)."""
_GRAPH_HEADER: Final = """\
# tracer: function_graph
#
# CPU  DURATION                  FUNCTION CALLS
# |     |   |                     |   |   |   |
"""
_RULE: Final = " ------------------------------------------\n"
_TASK: Final = 14  # TRACE_GRAPH_PROCINFO_LENGTH


@as_text.register(values.Watched)
def _(value: values.Watched) -> str:
    several = "" if value.functions == 1 else "s"
    what = f"{value.functions:,} function{several}"
    if value.kind == "funcgraph":
        what = f"calls among {what}"
    return f"{value.kind} {value.number}: {value.given}, {what}\n"


@as_text.register(values.FunctionsCounted)
def _(value: values.FunctionsCounted) -> str:
    """As tools/funccount.py of bcc prints it."""
    several = "" if value.functions == 1 else "s"
    heading = f"funccount {value.number} ({value.pattern}): {value.functions:,} function{several}, {_during(value)}\n"
    return heading + _calls(value.called)


def _during(value: values.FunctionsCounted) -> str:
    return f"{value.seconds:.6f} s of guest time, {value.instructions:,} instructions"


def _calls(called: tuple[values.FunctionCalls, ...]) -> str:
    lines = [f"{'FUNC':<36} {'COUNT':>8}\n"]
    lines += [f"{described(each.function):<36} {each.calls:>8}\n" for each in called]
    return "".join(lines)


@as_text.register(values.TopFunctions)
def _(value: values.TopFunctions) -> str:
    counted = value.counted
    total = sum(each.calls for each in counted.called)
    lines = [
        f"top {counted.pattern}: {total:,} calls of {len(counted.called):,} functions, {_during(counted)}\n",
        f"{'FUNC':<36} {'COUNT':>8} {'COUNT/s':>10} {'%':>6}\n",
    ]
    for each in value.top:
        rate = f"{each.calls / counted.seconds:.0f}" if counted.seconds else "-"
        lines.append(f"{described(each.function):<36} {each.calls:>8} {rate:>10} {100 * each.calls / total:>6.2f}\n")
    return "".join(lines)


@as_text.register(values.CallGraph)
def _(value: values.CallGraph) -> str:
    """As kernel/trace/trace_functions_graph.c prints it, on CPU 0."""
    lines = [_GRAPH_HEADER]
    before: tuple[str | None, int | None] | None = None
    for line in value.lines:
        task = line.task, line.pid
        if before is not None and task != before:
            lines.append(f"{_RULE} 0) {_task(*before)} => {_task(*task)}\n{_RULE}\n")
        before = task
        if line.interrupt and line.kind != "return":
            lines.append(" 0)   ==========> |\n")
        lines.append(f" 0) {_duration(line)}{'  ' * line.depth}{_call(line)}\n")
        if line.interrupt and line.kind == "return":
            lines.append(" 0)   <========== |\n")
    if value.lost:
        lines.append(f"{value.lost:,} entries and returns are not in it: there was no room (events= allows more)\n")
    if value.refused:
        lines.append(f"{value.refused:,} calls are not in it: they were in too many tasks at once\n")
    return "".join(lines)


def _duration(line: values.GraphLine) -> str:
    """print_graph_duration and trace_print_graph_duration."""
    if line.kind == "entry" or line.duration is None:
        return " " * 14 + "|  "
    mark = next((mark for least, mark in _MARKS if line.duration > least), " ")
    whole, rest = divmod(line.duration, 1000)
    number = str(whole)
    if len(number) < 7:
        number += f".{rest:03}"[: 8 - len(number)]
    return f"{mark} {number} us {' ' * (8 - len(number))}|  "


def _call(line: values.GraphLine) -> str:
    name = line.function.symbol or f"{line.function.address:#x}"
    module = f" [{line.function.module}]" if line.function.module else ""
    if line.kind == "return":
        return "}" if line.duration is not None else f"}} /* {name}{module} */"
    return f"{name}{module}();" if line.kind == "leaf" else f"{name}{module}() {{"


def _task(comm: str | None, pid: int | None) -> str:
    """print_graph_proc."""
    text = f"{(comm or '<...>')[:7]}-{0 if pid is None else pid}"
    spaces = max(_TASK - len(text), 0)
    return " " * (spaces // 2) + text + " " * (spaces - spaces // 2)
