# SPDX-License-Identifier: GPL-2.0-or-later
"""A long run of a stock kernel under load, with its history kept, probes set, and a bound on the memory for history."""

from __future__ import annotations

import gc
import os
import re
import time
from pathlib import Path

import pytest

from armprobe.commands import Session
from armprobe.machine.devices.timer import FREQUENCY
from tests.identity import run_to, state  # tests have no import name to go by
from tests.linux.load import load
from tests.linux.shell import Shell
from tests.memories import memory_of
from tests.progress import progress
from tests.soak import AT_LENGTH, chance

pytestmark = pytest.mark.soak

SECONDS = 3600 if AT_LENGTH else 3
"""Of guest time."""
JUMPS = 100 if AT_LENGTH else 8
HISTORY, OTHERS = 1 << 30, 1 << 30
"""Bytes: what the history may take, and all else: the guest's memory twice, translated code, symbols, recorded hits."""
PAUSE = 2
"""Seconds between bursts of work."""
PROBED = (
    "vfs_read", "vfs_write", "do_sys_openat2", "path_openat", "kfree", "__kmalloc", "kmem_cache_alloc", "schedule",
    "wake_up_process", "do_exit", "copy_process", "mmput", "exit_mmap", "do_mmap", "handle_mm_fault", "pipe_read",
    "pipe_write", "proc_tgid_stat", "seq_read_iter", "filp_close", "dput", "iput", "fput", "hrtimer_interrupt",
)  # fmt: skip
"""The functions, each with a kprobe and a kretprobe. Two tracepoints make it 50 probes."""
TROUBLE = re.compile(r"WARNING|BUG|[Cc]all trace|stall|lockup|hung|[Oo]ops|unsynchronized", re.MULTILINE)


def resident() -> int:
    """Bytes that this process has in memory."""
    return memory_of(os.getpid(), "VmRSS")


def up(shell: Shell) -> float:
    """Seconds that the guest thinks it is up."""
    return float(shell.run("cat /proc/uptime").split()[0])


@pytest.mark.sample(of="tests")
def test_an_hour(snapshot: Path) -> None:
    gc.collect()  # what tests before have left would be collected meanwhile
    random, others = chance(), resident()
    with Session(snapshot, history_memory=HISTORY) as session:
        machine, shell = session.machine, Shell(session.machine)
        for function in PROBED:
            session.run(f"kprobe {function}")
            session.run(f"kretprobe {function}")
        session.run("count t:sched:sched_switch by next_comm")
        session.run("kprobe t:sched:sched_process_exit")
        assert len(session.probes) == 50
        assert shell.run(load(PAUSE)) == ""
        said, began, first, real = shell.run("dmesg"), up(shell), machine.clock.seconds, time.monotonic()
        marks = sorted(first + random.random() * SECONDS for _ in range(JUMPS))
        seen: dict[int, str] = {}
        largest = kept = 0
        for mark in [*marks, first + SECONDS]:
            while machine.clock.seconds < mark:
                left = int((mark - machine.clock.seconds) * FREQUENCY)
                run_to(machine, machine.instructions + max(1, min(left, 50_000_000)))
                largest = max(largest, resident() - others)
                kept = max(kept, machine.checkpoints.size)
            seen[machine.instructions] = state(machine)
            if AT_LENGTH:
                progress(
                    f"{machine.clock.seconds - first:,.0f} s of guest time, {machine.instructions:,} instructions, "
                    f"{time.monotonic() - real:,.0f} s; {resident() >> 20} MiB, of which checkpoints "
                    f"{machine.checkpoints.size >> 20} MiB"
                )
        end, elapsed = machine.instructions, machine.clock.seconds - first
        print(f"{elapsed:,.1f} s of guest time; {end:,} instructions; {largest >> 20} MiB at most")
        hits = {str(probe): probe.hits for probe in session.kprobes.list()}
        assert kept <= HISTORY
        assert kept <= largest <= HISTORY + OTHERS
        for position in random.sample(sorted(seen), len(seen)):
            began_at = time.monotonic()
            machine.timeline.go(position)
            assert state(machine) == seen[position], position
            if AT_LENGTH:
                progress(f"to {position:,} in {time.monotonic() - began_at:.1f} s")
        assert resident() - others <= HISTORY + OTHERS
        machine.timeline.go(end)
        assert machine.timeline.live
        assert {str(probe): probe.hits for probe in session.kprobes.list()} == hits
        assert abs((up(shell) - began) - (machine.clock.seconds - first)) < 0.1
        assert TROUBLE.findall(shell.run("dmesg").removeprefix(said)) == []
