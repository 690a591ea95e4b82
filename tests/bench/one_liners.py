# SPDX-License-Identifier: GPL-2.0-or-later
"""What one-liners cost a stock Debian kernel: the CPU time of `dd bs=1` in the guest, with and without each."""

from __future__ import annotations

import math
from functools import partial
from typing import Final

from armprobe.commands import Session
from armprobe.guests import linux
from tests.bench.linux import copying  # tests have no import name to go by
from tests.bench.pieces import PIECES, TURNS, cpu_seconds, least

LINES: Final = {
    "count": "count vfs_read by $comm",
    "caller": "count vfs_read by caller",
    "hist": 'hist vfs_read count if $comm == "dd"',
    "latency": "latency vfs_read by $comm",
    "stacks": "stacks vfs_read",
    "argdist": "argdist -C vfs_read count",
    "funccount": "funccount vfs_*",
    "funccount_all": "funccount *",
    "funcgraph": "funcgraph vfs_read depth=3",
    "top": "top vfs_*",
    "tracepoint": "count t:raw_syscalls:sys_enter by id",
    "event": "event p:reads vfs_read n=%x2:u64; events trigger reads hist:keys=common_pid:vals=n",
}
"""The lines that are measured, by name. `top` runs the guest itself, and ";" is between commands."""
_AFTERWARDS: Final = {
    "event": "events disable; events trigger reads !hist:keys=common_pid:vals=n; event -:kprobes/reads"
}


def _copy(session: Session, blocks: int, line: str = "") -> None:
    """Have the guest copy blocks: `line` runs dd, or nothing else."""
    if line:
        assert session.run(f"{line} while {copying(blocks)}").count("vfs_"), line
    else:
        done = session.guest.sh(copying(blocks))
        assert f"{blocks}+0 records out" in done.err, done


def _run(session: Session, commands: str) -> None:
    for command in filter(None, commands.split("; ")):
        session.run(command)


def costs(scale: float) -> dict[str, float]:
    """Seconds of `dd` without its start, and with each line set, by turns. And microseconds that it adds a block."""
    blocks = int(50_000 * scale) // PIECES
    with Session(linux.prepare()) as session:

        def measured(name: str) -> tuple[float, float]:
            """The least seconds of the start, and of so many blocks with it."""
            runs = LINES[name] if name == "top" else ""
            if not runs:
                _run(session, LINES.get(name, ""))
            _copy(session, 1000, runs)  # translate what there is
            start, took = (
                least(partial(cpu_seconds, partial(_copy, session, count, runs))) for count in (1, 1 + blocks)
            )
            _run(session, _AFTERWARDS.get(name, "unregister all"))
            return start, took

        found = dict.fromkeys(("plain", *LINES), (math.inf, math.inf))
        for _ in range(TURNS):
            for name, (start, took) in found.items():
                if not 3 * found["plain"][1] < took < math.inf:  # what costs that much need not be measured twice
                    now = measured(name)
                    found[name] = min(start, now[0]), min(took, now[1])
    seconds = {name: took - start for name, (start, took) in found.items()}
    added = {f"one_liner_{name}_us": (seconds[name] - seconds["plain"]) / blocks * 1e6 for name in LINES}
    return {f"one_liner_{name}_seconds": took for name, took in seconds.items()} | added
