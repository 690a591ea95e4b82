# SPDX-License-Identifier: GPL-2.0-or-later
"""Several tasks of a stock kernel, counted in C, against what handlers in Python see in an equal run."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from armprobe import machine
from armprobe.kernel.tasks import Task
from armprobe.probes import Aggregation, Kprobe, Kprobes, Kretprobe, ProbeError
from armprobe.probes.kprobe import OPTIMIZED
from tests.linux.shell import Shell  # tests have no import name to go by

WORK = "dd if=/dev/zero bs=100 count=40 2>&- | cat | wc -c; ls / >/dev/null"


def resumed(snapshot: Path) -> tuple[Shell, Kprobes]:
    shell = Shell(machine.load(snapshot))
    return shell, Kprobes(shell.machine)


@pytest.fixture(scope="module")
def seen(snapshot: Path) -> dict[str, list[tuple[Any, ...]]]:
    """Of calls of vfs_read: task, size, result and time; of kfree: the caller and the task."""
    shell, kprobes = resumed(snapshot)
    clock, kernel = shell.machine.clock, shell.machine.kernel
    assert kernel is not None
    assert kernel.tasks is not None
    current = kernel.tasks.current
    reads: list[tuple[Any, ...]] = []
    frees: list[tuple[Any, ...]] = []

    def task() -> Task:
        found = current()
        assert found is not None
        return found

    def entered(instance: Any, regs: Any) -> None:
        instance.data = clock.now, regs.regs[2]

    def returned(instance: Any, regs: Any) -> None:
        entry, size = instance.data
        reads.append((*task(), size, regs.regs[0], (clock.now - entry) * 16))

    kprobes.register_kretprobe(Kretprobe("vfs_read", entry_handler=entered, handler=returned, maxactive=64))
    kprobes.register_kprobe(Kprobe("kfree", pre_handler=lambda p, regs: frees.append((regs.regs[30], *task()))))
    shell.run(WORK)
    return {"reads": reads, "frees": frees}


def rows(aggregation: Aggregation) -> dict[Any, tuple[int, int]]:
    assert (aggregation.lost, aggregation.failed) == (0, 0)
    return {row.key: (row.count, row.sum) for row in aggregation.counted()}


def summed(pairs: list[tuple[Any, int]]) -> dict[Any, tuple[int, int]]:
    return {
        key: (len(own), sum(own))
        for key in {key for key, _ in pairs}
        for own in [[value for each, value in pairs if each == key]]
    }


@pytest.mark.parametrize("optimization", [True, False])
def test_tasks_and_callers(snapshot: Path, seen: dict[str, list[tuple[Any, ...]]], optimization: bool) -> None:
    shell, kprobes = resumed(snapshot)
    kprobes.optimization = optimization
    reads, frees = seen["reads"], seen["frees"]
    times = kprobes.on("vfs_read", key=lambda hit: hit.comm).hist("elapsed_ns")
    results = kprobes.on("vfs_read", key="$pid").hist("retval")
    sizes = kprobes.on("vfs_read", condition='$comm == "dd"').hist("x2")
    others = kprobes.on("vfs_read", condition='$comm != "dd"', key="comm").count()
    callers = kprobes.on("kfree", key="caller").count()
    shell.run(WORK)
    probes = [each.probe for each in (times, results, sizes, others, callers)]
    assert [probe.flags for probe in probes if probe is not None] == [OPTIMIZED * optimization] * 5
    assert rows(times) == summed([(comm, time) for comm, _, _, _, time in reads])
    assert len(rows(times)) >= 4  # sh, dd, cat, wc, ls
    assert rows(results) == summed([(pid, result - (result >> 63 << 64)) for _, pid, _, result, _ in reads])
    assert rows(callers) == {caller: (count, 0) for caller, count in Counter(caller for caller, *_ in frees).items()}
    assert len(rows(callers)) > 5
    entries = Counter(comm for comm, *_ in reads)
    assert rows(sizes)[None] == (40, 4000)  # as dd was told
    assert entries["dd"] == 40
    assert {key: count for key, (count, _) in rows(others).items() if key != "sh"} == {
        key: count for key, count in entries.items() if key not in ("dd", "sh")
    }


def test_names_of_tasks_in_conditions(snapshot: Path) -> None:
    """A name is the whole name: of 15 bytes at most, the NUL included in what is compared."""
    shell, kprobes = resumed(snapshot)
    whole = kprobes.on("vfs_read", condition='$comm == "dd"').count()
    others = [kprobes.on("vfs_read", condition=f'$comm == "{name}"').count() for name in ("d", "ddd", "", "cat d")]
    either = kprobes.on("vfs_read", condition='$comm == "dd" || $comm == "averylongname12"', key="comm").count()
    shell.run("cp /bin/busybox /averylongname12 2>&-; dd if=/dev/zero of=/dev/null bs=1 count=5 2>&-")
    assert sum(row.count for row in whole.counted()) >= 5
    assert not any(each.counted() for each in others)
    assert set(rows(either)) == {"dd"}
    with pytest.raises(ProbeError, match="has room for 15 characters"):
        kprobes.on("vfs_read", condition='$comm == "averylongname123"').count()
