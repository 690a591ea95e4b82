# SPDX-License-Identifier: GPL-2.0-or-later
"""The kernel's tables, read from a stock guest's memory, are those that its own /proc and dmesg show."""

import re
from collections.abc import Iterator, Sequence

import pytest

from armprobe.commands import CommandError, Session
from armprobe.commands.values import KernelLog, TaskDetails, TaskRows
from armprobe.kernel import Linux
from armprobe.machine import Machine
from armprobe.probes import Kprobes, symbolised
from tests.linux.shell import Shell

pytestmark = pytest.mark.sample(of="files")


def linux(guest: Machine) -> Linux:
    assert isinstance(guest.kernel, Linux)
    return guest.kernel


def names(theirs: Sequence[tuple[str, ...]], ours: Sequence[tuple[str, ...]]) -> Iterator[tuple[str, str]]:
    """The names of the same tasks in both lists."""
    return ((first[2], second[2]) for first, second in zip(theirs, ours, strict=True))


def test_tasks_are_those_of_proc(guest: Machine, shell: Shell) -> None:
    # Without a new process: the shell's own `read`.
    said = shell.run("for f in /proc/[0-9]*/task/[0-9]*/stat; do read -r l < $f; echo $f $l; done")
    theirs = re.findall(r"^/proc/(\d+)/task/(\d+)/stat \d+ \((.*)\) (\S) (\d+) ", said, re.MULTILINE)
    tasks = linux(guest).tasks
    assert tasks is not None
    ours = [(str(t.tgid), str(t.pid), t.comm, t.state, str(t.parent)) for t in tasks()]
    assert len(ours) > 30
    # /proc has longer names for the kernel's threads, and what a worker works on (proc_task_name, fs/proc/array.c).
    theirs.sort(key=lambda each: (int(each[0]), int(each[1])))
    shown = [name if len(name) == 15 or name.startswith("kworker") else full for full, name in names(theirs, ours)]
    assert ours == [(*each[:2], name, *each[3:]) for each, name in zip(theirs, shown, strict=True)]
    assert all(full.startswith(name) for full, name in names(theirs, ours))


def test_the_log_is_what_dmesg_prints(guest: Machine, shell: Shell) -> None:
    """The ring has gone round, and its last record is not finished yet: it has no end of its line."""
    shell.run("echo on > /proc/sys/kernel/printk_devkmsg; echo 1 > /proc/sys/kernel/printk")
    shell.run(f"i=0; while [ $i -lt 900 ]; do echo '<3>{'x' * 300}' > /dev/kmsg; i=$((i+1)); done")
    shell.run("printf '<12>one\\ntwo' > /dev/kmsg")
    said = shell.run("dmesg")
    records = linux(guest).log()
    # The guest's dmesg asks for as many bytes as the ring of texts has, and the times in front of them need some.
    assert len(said) > 100_000
    assert "".join(f"{line}\n" for each in records for line in each.lines).endswith(said)
    assert [each.sequence for each in records] == list(range(records[0].sequence, records[-1].sequence + 1))
    assert records[0].sequence > 0  # the ring has gone round
    assert (records[-1].level, records[-1].facility) == (4, 1)
    assert (records[-2].level, records[-2].facility) == (3, 1)


def test_stacks_are_those_of_proc(guest: Machine, shell: Shell) -> None:
    """/proc/PID/stack leaves the scheduler's own functions out, and ends where the task entered the kernel."""
    tasks, kprobes = linux(guest).tasks, Kprobes(guest)
    assert tasks is not None
    for task in [task for task in tasks() if task.pid in (1, 2, 13, 35)]:
        expected = re.findall(r"^\[<0>\] (\S+)$", shell.run(f"cat /proc/{task.pid}/stack"), re.MULTILINE)
        found = kprobes.unwind.blocked(task.context)
        ours = [symbolised(guest.symbols, frame) for frame in found.frames if not frame.el0]
        assert len(expected) >= 2
        assert ours[-len(expected) :] == expected
        assert ours[0].startswith("__switch_to+")
        assert found.end == ""
        assert any(frame.el0 for frame in found.frames) == (not task.kthread)


def test_commands(session: Session) -> None:
    tasks = session.ask("tasks")
    assert isinstance(tasks, TaskRows)
    assert [task.comm for task in tasks if task.running] == ["sh"]
    assert re.search(r"^ +1 +1 +0  S  0xffff\w{12}  init$", session.run("tasks"), re.MULTILINE)
    assert re.search(r"^ +2 +2 +0  S  0xffff\w{12}  \[kthreadd\]$", session.run("tasks"), re.MULTILINE)
    shell = next(task.pid for task in tasks if task.running)
    assert session.run(f"backtrace {shell}") == session.run("backtrace")
    details = session.ask("task 1")
    assert isinstance(details, TaskDetails)
    assert details.state == "S (sleeping)"
    assert session.run("task 1").endswith(session.run("backtrace 1"))
    assert session.run("backtrace 0").startswith("#0   0xffff")
    log = session.ask("dmesg")
    assert isinstance(log, KernelLog)
    assert session.run("dmesg").startswith("[    0.000000] Booting Linux on physical CPU 0x0000000000 [0x")
    for line in ("task 99999", "backtrace 99999"):
        with pytest.raises(CommandError, match="the guest has no task 99999: tasks lists them"):
            session.run(line)


def test_another_guest_has_none() -> None:
    with Session("demo") as session:
        for line in ("tasks", "task 1", "dmesg", "modules", "mounts"):
            with pytest.raises(CommandError, match="not Linux"):
                session.run(line)
