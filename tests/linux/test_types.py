# SPDX-License-Identifier: GPL-2.0-or-later
"""Types in expressions on a stock kernel, which has BTF only, against the guest's own kprobe events."""

from typing import Any

import pytest

from armprobe.commands import CommandError, Session
from armprobe.kernel import Linux
from tests.linux.shell import Shell

LINE = "cat /proc/version /nonexistent; : > /tmp/made; rm /tmp/made; ls / > /dev/null"
EVENT = "p:d do_sys_openat2 dfd=$arg1:s32 name=+0($arg2):ustring flags=+0($arg3):x64"


def test_arguments_and_the_task_are_those_of_the_guests_trace(session: Session) -> None:
    shell = Shell(session.machine)
    session.run('kprobe do_sys_openat2 print "%s %d %d %s %#x", $comm, $pid, dfd, filename, how->flags')
    session.run('kprobe do_sys_openat2 if how->flags & 0100 && $comm == "sh" print "%s", filename')
    session.run('kretprobe do_sys_openat2 if retval >= 0 && $elapsed > 0 print "%d", retval')
    every, creating, opened = session.probes.values()
    shell.probe_events(EVENT)
    session.kprobes.hits.clear()
    shell.run(LINE)
    ours = [hit.note for hit in session.kprobes.hits if hit.probe is every and hit.note]
    made = [hit.note for hit in session.kprobes.hits if hit.probe is creating and hit.note]
    results = [int(hit.note) for hit in session.kprobes.hits if hit.probe is opened and hit.note]
    events = [each for each in shell.trace() if each.event == "d"]
    theirs = [_line(each) for each in events]
    assert any(ours == theirs[at : at + len(ours)] for at in range(len(theirs)))  # the shell's own are around them
    assert "/tmp/made" in made
    assert made == [line.split()[3] for line in ours if int(line.split()[4], 0) & 0o100 and line.startswith("sh ")]
    assert len(results) == sum("nonexistent" not in line for line in ours)
    assert all(0 <= each < 100 for each in results)


def _line(event: Any) -> str:
    arguments = event.arguments
    name, flags = arguments["name"].strip('"'), int(arguments["flags"], 16)
    return f"{event.task} {event.pid} {arguments['dfd']} {name} {flags:#x}"


def test_per_cpu_variables(session: Session) -> None:
    """The run queue's task is the current one, as SP_EL0 says; /proc/vmstat adds up what each CPU has counted."""
    guest, shell = session.machine, Shell(session.machine)
    kernel = guest.kernel
    assert isinstance(kernel, Linux)
    assert int(kernel.per_cpu("runqueues").curr) == guest.registers["sp_el0"]
    assert int(kernel.per_cpu("__entry_task")) == guest.registers["sp_el0"]
    assert kernel.per_cpu("runqueues").cpu == 0
    texts = "per_cpu(runqueues, 0).curr", "per_cpu_ptr(&runqueues, $cpu)->curr", "*this_cpu_ptr(&runqueues.curr)"
    for text in (*texts, "this_cpu_read(runqueues.curr)", "per_cpu(runqueues, $cpu).curr"):
        assert session.ask(f"print {text}").number == guest.registers["sp_el0"], text
    faults = "print per_cpu(vm_event_states, 0).event[PGFAULT]"
    before = session.ask(faults).number
    said = session.owner.call(shell.run, "grep '^pgfault ' /proc/vmstat")
    assert 0 < before <= int(said.split()[1]) <= session.ask(faults).number
    # A workqueue that has a pool for each CPU has a pointer to the CPUs' own (struct workqueue_struct).
    for condition in (
        "wq->cpu_pwqs",
        "wq->cpu_pwqs && per_cpu_ptr(wq->cpu_pwqs, 0)->wq == wq && this_cpu_read(runqueues.curr) == $task",
    ):
        session.run(f"kprobe __queue_work if {condition}")
    session.owner.call(shell.run, "sleep 3")
    queued, found = session.ask("probes")
    assert queued.met == found.met > 0
    assert found.optimized


def test_global_variables_are_those_of_the_guest(session: Session) -> None:
    """`jiffies` as its /proc/timer_list shows it, `init_uts_ns` as uname does."""
    guest, shell = session.machine, Shell(session.machine)

    def run(line: str) -> str:
        return session.owner.call(lambda: shell.run(line)).strip()

    kernel = guest.kernel
    assert isinstance(kernel, Linux)
    before = int(kernel.variable("jiffies"))
    theirs = int(run("grep ^jiffies: /proc/timer_list").split()[1])
    assert before < theirs <= int(kernel.variable("jiffies"))
    assert session.run("print jiffies") == f"(unsigned long){int(kernel.variable('jiffies'))}\n"
    assert session.run("print init_uts_ns.name.release").endswith(f'"{run("uname -r")}"\n')
    assert session.run("print init_task.comm") == '(char [16])"swapper/0"\n'
    assert session.ask("print runqueues.curr->pid").number == int(run("echo $$"))
    session.run("kprobe do_sys_openat2 if jiffies > 5 && $task != &init_task && init_task.pid == 0")
    run("cat /proc/version")
    (probe,) = session.ask("probes")
    assert probe.met == probe.hits > 0
    assert probe.optimized
    with pytest.raises(
        CommandError, match=r"type of swapper_pg_dir is not known: write \*\(u64 \*\)swapper_pg_dir, with"
    ):
        session.run("print swapper_pg_dir")
    assert session.ask("print *(u64 *)swapper_pg_dir").number == guest.memory.u64(
        session.ask("print &swapper_pg_dir").number
    )
    with pytest.raises(CommandError, match=r"no symbol 'slab_mutex'.* \(of this kernel's variables only those of each"):
        session.run("print slab_mutex")
