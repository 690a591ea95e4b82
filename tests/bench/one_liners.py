# SPDX-License-Identifier: GPL-2.0-or-later
"""What one-liners cost a stock Debian kernel: the CPU time of `dd bs=1` in the guest, with and without each."""

from __future__ import annotations

import math
import time
from typing import Final

from armprobe.commands import Session
from armprobe.guests import linux
from tests.bench.linux import TURNS, copying, cost_of_a_hit  # tests have no import name to go by

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
}
"""The lines that are measured, by name."""


def _seconds(session: Session, blocks: int) -> float:
    """Of CPU time of this process: other processes of the computer do not count."""
    start = time.process_time()
    done = session.guest.sh(copying(blocks))
    took = time.process_time() - start
    assert f"{blocks}+0 records out" in done.err, done
    return took


def costs(scale: float) -> dict[str, float]:
    """Seconds of `dd`, and with each line set, by turns: the least of each. Also microseconds of a counted hit."""
    blocks = int(50_000 * scale)
    with Session(linux.prepare()) as session:

        def measured(line: str) -> float:
            if line:
                session.run(line)
            _seconds(session, 1000)  # translate what there is
            took = _seconds(session, blocks)
            session.run("unregister all")
            return took

        found = dict.fromkeys(("plain", *LINES), math.inf)
        for _ in range(TURNS):
            for name in found:
                found[name] = min(found[name], measured(LINES.get(name, "")))
        hist = cost_of_a_hit(lambda on, _: measured(LINES["count"] if on else ""), blocks)
    return {f"one_liner_{name}_seconds": took for name, took in found.items()} | {"count_us": hist}
