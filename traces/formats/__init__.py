# SPDX-License-Identifier: GPL-2.0-or-later
"""Files of hits, in the formats that other programs read: a file for each kind of format."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO, Final, NamedTuple

from armprobe.machine import host_files
from armprobe.probes import Kprobes
from armprobe.traces.errors import TraceError

from . import ftrace_text, rows
from .saved import Saved

__all__ = ["FORMATS", "Format", "Saved", "save"]


class Format(NamedTuple):
    """A format.

    endings: those of its files' names. name: in words. beginning: how each of its files begins, by which armprobe knows
    one that it may replace.
    """

    endings: tuple[str, ...]
    name: str
    write: Callable[[Saved, BinaryIO], None]
    beginning: bytes


FORMATS: Final = (
    Format((".txt", ".ftrace"), "text of the kernel's trace file", ftrace_text.write, ftrace_text.BEGINNING),
    Format((".csv",), "CSV", rows.write_csv, rows.CSV_BEGINNING),
    Format((".ndjson", ".jsonl"), "NDJSON", rows.write_ndjson, rows.NDJSON_BEGINNING),
)


def format_of(path: str | Path) -> Format:
    """The format that the ending of a file's name stands for. Raises TraceError if there is none."""
    name = Path(path).name
    for each in FORMATS:
        if name.endswith(each.endings):
            return each
    endings = ", ".join(ending for each in FORMATS for ending in each.endings)
    raise TraceError(f"{host_files.shown(path)} has no ending that says its format: give one of {endings}")


def save(kprobes: Kprobes, path: str | Path, how: Format | None = None, *, force: bool = False) -> Saved:
    """Write the hits that `kprobes` has recorded to the file at `path`, by default in the format of its ending.

    It replaces a file of the same format that armprobe has made; with `force`, any file. Raises TraceError, or
    MachineError if the file cannot be written.
    """
    how = how or format_of(path)
    saved = Saved(kprobes, kprobes.hits.table, kprobes.lost)
    begins = how.beginning
    with host_files.new_file(path, lambda file: file.read(len(begins)) == begins, force=force) as file:
        how.write(saved, file)
    return saved
