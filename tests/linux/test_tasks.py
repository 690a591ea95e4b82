# SPDX-License-Identifier: GPL-2.0-or-later
"""Whose hits they are: as the guest's own trace says of the same calls."""

from armprobe.machine import Machine
from armprobe.probes import Kprobe, Kprobes, Task
from tests.linux.shell import Shell


def test_tasks_are_those_of_the_guests_trace(guest: Machine, shell: Shell) -> None:
    kprobes = Kprobes(guest)
    probe = kprobes.register_kprobe(Kprobe("do_sys_openat2"))
    shell.probe_events("p:d do_sys_openat2")
    kprobes.hits.clear()
    shell.run("cat /proc/version; ls / | wc -l; sh -c 'read v < /proc/uptime'")
    ours = [hit.task for hit in kprobes.hits if hit.stage.value == "pre"]
    theirs = [Task(event.task, event.pid) for event in shell.trace() if event.event == "d"]
    assert {"cat", "ls", "sh"} <= {task.comm for task in ours if task is not None}
    assert len({task.pid for task in ours if task is not None}) >= 3
    assert ours in [theirs[at : at + len(ours)] for at in range(len(theirs))]  # the shell's own are around them
    hit = next(hit for hit in kprobes.hits if hit.task is not None and hit.task.comm == "cat")
    assert kprobes.trace_line(hit).startswith(f"{'cat':>16}-{hit.task.pid:<7} [000] d....")  # type: ignore[union-attr]
    kprobes.unregister(probe)
