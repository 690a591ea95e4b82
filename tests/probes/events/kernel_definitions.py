# SPDX-License-Identifier: GPL-2.0-or-later
"""What Debian's 6.1 kernel accepted and answered for 932 definitions of kprobe events.

The kernel was 6.1.0-56-cloud-arm64 of the package 6.1.192-2, with `nokaslr` and the module dummy loaded. For each case
of `kprobe_events_v61.json.xz` the guest's kprobe_events was emptied, the lines `before` were written to it, and the
events `enabled` were enabled. Then `definition` was written with one write(), followed by a newline unless `newline`
is false, with O_TRUNC if `truncate` is true. `errno` is the result of the write, and `error` the entry that it made
in error_log, if any. `listed` is kprobe_events afterwards. `format` has, for each event, the lines of its own fields in
its format file, with single spaces and without those of names that begin with common_, and the print format. Addresses,
which the kernel prints as hashes, stand as 0x<hashed>, and `address` says of which symbol they were.
"""

from __future__ import annotations

import functools
import json
import lzma
import re
from pathlib import Path
from typing import Any, Final

from armprobe.machine import Symbols
from armprobe.probes import EventError, Events

RECORD: Final = Path(__file__).parent / "kprobe_events_v61.json.xz"
_ADDRESS: Final = re.compile(r"0x[0-9a-f]+")

Answer = dict[str, Any]


@functools.cache
def definitions() -> list[Answer]:
    """All cases."""
    with lzma.open(RECORD) as file:
        return list(json.load(file))


def kernels_answer(case: Answer) -> Answer:
    """What the kernel answered in a case."""
    kept = {key: case.get(key) for key in ("accepted", "errno", "error")}
    # The format files of a group whose folder would have the name of a file cannot be read.
    return kept | {key: case.get(key) or empty for key, empty in (("listed", []), ("format", {}))}


def our_answer(events: Events, case: Answer, symbols: Symbols) -> Answer:
    """What `events` answer in the case."""
    remove_all(events)
    for line in case.get("before", []):
        events.define(f"{line}\n")
    for name in case.get("enabled", []):
        events.enable(name)
    text = placed(case, symbols) + ("" if case.get("newline") is False else "\n")
    answer: Answer = {"accepted": True, "errno": None, "error": None}
    try:
        if case.get("truncate"):
            events.clear()
        events.define(text)
    except EventError as error:
        logged = {"source": "trace_kprobe", "message": error.message, "command": error.command, "column": error.column}
        answer = {"accepted": False, "errno": error.errno_name, "error": None if error.column is None else logged}
    formats: dict[str, Answer | None] = {event.path: format_lines(events.format(event.path)) for event in events.events}
    answer |= {"listed": events.list(), "format": formats}
    if case.get("hashed"):
        answer["listed"] = [_hashed(line) for line in answer["listed"]]
        answer["format"] = {_hashed(name): lines for name, lines in formats.items()}
    unreadable = [name for name, lines in (case.get("format") or {}).items() if lines is None]
    return answer | {"format": {**answer["format"], **dict.fromkeys(unreadable)}}


def placed(case: Answer, symbols: Symbols) -> str:
    """The definition of a case, with the addresses that this kernel has the symbols at."""
    text = str(case["definition"])
    for address, place in (case.get("address") or {}).items():
        name, _, offset = place.partition("+")
        here = symbols[name].address + int(offset or "0", 16)
        if here != int(address, 8 if re.match("0[0-7]", address) else 0):
            text = text.replace(address, f"{here:#x}")
    return text


def remove_all(events: Events) -> None:
    """Delete all events."""
    for event in events.events:
        events.disable(event.path)
    events.clear()


def format_lines(text: str) -> Answer:
    """The own fields and the print format of a format file."""
    fields = text.partition("\n\n")[2].partition("\n\n")[0]
    printed = text.partition("print fmt: ")[2].rstrip("\n")
    own = [" ".join(line.split()) for line in fields.splitlines() if " common_" not in line]
    return {"fields": own, "print_fmt": printed}


def _hashed(text: str) -> str:
    return _ADDRESS.sub("0x<hashed>", text)
