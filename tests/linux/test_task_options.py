# SPDX-License-Identifier: GPL-2.0-or-later
"""Probes for one task, for tasks of a name, and for a process and its tree, on a stock kernel."""

import re
from pathlib import Path

import pytest

from armprobe.commands import CommandError, Session
from tests.linux.shell import Shell

pytestmark = pytest.mark.sample(of="files")

INNER = "#!/bin/sh\necho in $$\nexec cat /proc/version\n"
OUTER = "#!/bin/sh\nsleep 1\nsh -c '/tmp/inner; :'\n"


def test_hits_of_some_tasks(session: Session) -> None:
    shell = Shell(session.machine)
    run = session.owner.call
    own = int(run(shell.run, "echo $$"))
    for line in (
        "kprobe do_sys_openat2",
        f"kprobe do_sys_openat2 pid={own}",
        "kprobe do_sys_openat2 comm=cat if dfd < 0",
        "kprobe do_sys_openat2 comm=cat if dfd > 0",
        f"kretprobe do_sys_openat2 tree={own}",
        "count do_sys_openat2 comm=cat by $comm",
        "kprobe do_sys_openat2 tree=2",
        f"funccount do_sys_openat2 pid={own}",
        "funccount do_sys_openat2 comm=cat",
        f"funccount do_sys_openat2 tree={own}",
        "funcgraph do_sys_openat2 depth=2 comm=cat",
        "funccount do_sys_openat2 tree=2",
        "event comm=cat p:of_cat do_sys_openat2 dfd=%x0:s32",
        f"event pid={own} r:of_shell do_sys_openat2 $retval",
        "events enable",
    ):
        session.run(line)
    run(shell.run, "cat /proc/version | cat; cat /proc/version")
    every, pid, comm, none, tree, count, kernel, *watches = session.ask("probes")
    hits = [hit for hit in session.kprobes.hits if hit.probe is session.probes[every.number]]
    tasks = [hit.task for hit in hits if hit.stage.value == "pre" and hit.task is not None]
    assert pid.met == sum(task.pid == own for task in tasks)
    assert comm.met == sum(task.comm == "cat" for task in tasks) > 1
    assert none.met == kernel.met == 0
    assert tree.met == len(tasks)  # all that reads is the shell's
    assert [each.optimized for each in (pid, comm, none, tree, count, kernel)] == [True] * 6
    assert {row.comm: row.count for row in session.ask(f"counts {count.number}")[0].keys} == {"cat": comm.met}
    assert [each.hits for each in watches] == [pid.met, comm.met, tree.met, comm.met, 0]
    graph = session.ask(f"counts {watches[3].number}")[0]
    assert {line.task for line in graph.lines} == {"cat"}
    assert sum(line.depth == 0 and line.kind != "return" for line in graph.lines) == comm.met
    cat, of_shell = session.ask("events")
    assert [each.hits for each in (cat, of_shell)] == [comm.met, pid.met]
    assert (cat.optimized, cat.tasks, of_shell.tasks) == (True, "comm=cat", f"pid={own}")
    assert "dfd=%x0:s32  # enabled, comm=cat, " in session.run("events")
    for line in (
        "event comm=cat p:none do_sys_openat2 dfd=%x0:s32",
        "events filter none dfd >= 0",
        "event comm=cat p:counted do_sys_openat2",
        "events trigger counted hist:keys=common_pid",
        "events enable none",
    ):
        session.run(line)
    run(shell.run, "cat /proc/version | cat; cat /proc/version")
    filtered = session.ask("events")[2]
    again = session.ask("probes")[2].met - comm.met
    assert filtered.hits == 0 < again
    assert f"Hits: {again}\n" in session.ask("events hist counted").text
    assert (comm.condition, tree.condition) == ("comm=cat && dfd < 0", f"tree={own}")


def test_a_tree_is_that_of_the_processes(session: Session, tmp_path: Path) -> None:
    """By the numbers that the guest's shells print of themselves."""
    shell = Shell(session.machine)
    run = session.owner.call
    for name, text in (("inner", INNER), ("outer", OUTER)):
        (tmp_path / name).write_text(text)
        (tmp_path / name).chmod(0o755)
        session.guest.push(tmp_path / name, f"/tmp/{name}")
    said = run(shell.run, "/tmp/outer & echo of $!")
    tree = int(re.findall(r"of (\d+)", said)[0])
    session.run(f"kprobe do_sys_openat2 tree={tree}")
    session.run("kprobe do_sys_openat2 comm=cat")
    said = run(shell.run, "cat /proc/uptime; sleep 2")
    (reader,) = re.findall(r"^in (\d+)$", said, re.MULTILINE)
    of_tree, every = (
        {hit.task.pid for hit in session.kprobes.hits if hit.probe is probe and hit.task is not None}
        for probe in session.probes.values()
    )
    assert int(reader) in of_tree & every
    assert len(every - of_tree) == 1  # which the shell at the console has started
    assert int(run(shell.run, "echo $$")) not in of_tree


def test_refusals(session: Session) -> None:
    for line, words in (
        ("kprobe do_sys_openat2 comm=aaaaaaaaaaaaaaaa", "the name of a task has 15 bytes at most"),
        ("kprobe do_sys_openat2 pid=-1", "-1 is not the number of a task"),
        ("kprobe do_sys_openat2 pid=dd", "'dd' is not a number"),
        ("event comm=aaaaaaaaaaaaaaaa p:open do_sys_openat2", "the name of a task has 15 bytes at most"),
        ("funccount do_sys_openat2 comm=aaaaaaaaaaaaaaaa", "the name of a task has 15 bytes at most"),
        ("kprobe do_sys_openat2 pid=1 if nothing > 1", "there is no symbol 'nothing'"),
    ):
        with pytest.raises(CommandError, match=words):
            session.run(line)
    with Session("demo") as demo:
        for line in ("kprobe kfree pid=1", "funccount kfree pid=1", "funcgraph kfree comm=sh"):
            with pytest.raises(CommandError, match="choose tasks of Linux, which this guest is not"):
                demo.run(line)
