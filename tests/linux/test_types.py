# SPDX-License-Identifier: GPL-2.0-or-later
"""Types in expressions on a stock kernel, which has BTF only, against the guest's own kprobe events."""

from typing import Any

from armprobe.commands import Session
from armprobe.kernel import Linux
from armprobe.machine import Machine
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


def test_per_cpu_variables(guest: Machine) -> None:
    """The run queue's task is the current one, the idle task, as SP_EL0 says, and the only CPU's number is 0."""
    kernel = guest.kernel
    assert isinstance(kernel, Linux)
    assert int(kernel.per_cpu("runqueues").curr) == guest.registers["sp_el0"]
    assert int(kernel.per_cpu("__entry_task")) == guest.registers["sp_el0"]
    assert kernel.per_cpu("runqueues").cpu == 0
