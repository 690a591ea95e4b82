# SPDX-License-Identifier: GPL-2.0-or-later
"""What the guest's own tracer costs in QEMU for the questions that one-liners ask: the CPU time of `dd bs=1` there."""

from __future__ import annotations

import math
import re
from typing import Final, NamedTuple

from tests.bench.peers import Shell, booted
from tests.bench.pieces import PIECES, TURNS, least

_TRACING: Final = "/sys/kernel/tracing"


class _Question(NamedTuple):
    """How a question is asked of the tracer: lines of the guest's shell that begin, count and end, in its tracefs.

    `what` is their gist. `counted` prints a number: what was counted since the beginning.
    """

    what: str
    begin: str
    counted: str
    end: str


def _histogram(event: str, fields: str, trigger: str) -> _Question:
    """A hist trigger on a kprobe event, `p` or `r`, at vfs_read."""
    path = "events/kprobes/q"
    return _Question(
        trigger,
        f"echo '{event}:q vfs_read {fields}' > kprobe_events; echo '{trigger}' > {path}/trigger",
        f"grep Hits: {path}/hist",
        f"echo '!{trigger}' > {path}/trigger; echo > kprobe_events",
    )


_ENTRY, _RETURN = "hist:keys=common_pid:start=common_timestamp", "hist:keys=common_pid:ns=common_timestamp-$start"
_ON: Final = "onmatch(kprobes.entry).trace(took,$ns,comm)"
_GRAPH: Final = "hist:keys=comm,ns.log2"
_RECORDED: Final = "awk '/^(entries|overrun)/ { n += $2 } END { print n }' per_cpu/cpu0/stats"
QUESTIONS: Final = {
    "count": _histogram("p", "comm=$comm", "hist:keys=comm"),
    "caller": _histogram("p", "caller=%x30:u64", "hist:keys=caller.sym-offset"),
    "hist": _histogram("p", "n=%x2:u64", 'hist:keys=n.log2 if comm == "dd"'),
    "latency": _Question(
        "onmatch() and hist:keys=comm,ns.log2",
        "echo 'took u64 ns; char comm[]' > synthetic_events; echo 'p:entry vfs_read' > kprobe_events; "
        "echo 'r:return vfs_read comm=$comm' >> kprobe_events; "
        f"echo '{_ENTRY}' > events/kprobes/entry/trigger; echo '{_RETURN}:{_ON}' > events/kprobes/return/trigger; "
        f"echo '{_GRAPH}' > events/synthetic/took/trigger",
        "grep Hits: events/synthetic/took/hist",
        f"echo '!{_GRAPH}' > events/synthetic/took/trigger; echo '!{_RETURN}:{_ON}' > events/kprobes/return/trigger; "
        f"echo '!{_ENTRY}' > events/kprobes/entry/trigger; echo > kprobe_events; echo > synthetic_events",
    ),
    "stacks": _histogram("p", "", "hist:keys=stacktrace"),
    "argdist": _histogram("p", "n=%x2:u64", "hist:keys=n"),
    "event": _histogram("p", "n=%x2:u64", "hist:keys=common_pid:vals=n"),
    "funccount": _Question(
        "function, vfs_*",
        "echo 'vfs_*' > set_ftrace_filter; echo > trace; echo function > current_tracer",
        _RECORDED,
        "echo nop > current_tracer; echo > set_ftrace_filter",
    ),
    "funccount_all": _Question(
        "function, all functions",
        "echo > trace; echo function > current_tracer",
        _RECORDED,
        "echo nop > current_tracer",
    ),
    "funcgraph": _Question(
        "function_graph, vfs_read to depth 3",
        "echo 3 > max_graph_depth; echo vfs_read > set_graph_function; echo > trace; "
        "echo function_graph > current_tracer",
        _RECORDED,
        "echo nop > current_tracer; echo > set_graph_function; echo 0 > max_graph_depth",
    ),
    "tracepoint": _Question(
        "raw_syscalls:sys_enter, hist:keys=id",
        "echo hist:keys=id > events/raw_syscalls/sys_enter/trigger",
        "grep Hits: events/raw_syscalls/sys_enter/hist",
        "echo '!hist:keys=id' > events/raw_syscalls/sys_enter/trigger",
    ),
}


def costs(scale: float) -> dict[str, float]:
    """Microseconds of CPU time that each question adds to a block of `dd`, by turns: from the least of each."""
    blocks = int(50_000 * scale) // PIECES
    found = dict.fromkeys(("plain", *QUESTIONS), math.inf)
    with booted() as (shell, _):
        for _ in range(TURNS):
            for name in found:
                found[name] = min(found[name], _seconds(shell, blocks, QUESTIONS.get(name)))
    return {f"own_{name}_us": (found[name] - found["plain"]) / blocks * 1e6 for name in QUESTIONS}


def _seconds(shell: Shell, blocks: int, question: _Question | None) -> float:
    if question is not None:
        _ask(shell, question.begin)
    shell.dd(1000)  # translate what there is
    took = least(lambda: shell.dd_cpu(blocks))
    if question is not None:
        told = _ask(shell, f"echo counted $({question.counted})")
        counted = re.search(r"\ncounted \D*(\d+)", told)
        assert int(counted[1] if counted else 0) >= PIECES * blocks, f"{question.begin}: {told}"
        _ask(shell, question.end)
    return took


def _ask(shell: Shell, line: str) -> str:
    """Run a line in the tracefs; what is printed, the line itself first."""
    return shell.run(f"(cd {_TRACING}; {line})")[0]
