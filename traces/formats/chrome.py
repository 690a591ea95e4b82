# SPDX-License-Identifier: GPL-2.0-or-later
"""Hits in Chrome's Trace Event Format, which Perfetto's UI and trace processor read.

Each task is a track. A call that a kretprobe saw is a slice, any other hit an instant, and each probe has a counter of
its hits.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from typing import Any, BinaryIO, Final

from armprobe.probes import Hit, Stage
from armprobe.probes.record import TICK
from armprobe.traces.columns import is_traced
from armprobe.traces.stacks import UNKNOWN, events, function_name

from .saved import Saved

BEGINNING: Final = b'{"otherData": {"made by": "armprobe"'
_GUEST: Final = 1  # the process that all tracks are in
_NO_TASK: Final = (1 << 22) + 1
"""The track of tasks that are not known or have the number 0, which readers skip as the idle task. All other numbers
are below (PID_MAX_LIMIT, include/linux/threads.h)."""


def write(saved: Saved, file: BinaryIO) -> None:
    """Write the events, an object a line."""
    file.write(BEGINNING + b', "stages lost": %d}, "displayTimeUnit": "ns", "traceEvents": [\n' % saved.lost)
    file.write(json.dumps(_metadata("process_name", 0, "guest")).encode())
    for event in _events(saved):
        file.write(b",\n" + json.dumps(event).encode())
    file.write(b"\n]}\n")


def _events(saved: Saved) -> Iterator[dict[str, Any]]:
    symbols = saved.kprobes.machine.symbols
    named: dict[int, str] = {}
    counts: Counter[str] = Counter()
    for event in events(saved.table):
        hit = event.hit
        track = hit.task.pid if hit.task is not None and hit.task.pid else _NO_TASK
        comm = hit.task.comm if hit.task is not None else UNKNOWN
        if named.get(track) != comm:
            named[track] = comm
            yield _metadata("thread_name", track, comm)
        if not is_traced(hit):
            continue
        name = function_name(symbols, hit)
        common = {"name": name, "cat": hit.probe.kind, "pid": _GUEST, "tid": track}
        if event.entry is not None:
            time = _microseconds(event.entry)
            took = (hit.ticks - event.entry.ticks) * TICK / 1000
            yield {**common, "ph": "X", "ts": time, "dur": took, "args": _arguments(saved, hit, event.entry)}
        else:
            arguments = _arguments(saved, hit, None)
            yield {**common, "ph": "i", "s": "t", "ts": _microseconds(hit), "args": arguments}
        counts[hit.probe.name] += 1
        counter = {"name": hit.probe.name, "ph": "C", "pid": _GUEST, "ts": _microseconds(hit)}
        yield {**counter, "args": {"hits": counts[hit.probe.name]}}


def _metadata(what: str, track: int, name: str) -> dict[str, Any]:
    return {"name": what, "ph": "M", "pid": _GUEST, "tid": track, "args": {"name": name}}


def _microseconds(hit: Hit) -> float:
    return hit.ticks * TICK / 1000


def _arguments(saved: Saved, hit: Hit, entry: Hit | None) -> dict[str, Any]:
    """What the reader shows of a hit. Numbers of 64 bits are texts: in JavaScript numbers have 53 bits."""
    shown: dict[str, Any] = {"hit": hit.number, "position": hit.instructions}
    if hit.note:
        shown["note"] = hit.note
    if hit.stage is Stage.RETURN:
        shown["returns to"] = saved.kprobes.machine.symbols.describe(hit.caller or 0)
        if hit.words[0] is not None:
            shown["retval"] = f"{hit.words[0]:#x}"
    shown |= saved.table.arguments(hit)
    registers = (entry or hit).recorded
    shown |= {name: f"{value:#x}" for name, value in registers.items()}
    return shown
