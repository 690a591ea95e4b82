# SPDX-License-Identifier: GPL-2.0-or-later
"""Hits as stacks: the folded lines of flamegraph.pl, and the files of speedscope."""

from __future__ import annotations

import json
import re
from typing import Any, BinaryIO, Final

from armprobe.expressions.errors import printable
from armprobe.probes import Hit, Stage
from armprobe.probes.record import TICK
from armprobe.traces.stacks import UNKNOWN, events, function_name, stacks

from .saved import Saved

SPEEDSCOPE_BEGINNING: Final = b'{"exporter": "armprobe"'
_SCHEMA: Final = "https://www.speedscope.app/file-format-schema.json"
_FOLDED: Final = re.compile(rb"[^;\n]*(;[^;\n]+)+ \d+\n")
_LONGEST_LINE: Final = 1 << 16


def write_folded(saved: Saved, file: BinaryIO) -> None:
    """Write a line for each stack: the names, outermost first, with ";" between them, and the number of hits."""
    for names, count in sorted(stacks(saved.table, saved.kprobes.machine.symbols).items()):
        line = ";".join(_name(name) for name in names)
        file.write(f"{line} {count}\n".encode("utf-8", "backslashreplace"))


def is_folded(file: BinaryIO) -> bool:
    """Whether a file begins with a line of this form: it has no room for a name of its maker's."""
    return bool(_FOLDED.fullmatch(file.readline(_LONGEST_LINE)))


def _name(name: str) -> str:
    """A name in a folded line. A ";" would end it."""
    return printable(name).replace(";", ":")


def write_speedscope(saved: Saved, file: BinaryIO) -> None:
    """Write a profile of the hits by stack, and for each task one of its calls in guest time."""
    symbols = saved.kprobes.machine.symbols
    frames: dict[str, int] = {}

    def frame(name: str) -> int:
        return frames.setdefault(name, len(frames))

    counted = sorted(stacks(saved.table, symbols).items())
    samples = [[frame(name) for name in names] for names, _ in counted]
    weights = [count for _, count in counted]
    profiles: list[dict[str, Any]] = [
        {
            "type": "sampled",
            "name": "hits",
            "unit": "none",
            "startValue": 0,
            "endValue": sum(weights),
            "samples": samples,
            "weights": weights,
        }
    ]
    for task, changes in _changes(saved).items():
        marks = [
            {"type": "O" if opens else "C", "frame": frame(function_name(symbols, call)), "at": at}
            for opens, call, at in changes
        ]
        span = {"startValue": marks[0]["at"], "endValue": marks[-1]["at"]}
        profiles.append({"type": "evented", "name": task, "unit": "nanoseconds", **span, "events": marks})
    whole = {
        "exporter": "armprobe",
        "$schema": _SCHEMA,
        "name": "hits of probes",
        "activeProfileIndex": 0,
        "shared": {"frames": [{"name": name} for name in frames]},
        "profiles": profiles,
    }
    file.write(json.dumps(whole).encode() + b"\n")


def _changes(saved: Saved) -> dict[str, list[tuple[bool, Hit, int]]]:
    """For each task, its calls as they begin (True) and end, with the time in ns. They are nested, and all end."""
    found: dict[str, list[tuple[bool, Hit, int]]] = {}
    open_calls: dict[str, list[Hit]] = {}
    for event in events(saved.table):
        hit = event.hit
        task = f"{hit.task.comm}-{hit.task.pid}" if hit.task is not None else UNKNOWN
        calls, changes = open_calls.setdefault(task, []), found.setdefault(task, [])
        if hit.stage is Stage.ENTRY and hit.probe.kind == "kretprobe":
            calls.append(hit)
            changes.append((True, hit, hit.ticks * TICK))
        elif event.entry in calls:
            while calls:
                call = calls.pop()
                changes.append((False, call, hit.ticks * TICK))
                if call is event.entry:
                    break
    for task, calls in open_calls.items():
        changes = found[task]
        changes += [(False, call, changes[-1][2]) for call in reversed(calls)]
    return {task: changes for task, changes in found.items() if changes}
