# SPDX-License-Identifier: GPL-2.0-or-later
"""Counts, histograms and graphs of calls, against the tracers of the guest's own kernel in the same run."""

from __future__ import annotations

import re
from collections import Counter
from itertools import pairwise

import pytest

from armprobe.commands import CommandError, Session, values
from armprobe.commands.render.text import as_text
from armprobe.machine import StopReason
from armprobe.probes.kprobe import OPTIMIZED
from tests.linux.shell import TRACING, Shell  # tests have no import name to go by

pytestmark = pytest.mark.sample(of="files")

_READS = "dd if=/dev/zero of=/dev/null bs=100 count=40 2>/dev/null; head -c 5 /proc/version >/dev/null"
_HIST = "hist:keys=common_pid.execname,size:vals=size"
_ROW = re.compile(r"\{ common_pid: (\S+) +\[ *(\d+)\], size: +(\d+) \} hitcount: +(\d+)  size: +(\d+)")
_CALL = re.compile(r"^ *(\S+)-(\d+) .*: (\w[\w.]*) <-\w+", re.MULTILINE)
_INTERRUPTS = (
    *("irq_enter_rcu", "irq_exit_rcu", "do_interrupt_handler", "gic_handle_irq", "preempt_schedule_irq"),
    "raw_irqentry_exit_cond_resched",  # with the generic entry code, 7.2's
)
_OURS = re.compile(r" 0\) .{14}\|  ")
_GRAPH = re.compile(r"^ *0\) +(\S+)-(\d+) +\|[^|]*\|( *)(\S.*)$", re.MULTILINE)


def guest(session: Session, command: str) -> str:
    done = session.guest.sh(command)
    assert (done.err, done.status) == ("", 0), command
    return done.out


def test_counts_and_histograms_are_those_of_a_hist_trigger(session: Session) -> None:
    """The guest's kprobe event and ours on one function, where ours is an ordinary probe; then ours alone, optimised,
    on an equal run."""
    guest(
        session,
        f"cd {TRACING}; echo 'p:ap/reads vfs_read size=%x2' >> kprobe_events; echo '{_HIST}' > events/ap/reads/trigger",
    )
    session.run("count vfs_read by $comm")
    session.run('hist vfs_read count by $pid if $comm == "dd"')
    guest(session, _READS)
    by_comm, sizes = session.ask("counts")
    rows = _ROW.findall(guest(session, f"cat {TRACING}/events/ap/reads/hist"))
    trigger = Counter[str]()
    for comm, _, _, hits, _ in rows:
        trigger[comm] += int(hits)
    ours = {key.comm: key.count for key in by_comm.keys}
    assert trigger["dd"] == 40
    assert {comm: ours[comm] for comm in ("dd", "head")} == {comm: trigger[comm] for comm in ("dd", "head")}
    assert [(key.number, key.count, key.total) for key in sizes.keys] == [
        (int(pid), int(hits), int(total)) for comm, pid, _, hits, total in rows if comm == "dd"
    ]
    guest(session, f"cd {TRACING}; echo '!{_HIST}' > events/ap/reads/trigger; echo > kprobe_events")
    session.run("counts clear=yes")
    again = session.ask(f"count vfs_read by $comm while {_READS}")
    assert again[0].probe.optimized
    found = {key.comm: key.count for key in again[0].keys}
    assert {comm: found[comm] for comm in ("dd", "head")} == {comm: trigger[comm] for comm in ("dd", "head")}
    assert all(probe.flags & OPTIMIZED for probe in session.probes.values())


def test_funccount_is_what_the_function_tracer_sees(session: Session) -> None:
    """From one write to trace_marker to the next: the functions of the pattern that the guest's tracer lists."""
    shell = Shell(session.machine)
    shell.run(f"cd {TRACING}; echo 'vfs_*' > set_ftrace_filter; echo function > current_tracer; echo > trace")
    traced = {line.split()[0] for line in shell.run("cat set_ftrace_filter").splitlines()}
    shell.type(f"echo a > trace_marker; {_READS}; ls / | cat >/dev/null; echo b > trace_marker; echo 0 > tracing_on")
    assert session.machine.run(until="tracing_mark_write").reason is StopReason.UNTIL
    counts = session.kprobes.funccount("vfs_*")
    session.machine.step(1)
    assert session.machine.run(until="tracing_mark_write").reason is StopReason.UNTIL
    found = {function.name: calls for function, calls in counts.counted() if function.name in traced}
    counts.close()
    shell.finish()
    _, between, _ = re.split(r"tracing_mark_write: [ab]", guest(session, f"cat {TRACING}/trace"))
    expected = Counter(name for _, _, name in _CALL.findall(between))
    shell.run("echo nop > current_tracer; echo > set_ftrace_filter; echo 1 > tracing_on")
    assert found == expected
    assert expected["vfs_read"] > 40
    assert len(expected) > 5


def calls_of(
    lines: list[tuple[str, int, str]], tasks: tuple[str, ...], interrupts: set[str]
) -> list[tuple[str, int, str]]:
    """Task, depth and name of each call, from the texts of a graph's lines, without interrupts."""
    calls: list[tuple[str, int, str]] = []
    hidden: dict[str, int] = {}
    for task, depth, text in lines:
        if task not in tasks or text.startswith("}") or "=====" in text:
            continue
        name = text.split("(")[0]
        if depth <= hidden.get(task, 99):
            hidden[task] = depth if name in interrupts else 99
        if depth < hidden[task]:
            calls.append((task, depth, name))
    return calls


def test_a_graph_is_what_function_graph_sees(session: Session) -> None:
    """The calls of two processes, in a run in which both look. Interrupts are left out: one that comes while the
    guest's tracer is at work on a function's entry is not in that function for it, and is for us."""
    setup = "echo 4 > max_graph_depth; echo do_sys_openat2 > set_graph_function; echo 1 > options/funcgraph-proc"
    guest(session, f"cd {TRACING}; echo 0 > tracing_on; {setup}; echo function_graph > current_tracer; echo > trace")
    graph = session.ask(
        f"funcgraph do_sys_openat2 depth=4 while echo 1 > {TRACING}/tracing_on; "
        f"/bin/ls -l / >/dev/null; cat /proc/mounts >/dev/null; echo 0 > {TRACING}/tracing_on"
    )
    printed = guest(session, f"cat {TRACING}/trace")
    guest(session, f"cd {TRACING}; echo nop > current_tracer; echo 0 > max_graph_depth; echo 1 > tracing_on")
    assert isinstance(graph, values.CallGraph)
    assert graph.lost == graph.refused == 0
    theirs = [(comm, (len(indent) - 2) // 2, text) for comm, _, indent, text in _GRAPH.findall(printed)]
    texts = [line.split("|", 1)[1][2:].strip() for line in as_text(graph).splitlines() if _OURS.match(line)]
    ours = [(line.task or "", line.depth, text) for line, text in zip(graph.lines, texts, strict=True)]
    symbols = session.machine.symbols
    # A function at the start of the text has the name of a label there (get_symbol_pos() of kernel/kallsyms.c).
    interrupts = {symbols.describe(symbols[name].address) for name in _INTERRUPTS if name in symbols}
    expected = calls_of(theirs, ("ls", "cat"), interrupts)
    assert calls_of(ours, ("ls", "cat"), interrupts) == expected
    assert len(expected) > 200
    assert {name for _, _, name in expected} >= {"do_sys_openat2", "path_openat", "fd_install"}


def test_the_functions_of_a_graph_are_those_that_the_guest_can_trace(session: Session) -> None:
    """The guest also lists code of weak functions that others have replaced, under the names of the functions before
    it (Linux commit b39181f7c690)."""
    listed = guest(session, f"cat {TRACING}/available_filter_functions").splitlines()
    graph = session.kprobes.funcgraph("do_sys_openat2")
    assert {function.name for function in graph.seen} == {line.split()[0] for line in listed}


def test_latency_is_the_duration_in_a_graph(session: Session) -> None:
    session.run("latency vfs_read by $comm")
    session.run("funcgraph vfs_read depth=1")
    guest(session, _READS)
    latency, graph = session.ask("counts")
    durations: dict[str, list[int]] = {}
    executed = Counter[str]()
    for line in graph.lines:
        durations.setdefault(line.task, []).append(line.duration)
        executed[line.task] += line.instructions
    assert {key.comm: (key.count, key.total) for key in latency.keys} == {
        comm: (len(each), sum(each)) for comm, each in durations.items()
    }
    assert {key.comm: key.instructions for key in latency.keys} == executed
    assert len(durations["dd"]) == 40


def test_stacks_as_the_kernel_has_them(session: Session) -> None:
    """Each stack ends in the entry from EL0 or where a kernel thread begins, through functions that the kernel has."""
    found = session.ask(f"stacks vfs_read folded=yes while {_READS}")
    frames = {stack.frames for stack in found}
    assert all(stack[-1] == "vfs_read" for stack in frames)
    by_read = ("el0t_64_sync", "el0t_64_sync_handler", "el0_svc", "do_el0_svc", "invoke_syscall.constprop.0")
    assert any(stack[:4] == by_read[:4] and stack[-3:-1] == ("__arm64_sys_read", "ksys_read") for stack in frames)
    assert sum(stack.count for stack in found) > 40


def test_a_second_is_one_of_the_guests_clock(session: Session) -> None:
    """Which passes while the guest idles, as its own uptime says."""
    told = []
    for _ in range(2):
        told.append(float(guest(session, "cat /proc/uptime").split()[0]))
        session.run("count vfs_read seconds=2")
    told.append(float(guest(session, "cat /proc/uptime").split()[0]))
    assert all(2 <= end - start < 3 for start, end in pairwise(told))


def test_names_of_arguments(session: Session) -> None:
    with pytest.raises(CommandError, match=r"nor has vfs_read an argument of that name \(it has file, buf,"):
        session.run('hist vfs_read size if $comm == "dd"')
    one = session.ask(f'argdist -C vfs_read count if $comm == "dd" while {_READS}')
    spelt = session.ask(
        f"argdist -H 'p::vfs_read(void *f, char *b, size_t size):size_t:size:size == 100' while {_READS}"
    )
    assert [(key.number, key.count) for key in one[0].keys] == [(100, 40)]
    assert [(key.count, key.total) for key in spelt[0].keys] == [(40, 4000)]
    files = session.ask(f"argdist -C 't:sched:sched_process_exec():char*:args->filename' while {_READS}")
    assert [(key.text, key.count) for key in files[0].keys] == [("/bin/sh", 1)]
    returns = session.ask(f"argdist -C 'r::vfs_read():int:$retval:$retval == 100' while {_READS}")
    assert [(key.number, key.count) for key in returns[0].keys] == [(100, 40)]


def test_as_short_in_python(session: Session) -> None:
    kprobes = session.kprobes
    times = kprobes.on("vfs_read", key=lambda h: h.comm).hist("elapsed_ns")
    counts = kprobes.on("vfs_read").count(by="comm")
    with kprobes.funcgraph("vfs_read", depth=2) as graph:
        guest(session, _READS)
    found = {row.key: row.count for row in counts.counted()}
    assert found["dd"] == 40
    assert {row.key: row.count for row in times.counted()} == found
    entries = Counter(call.task.comm for call in graph.calls() if call.task and not call.depth and not call.returns)
    assert entries == found
