# SPDX-License-Identifier: GPL-2.0-or-later
"""Filters and triggers of tracepoints, ours and the guest's own tracefs on the same run: the same files."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

import pytest

from armprobe.commands import CommandError, Session
from armprobe.commands.tracepoints import events_of
from armprobe.machine import Snapshot
from armprobe.probes.kprobe import OPTIMIZED
from tests.linux.shell import TRACING
from tests.stock import stock_snapshot

pytestmark = pytest.mark.sample(of="files")

LINE: Final = re.compile(r"^ *(\S+)-(\d+) +\[000\] \S+ +[\d.]+: (.*)$", re.MULTILINE)
WORK: Final = "wc /init /proc/version; head -c 700 /init; dd if=/init bs=99 count=20"
WHO: Final = '(comm == "wc" || comm == "head" || comm == "dd")'
"""The programs of the work: those that set triggers, and read files of tracefs, are others."""
TRIGGERS: Final = (
    ("sched:sched_switch", f"hist:keys=next_comm,prev_state.hex:vals=prev_prio:sort=next_comm if {WHO}"),
    ("sched:sched_process_exec", 'hist:keys=filename,pid if filename ~ "*exe"'),
    ("kmem:kmalloc", f"hist:keys=call_site.sym-offset:vals=bytes_req,bytes_alloc:sort=bytes_alloc.descending if {WHO}"),
    ("raw_syscalls:sys_enter", f"hist:keys=id.syscall,common_pid.execname:sort=id if {WHO}"),
    ("syscalls:sys_exit_read", f"hist:keys=ret.log2:vals=ret if {WHO} && ret > 0"),
)


@pytest.fixture(scope="module")
def start() -> Iterator[tuple[Session, Snapshot]]:
    with Session(stock_snapshot()) as session:
        session.guest.sh("true")
        yield session, session.machine.snapshot()


@pytest.mark.parametrize("in_c", [True, False])
def test_histograms_are_equal(start: tuple[Session, Snapshot], in_c: bool) -> None:
    """By Python those of the rarer events, as it takes its time."""
    session, snapshot = start
    triggers = TRIGGERS if in_c else TRIGGERS[:2]
    session.machine.restore(snapshot)
    session.kprobes.optimization = in_c
    events = session.kprobes.events
    script = []
    for name, trigger in triggers:
        events.trigger(name, trigger)
        script.append(f"echo '{trigger}' > {TRACING}/events/{name.replace(':', '/')}/trigger")
    session.guest.sh("; ".join(script))
    session.guest.sh(f"{{ {WORK}; }} > /dev/null")
    for name, trigger in triggers:
        theirs = session.guest.sh(f"cat {TRACING}/events/{name.replace(':', '/')}/hist").out
        ours = events.hist(name)
        probe = events.find(name).probes[0].probe
        assert probe is not None
        assert bool(probe.flags & OPTIMIZED) is in_c
        events.trigger(name, f"!{trigger}")
        assert ours == theirs
        assert int(ours.partition("Hits: ")[2].split()[0]) > 1


def test_filtered_and_triggered_events_are_the_guests(start: tuple[Session, Snapshot]) -> None:
    """One event is filtered, and enables another: the lines of the processes of the work."""
    session, snapshot = start
    session.machine.restore(snapshot)
    session.kprobes.optimization = True
    executed, opened = "sched/sched_process_exec", "syscalls/sys_enter_openat"
    chosen, trigger = 'filename == "/proc/self/exe"', f"enable_event:{opened.replace('/', ':')}"
    session.run(f"events filter {executed} {chosen}")
    session.run(f"events trigger {executed} {trigger}")
    session.run(f"events enable {executed}")
    files = f"cd {TRACING}/events/{executed}; echo '{chosen}' > filter; echo {trigger} > trigger; echo 1 > enable"
    session.guest.sh(f"echo > {TRACING}/trace; {files}")
    told = session.guest.sh(f"wc /proc/version /init > /dev/null; head -c 1 /init; cat {TRACING}/trace").out
    rows = {row.event: row for row in session.ask("events")}
    assert rows[executed].optimized is False  # it has a trigger that does more than to count
    theirs = LINE.findall(told)
    tasks = {pid for comm, pid, _ in theirs if comm == "wc"}
    expected = [text for _, pid, text in theirs if pid in tasks]
    assert any(text.startswith("sched_process_exec: filename=/proc/self/exe ") for text in expected)
    assert sum(text.startswith("sys_openat(") for text in expected) >= 2
    ours = LINE.findall("\n".join(session.kprobes.events.trace()))
    assert [text for _, pid, text in ours if pid in tasks] == expected
    session.run(f"events trigger {executed} !{trigger}")
    session.run(f"events disable {executed} {opened}")
    assert not session.ask("events")


def test_a_pointer_is_compared_by_the_string_that_it_leads_to(start: tuple[Session, Snapshot]) -> None:
    """As the guest's own filter on the same run."""
    session, snapshot = start
    session.machine.restore(snapshot)
    filters = 'filename.ustring ~ "/proc/*"', 'filename.ustring == "/init"'
    path = f"{TRACING}/events/syscalls/sys_enter_openat"
    session.run("events enable syscalls:sys_enter_openat")
    found = []
    for text in filters:
        session.run(f"events filter syscalls:sys_enter_openat {text}")
        session.guest.sh(f"echo > {TRACING}/trace; echo '{text}' > {path}/filter; echo 1 > {path}/enable")
        session.guest.sh("wc /proc/version /init; head -c 1 /proc/uptime")
        told = session.guest.sh(f"echo 0 > {path}/enable; grep -c sys_openat {TRACING}/trace").out
        found.append((len(session.kprobes.events.trace()), int(told)))
        session.kprobes.hits.clear()
    session.run("events filter syscalls:sys_enter_openat 0")
    session.run("events disable syscalls:sys_enter_openat")
    assert found == [(2, 2), (1, 1)]


def test_events_are_chosen_as_the_guest_chooses_them(start: tuple[Session, Snapshot]) -> None:
    """By the same texts for set_event."""
    session, snapshot = start
    session.machine.restore(snapshot)
    for text in "irq:*", "irq:", "irq", "*:sys_enter_read", ":softirq_entry", "sys_exit_openat":
        told = session.guest.sh(f"cd {TRACING}; echo '{text}' > set_event; cat set_event; echo > set_event").out
        session.run(f"events enable {text}")
        ours = {row.event.replace("/", ":") for row in session.ask("events")}
        session.run(f"events disable {text}")
        assert ours == set(told.split()), text
        assert ours, text


def test_what_echo_writes_is_written_here_too(start: tuple[Session, Snapshot]) -> None:
    """Each line is given to the guest's shell, and to echo here: then the files are equal."""
    session, snapshot = start
    session.machine.restore(snapshot)
    events = session.kprobes.events
    hist = "hist:keys=common_pid.execname:vals=hitcount:sort=hitcount:size=2048 if dfd != 4"
    for line in (
        "echo 'p:open do_sys_openat2 dfd=%x0:s32 name=+0(%x1):ustring' > kprobe_events",
        "echo 'r:mine/read vfs_read $retval:s64' >> kprobe_events",
        "echo 1 > events/kprobes/open/enable",
        "echo 'dfd == -100' > events/kprobes/open/filter",
        f"echo '{hist}' >> events/kprobes/open/trigger",
        "echo 1 >events/mine/enable",
        "echo 'irq:* kprobes:open' > set_event",
        "echo '!irq:*' >> set_event",
        f"echo '!{hist}' >> events/kprobes/open/trigger",
        f"echo 0 > {TRACING}/events/enable",
        "echo -:open >>kprobe_events",
        "echo > kprobe_events",
    ):
        told = session.guest.sh(f"cd {TRACING}; {line}")
        assert (told.err, told.status) == ("", 0), line
        session.run(line)
        assert session.guest.sh(f"cat {TRACING}/kprobe_events").out.splitlines() == events.list(), line
        enabled = {row.event.replace("/", ":") for row in session.ask("events") if row.enabled}
        assert set(session.guest.sh(f"cat {TRACING}/set_event").out.split()) == enabled, line
        if "kprobes/open" in "".join(events.list()):
            files = session.guest.sh(f"cd {TRACING}/events/kprobes/open; cat filter trigger").out
            assert files == f"{events.filter('open')}\n{events.trigger('open')}", line


@pytest.mark.sample(of="tests")
def test_of_several_events_those_that_nothing_calls_are_passed_over(start: tuple[Session, Snapshot]) -> None:
    """Such as those that only modules call. Alone they are refused."""
    session, snapshot = start
    session.machine.restore(snapshot)
    events = session.kprobes.events
    session.run("events enable events/enable")
    enabled = {row.event for row in session.ask("events")}
    session.run("events disable events/enable")
    assert not any(row.enabled for row in session.ask("events"))
    uncalled = sorted(set(events.chosen("*:*")) - enabled)
    assert len(enabled) > 1000 > 100 > len(uncalled) > 0
    for path in uncalled:
        assert not events_of(session)[path.replace("/", ":")].branches, path
        with pytest.raises(CommandError, match="this kernel's code has no call of it"):
            session.run(f"events enable {path}")


@pytest.mark.parametrize(
    ("command", "why"),
    [
        ("events trigger sched:sched_switch hist:keys=nix", "EINVAL: Couldn't find field"),
        ("events filter sched:sched_switch nix == 1", "EINVAL: Field not found"),
        ("events enable sched:nix", "ENOENT: there is no event 'sched:nix'"),
    ],
)
def test_wrong_texts_have_the_kernels_words(start: tuple[Session, Snapshot], command: str, why: str) -> None:
    with pytest.raises(CommandError) as refused:
        start[0].run(command)
    assert str(refused.value).startswith(why)
