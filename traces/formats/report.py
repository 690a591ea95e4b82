# SPDX-License-Identifier: GPL-2.0-or-later
"""Hits as a page for a browser, which needs no network: timeline, registers, histograms, flame graph.

`report.html` and `report.js` are its parts. The page runs that script and no other, and loads nothing.
"""

from __future__ import annotations

import base64
import hashlib
import json
from pathlib import Path
from typing import Any, BinaryIO, Final

from armprobe.expressions.errors import printable
from armprobe.machine import Machine
from armprobe.probes import Hit, Probe
from armprobe.probes.record import REGISTERS, TICK
from armprobe.traces.columns import HitTable, is_traced
from armprobe.traces.stacks import UNKNOWN, events, stacks

from .saved import Saved

BEGINNING: Final = b"<!doctype html>\n<!-- made by armprobe -->\n"
MOST_STAGES: Final = 20_000
"""Stages of hits in a page, of some 600 bytes each."""


def write(saved: Saved, file: BinaryIO) -> None:
    """Write the page, with the last `MOST_STAGES` stages."""
    folder = Path(__file__).parent
    script = (folder / "report.js").read_text()
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    # "<" could end the element that the data is in (HTML standard, "Restrictions for contents of script elements").
    data = json.dumps(_data(saved)).replace("<", "\\u003c")
    page = (folder / "report.html").read_text()
    for place, text in (("@HASH@", f"sha256-{digest}"), ("@SCRIPT@", script), ("@DATA@", data)):
        page = page.replace(place, text, 1)
    file.write(page.encode())


def _data(saved: Saved) -> dict[str, Any]:
    """What the script reads. Each hit has the numbers of its stages."""
    machine = saved.kprobes.machine
    table = HitTable(saved.table.hits[-MOST_STAGES:], saved.kprobes)
    tasks, probes = _Numbers(), _Numbers()
    numbers: dict[tuple[Probe, int], list[int]] = {}
    hits = []
    for place, event in enumerate(events(table)):
        hit = event.hit
        mine = numbers.setdefault((hit.probe, hit.number), [])
        mine.append(place)
        if not is_traced(hit):
            continue
        began = event.entry or hit
        hits.append(
            {
                "task": tasks[_task(hit)],
                "probe": probes[printable(hit.probe.name), hit.probe.kind],
                "number": hit.number,
                "start": began.ticks * TICK,
                "end": hit.ticks * TICK,
                "call": event.entry is not None,
                "depth": len(event.enclosing),
                "stages": mine,
            }
        )
    shown = [_stage(row, tasks[_task(hit)]) for hit, row in zip(table.hits, table.records(), strict=True)]
    counted = sorted(stacks(table, machine.symbols).items())
    return {
        "guest": _guest(machine),
        "era": saved.kprobes.era.name,
        "lost": saved.lost,
        "before": len(saved.table.hits) - len(table.hits),
        "registers": REGISTERS,
        "tasks": list(tasks),
        "probes": list(probes),
        "hits": sorted(hits, key=lambda hit: hit["start"]),
        "stages": shown,
        "stacks": [([printable(name) for name in names], count) for names, count in counted],
    }


def _guest(machine: Machine) -> str:
    version = machine.kernel.version if machine.kernel is not None else None
    return "a bare-metal guest" if version is None else f"Linux {'.'.join(map(str, version))}"


class _Numbers(dict[Any, int]):
    """Numbers things from 0, in the order in which they are asked for."""

    def __missing__(self, key: Any) -> int:
        self[key] = len(self)
        return self[key]


def _task(hit: Hit) -> str:
    return f"{printable(hit.task.comm)}-{hit.task.pid}" if hit.task is not None else UNKNOWN


def _stage(row: dict[str, Any], task: int) -> dict[str, Any]:
    """A stage. Words are hexadecimal texts: in JavaScript numbers have 53 bits."""
    return {
        "stage": row["stage"],
        "time": row["time_ns"],
        "position": row["position"],
        "task": task,
        "symbol": printable(row["symbol"] or ""),
        "caller": printable(row["caller_symbol"] or ""),
        "note": printable(row["note"]),
        "args": {printable(name): printable(value or "(fault)") for name, value in row["args"].items()},
        "pstate": f"{row['pstate']:#x}",
        "words": ["" if row[name] is None else f"{row[name]:#x}" for name in REGISTERS],
    }
