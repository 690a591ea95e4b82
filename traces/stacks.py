# SPDX-License-Identifier: GPL-2.0-or-later
"""Calls and stacks that hits show: which calls enclose a hit, and who has called.

A kretprobe's hit is a call of its function, from the stage entry to the stage return. Of other callers only the nearest
is known: the one that the function returns to.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import NamedTuple

from armprobe.machine import Symbols
from armprobe.probes import Hit, Stage

from .columns import HitTable, is_traced

UNKNOWN = "<...>"
"""The name of a task that is not known, as the kernel has it."""


class Event(NamedTuple):
    """A stage of a hit, and the calls of its task that are open then, outermost first, without its own."""

    hit: Hit
    enclosing: tuple[Hit, ...]
    entry: Hit | None
    """Of a return, the entry."""


def events(table: HitTable) -> Iterator[Event]:
    """The stages of `table`, in order."""
    open_calls: dict[int | None, list[Hit]] = {}
    for hit in table.hits:
        calls = open_calls.setdefault(hit.task.pid if hit.task is not None else None, [])
        entry = None
        if hit.stage is Stage.RETURN:
            for place in range(len(calls) - 1, -1, -1):
                if calls[place].probe is hit.probe and calls[place].number == hit.number:
                    entry = calls[place]
                    del calls[place:]  # the returns of those inside are missing
                    break
        yield Event(hit, tuple(calls), entry)
        if hit.stage is Stage.ENTRY and hit.probe.kind == "kretprobe":
            calls.append(hit)


def function_name(symbols: Symbols, hit: Hit) -> str:
    """The name of the function that a hit is in, with an offset if the probe has one."""
    return symbols.describe(hit.address)


def stack(symbols: Symbols, event: Event) -> tuple[str, ...]:
    """The task, the calls that enclose the hit, its caller, and its place: outermost first."""
    hit = event.hit
    names = [hit.task.comm if hit.task is not None else UNKNOWN]
    names += (function_name(symbols, call) for call in event.enclosing)
    caller = _caller(symbols, hit)
    if caller is not None and caller != names[-1]:
        names.append(caller)
    return (*names, function_name(symbols, hit))


def stacks(table: HitTable, symbols: Symbols) -> Counter[tuple[str, ...]]:
    """The number of hits at each stack."""
    return Counter(stack(symbols, event) for event in events(table) if is_traced(event.hit))


def _caller(symbols: Symbols, hit: Hit) -> str | None:
    """The function that the hit's function returns to. At its entry x30 says so."""
    found, address = symbols.at(hit.address), hit.caller
    if address is None and found is not None and found[1] == 0:
        address = hit.words[30]
    calls = symbols.at(address) if address is not None else None
    return None if calls is None else calls[0].name
