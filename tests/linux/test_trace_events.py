# SPDX-License-Identifier: GPL-2.0-or-later
"""The events of the guest's kernel are those that its own tracer records of the same run."""

from __future__ import annotations

import re
import subprocess
import time
from collections import Counter, defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Final

import pytest

from armprobe.commands import CommandError, Session
from armprobe.commands.tracepoints import events_of
from armprobe.kernel import Linux
from armprobe.machine import StopReason
from armprobe.probes import ProbeError, Tracepoint, TraceRecord
from armprobe.probes.kprobe import OPTIMIZED
from tests.linux.shell import TRACING
from tests.memories import digest

pytestmark = pytest.mark.sample(of="files")

EVENTS: Final = (
    *("sched:sched_switch", "sched:sched_waking", "sched:sched_process_exec", "sched:sched_process_fork"),
    *("syscalls:sys_enter_openat", "syscalls:sys_exit_openat", "raw_syscalls:sys_enter", "raw_syscalls:sys_exit"),
    *("irq:irq_handler_entry", "irq:softirq_entry", "timer:timer_start"),
    *("kmem:kmalloc", "kmem:kfree", "kmem:mm_page_alloc"),
)
WORKLOAD: Final = (
    "cat /proc/version; ls / | wc -l; sh -c 'read v < /proc/uptime'; dd if=/dev/zero of=/dev/null bs=4k count=5"
)
LINE: Final = re.compile(r"^ *(?P<task>.*)-(?P<pid>\d+) +\[000\] (?P<flags>\S+) +[\d.]+: (?P<text>.*)$")


class Line(tuple[str, str, str]):
    """The number of the task, the flags but for the need to schedule, and the text, of a line of a trace."""

    @property
    def context(self) -> tuple[str, str]:
        """The task, and the level of interrupts."""
        return self[0], self[1][2]


def lines(texts: list[str]) -> list[Line]:
    """What can be compared of a trace."""
    found = [match for text in texts if (match := LINE.match(text))]
    return [Line((line["pid"], line["flags"][0] + "." + line["flags"][2:], line["text"])) for line in found]


def by_context(trace: list[Line]) -> dict[tuple[str, str], list[Line]]:
    """The lines of each task, apart from those of interrupts that came meanwhile."""
    found: dict[tuple[str, str], list[Line]] = defaultdict(list)
    for line in trace:
        found[line.context].append(line)
    return found


def compare_with_the_guests_tracer(session: Session, events: tuple[str, ...], workload: str) -> int:
    """Trace `workload` with the guest's tracer and with ours, compare, and return the number of events.

    The guest's own code takes time to record an event, and interrupts may come while it does: they are compared apart.
    """
    kprobes = session.kprobes
    kprobes.kept = 1 << 16
    probes = [kprobes.register_tracepoint(Tracepoint(name)) for name in events]
    enable = "; ".join(f"echo 1 > events/{name.replace(':', '/')}/enable" for name in events)
    prepare = f"mount -t tracefs tracefs {TRACING}; cd {TRACING}; echo 4096 > buffer_size_kb; echo 0 > tracing_on"
    session.guest.sh(f"{prepare}; {enable}; echo > trace")
    began = kprobes.lost + len(kprobes.hits)
    told = session.guest.sh(
        f"cd {TRACING}; echo 1 > tracing_on; {workload}; echo 0 > tracing_on; cat trace", timeout=600
    )
    theirs = lines(told.out.splitlines())
    assert kprobes.lost == 0
    assert [probe.failure for probe in probes if probe.nmissed] == []
    known = events_of(session)
    assert all(probe.flags & OPTIMIZED or known[probe.event_name].user_data for probe in probes)
    ours = lines([kprobes.trace_line(hit) for hit in list(kprobes.hits)[began:]])
    for probe in probes:
        kprobes.unregister(probe)
    start = ours.index(theirs[0])  # `tracing_on` is written between two events
    end = len(ours) - 1 - ours[::-1].index(theirs[-1])
    inside = by_context(ours[start : end + 1])
    assert inside == by_context(theirs)
    assert len(set(theirs)) > 100
    return len(theirs)


def test_events_are_those_of_the_guests_tracer(session: Session) -> None:
    assert compare_with_the_guests_tracer(session, EVENTS, WORKLOAD) > 500


def system_calls_are_those_of_the_guests_tracer(session: Session) -> None:
    """What they lead to is recorded in some kernels: names, also long ones, bytes, and two names in one call."""
    calls = "write execve openat symlinkat renameat2 unlinkat mkdirat faccessat sethostname readlinkat"
    workload = (
        f"mkdir /q; ln -s /a/{'x' * 80} /q/l; readlink /q/l; mv /q/l /q/m; printf 'a\\377b%0100d' 7 > /q/f; "
        f"cat /q/{'y' * 63}; rm -r /q; hostname somename; ls /; "
        "for i in $(seq 40); do touch /z$i; rm /z$i; head -c $i /dev/zero > /dev/null; done"
    )
    events = tuple(f"syscalls:sys_enter_{call}" for call in calls.split())
    assert compare_with_the_guests_tracer(session, events, workload) > 100


def test_records_are_the_same_in_c_and_in_python(session: Session) -> None:
    """C leaves to Python what its interpreter cannot execute, so both make them, from the same code of the guest's."""
    kprobes = session.kprobes
    kprobes.kept = 1 << 14
    start = session.machine.snapshot()
    probes = [kprobes.register_tracepoint(Tracepoint(name)) for name in EVENTS]
    found = []
    for in_c in (True, False):
        kprobes.optimization = in_c
        session.machine.restore(start)
        session.guest.sh(WORKLOAD)
        assert all(bool(probe.flags & OPTIMIZED) is in_c for probe in probes)
        hits = [(hit, hit.data) for hit in kprobes.hits]
        found.append(
            [
                (hit.probe.name, hit.instructions, hit.general, hit.task, data.data)
                for hit, data in hits
                if isinstance(data, TraceRecord)
            ]
        )
        assert len(found[-1]) == len(hits) > 1000
    assert found[0] == found[1]


def test_perf_and_trace_cmd_format_the_records_themselves(
    session: Session, tool: Callable[[str, str], str], tmp_path: Path
) -> None:
    """By the formats in the files. They print what the kernel's own code does, and trace-cmd knows sched_switch."""
    perf, trace_cmd = tool("perf", "linux-perf"), tool("trace-cmd", "trace-cmd")
    kprobes = session.kprobes
    for name in ("sched:sched_switch", "syscalls:sys_enter_openat", "syscalls:sys_exit_openat", "irq:softirq_entry"):
        kprobes.register_tracepoint(Tracepoint(name))
    kprobes.events.define("r:probe/reads vfs_read ret=$retval:s64 comm=$comm")
    kprobes.events.enable("reads")
    session.guest.sh(WORKLOAD)
    for ending in "data", "perf", "dat":
        session.run(f"trace save {tmp_path}/hits.{ending}")
    told = _told(perf, "script", "-f", "-i", f"{tmp_path}/hits.data")
    assert told == (tmp_path / "hits.perf").read_text().splitlines()
    assert len({line.split(": ")[1].strip() for line in told}) == 5
    hits = [hit for hit in kprobes.hits if hit.probe.name.endswith("sched_switch")]
    reported = [line for line in _told(trace_cmd, "report", "-i", f"{tmp_path}/hits.dat") if ": sched_switch: " in line]
    for line, hit in zip(reported, hits, strict=True):
        assert " {prev_comm}:{prev_pid} [{prev_prio}] ".format_map(hit.data) in line
        assert line.endswith(" ==> {next_comm}:{next_pid} [{next_prio}]".format_map(hit.data))
    assert len(hits) > 10


def _told(*command: str) -> list[str]:
    """The lines that a program prints."""
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()


def test_formats_are_those_of_the_guests_tracefs(session: Session) -> None:
    systems = "sched", "irq", "syscalls", "kmem", "timer"
    session.guest.sh(f"mount -t tracefs tracefs {TRACING}")
    for system in systems:
        folder = f"{TRACING}/events/{system}"
        names = session.guest.sh(f"cd {folder}; ls -d */ | tr -d /").out.split()
        assert set(session.run(f"tracepoints {system}:*").split()) == {f"{system}:{name}" for name in names}
        some = names[:: 1 if system != "syscalls" else 20]
        told = session.guest.sh(f"cd {folder}; for e in {' '.join(some)}; do cat $e/format; echo ----; done").out
        assert [session.run(f"tracepoints {system}:{name}") for name in some] == told.split("----\n")[:-1]


def test_the_run_stays_the_same(snapshot: Path) -> None:
    """Instructions and memory, with and without probes on events."""
    ended = []
    for probed in (False, True):
        with Session(snapshot) as session:
            probes = [session.kprobes.register_tracepoint(Tracepoint(name)) for name in EVENTS if probed]
            session.machine.console.write(b"cat /proc/version; ls / | wc -l\n")
            session.machine.run(instructions=20_000_000)
            ram = session.machine.ram
            ended.append((session.machine.instructions, session.machine.registers.pc, digest(ram.data)))
            assert all(probe.hits for probe in probes if probe.event_name.startswith(("sched:", "raw_syscalls:")))
    assert ended[0] == ended[1]


def test_fields_are_values_in_expressions(session: Session) -> None:
    seen: list[TraceRecord] = []
    kprobes = session.kprobes
    kprobes.register_tracepoint(Tracepoint("sched:sched_process_exec", handler=lambda p, record: seen.append(record)))
    session.run('kprobe t:sched:sched_switch if next_comm == "cat" print "%s %d", next_comm, next_pid')
    session.run('kprobe t:sched:sched_process_exec if filename == "/proc/self/exe" print "%s %d", filename, common_pid')
    session.run("count t:raw_syscalls:sys_enter by id if args[0] == 1")
    session.run("hist t:syscalls:sys_enter_write count")
    session.guest.sh("cat /proc/version; echo 12345")
    cat = next(record for record in seen if record.filename == "/proc/self/exe")
    assert cat["pid"] == cat.old_pid == cat["common_pid"]
    assert "no_field" not in cat
    assert cat.get("no_field") is None
    with pytest.raises(KeyError):
        cat["no_field"]
    trace = session.run("trace 100")
    assert f": sched_switch: cat {cat['pid']!r}\n" in trace
    assert f": sched_process_exec: /proc/self/exe {cat['pid']!r}\n" in trace
    counts = session.run("counts")
    assert "@[64]: 1\n" in counts  # write(1, "12345\n", 6)
    assert "[4, 8)                 1 |" in counts


def test_a_stop_is_at_the_event(session: Session) -> None:
    probe = session.kprobes.register_tracepoint(Tracepoint("sched:sched_process_fork", stop=[Tracepoint.stages[0]]))
    session.machine.console.write(b"cat /proc/version\n")
    stop = session.machine.run(instructions=100_000_000)
    assert stop.reason is StopReason.PROBE
    assert stop.address == session.machine.registers.pc == probe.addr
    assert "copy_process" in session.run("backtrace") or "kernel_clone" in session.run("backtrace")
    session.kprobes.unregister(probe)
    assert session.machine.run(instructions=1000).reason is StopReason.INSTRUCTIONS


@pytest.mark.parametrize(
    ("command", "why"),
    [
        ("kprobe t:sched:nix", "this kernel has no event 'sched:nix'"),
        ("kprobe t:sched_switch", "there is sched:sched_switch"),
        ("count t:sched:sched_swich by next_comm", "there is sched:sched_switch"),
        ("kprobe t:nix:*", "no event matches 't:nix:*'"),
        ("tracepoints nix*", "no event of this kernel matches 'nix*'"),
        ("tracepoints nix", "this kernel has no event 'nix'"),
        ("kprobe t:sched:sched_switch if nix", "nor has sched:sched_switch a field of that name"),
        ("kprobe t:sched:sched_switch stop=post", "an event has no stage post"),
        ("kprobe t:sched:sched_switch memory=x0:8", "of an event its fields are recorded"),
        ("kretprobe t:sched:sched_switch", "an event has no return"),
        ("latency t:sched:sched_switch", "an event has neither a return nor a caller"),
    ],
)
@pytest.mark.sample
def test_wrong_events_are_refused(session: Session, command: str, why: str) -> None:
    with pytest.raises((CommandError, ProbeError), match=re.escape(why)):
        session.run(command)
    assert session.run("probes").startswith("no probes")


def test_every_event_can_be_probed(session: Session) -> None:
    """Each of a kernel's events that has a call; of some it has none."""
    kernel = session.machine.kernel
    assert isinstance(kernel, Linux)
    assert kernel.tracepoints is not None
    assert len(kernel.tracepoints) > 1000
    without = [event.full_name for event in kernel.tracepoints.values() if not event.syscall and not event.branches]
    assert len(without) < len(kernel.tracepoints) // 20


def test_system_calls_are_probed_in_a_moment(session: Session) -> None:
    """All of them: 600 events, whose places are found by a search of all symbols."""
    kernel = session.machine.kernel
    assert isinstance(kernel, Linux)
    assert kernel.tracepoints is not None
    events = [event.full_name for event in kernel.tracepoints.matching("syscalls:*")]
    assert len(events) > 500
    start = time.process_time()
    for name in events:
        session.kprobes.register_tracepoint(Tracepoint(name))
    assert time.process_time() - start < 15


def test_texts_are_keys(session: Session) -> None:
    """Counted by C and by Python, against the fields of the records of the same run."""
    kprobes = session.kprobes
    kprobes.kept = 1 << 14
    start = session.machine.snapshot()
    keys = {"sched:sched_switch": "next_comm", "sched:sched_waking": "comm", "sched:sched_process_exec": "filename"}
    recorded = {name: kprobes.register_tracepoint(Tracepoint(name)) for name in keys}
    counting = {name: kprobes.on(f"t:{name}", key=key).count() for name, key in keys.items()}
    opened = kprobes.on("do_sys_openat2", key="str(filename)").count()
    for in_c in (True, False):
        kprobes.optimization = in_c
        session.machine.restore(start)
        for each in (*counting.values(), opened):
            each.clear()
        session.guest.sh(WORKLOAD)
        for name, key in keys.items():
            probe = counting[name].probe
            assert probe is not None
            assert bool(probe.flags & OPTIMIZED) is in_c
            values = Counter(hit.data[key] for hit in kprobes.hits if hit.probe is recorded[name])
            assert {row.key: row.count for row in counting[name].counted()} == values, name
            assert len(values) > 1
        files = {row.key for row in opened.counted()}
        assert {"/proc/version", "/proc/uptime", "/dev/zero", "/"} <= files


def test_stacks_are_those_of_the_guests_stacktrace(session: Session) -> None:
    """The trigger of the guest's own tracer, whose stacks begin in what it calls at the event."""
    events = "sched:sched_switch", "sched:sched_waking", "kmem:kfree", "kmem:kmalloc", "timer:timer_start"
    triggers = [f"events/{name.replace(':', '/')}/trigger" for name in events]
    begin, end = ("; ".join(f"echo '{text}' > {each}" for each in triggers) for text in ("stacktrace", "!stacktrace"))
    session.guest.sh(
        f"mount -t tracefs tracefs {TRACING}; cd {TRACING}; echo 8192 > buffer_size_kb; echo 0 > tracing_on"
    )
    counting = {name: session.kprobes.on(f"t:{name}", key="stack").count(capacity=4096) for name in events}
    symbols = session.machine.symbols
    told = session.guest.sh(
        f"cd {TRACING}; {begin}; echo 1 > tracing_on; {WORKLOAD}; echo 0 > tracing_on; {end}; cat trace", timeout=600
    )
    theirs: dict[str, set[tuple[str, ...]]] = defaultdict(set)
    for part in told.out.split("<stack trace>\n")[1:]:
        called, *stack = re.findall(r"^ => (\S+)", part, re.MULTILINE)
        theirs[called].add(tuple(stack[stack[0].startswith("__traceiter_") :]))
    ours = {
        tuple(symbols.describe(address).partition("+")[0] for address in row.key)
        for each in counting.values()
        for row in each.counted()
        if isinstance(row.key, tuple)
    }
    assert len(theirs) == len(events)
    for called, stacks in theirs.items():
        assert called.startswith("trace_event_raw_event_")
        assert len(stacks) > 3
        assert stacks <= ours
