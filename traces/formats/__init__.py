# SPDX-License-Identifier: GPL-2.0-or-later
"""Files of hits, in the formats that other programs read: a file for each kind of format."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO, Final, NamedTuple

from armprobe.machine import host_files
from armprobe.probes import Kprobes
from armprobe.traces.errors import TraceError
from armprobe.traces.plugins import added

from . import chrome, flames, ftrace_text, parquet, perf, perfetto, report, rows, trace_dat
from .saved import Saved

__all__ = ["FORMATS", "Format", "Saved", "save"]


class Format(NamedTuple):
    """A format.

    endings: those of its files' names. name: in words. mark: how each of its files begins, or a function that says
    whether armprobe has made a file, which it may then replace.
    """

    endings: tuple[str, ...]
    name: str
    write: Callable[[Saved, BinaryIO], None]
    mark: bytes | Callable[[BinaryIO], bool]

    def is_ours(self, file: BinaryIO) -> bool:
        """Whether armprobe has made the file."""
        return file.read(len(self.mark)) == self.mark if isinstance(self.mark, bytes) else self.mark(file)


FORMATS: Final = (
    Format((".txt", ".ftrace"), "text of the kernel's trace file", ftrace_text.write, ftrace_text.BEGINNING),
    Format((".dat",), "trace-cmd's trace.dat", trace_dat.write, trace_dat.BEGINNING),
    Format((".data",), "perf's perf.data", perf.write_data, perf.BEGINNING),
    Format((".perf",), "the lines of perf script", perf.write_script, perf.is_script),
    Format((".speedscope.json",), "speedscope's JSON", flames.write_speedscope, flames.SPEEDSCOPE_BEGINNING),
    Format((".json",), "Chrome's JSON, for Perfetto", chrome.write, chrome.BEGINNING),
    Format((".pftrace",), "a trace of Perfetto", perfetto.write, perfetto.is_ours),
    Format((".folded",), "folded stacks", flames.write_folded, flames.is_folded),
    Format((".html",), "a page for a browser", report.write, report.BEGINNING),
    Format((".csv",), "CSV", rows.write_csv, rows.CSV_BEGINNING),
    Format((".ndjson", ".jsonl"), "NDJSON", rows.write_ndjson, rows.NDJSON_BEGINNING),
    Format((".parquet",), "Parquet", parquet.write, parquet.is_ours),
)


@functools.cache
def _added() -> tuple[tuple[Format, ...], str]:
    """The formats of other packages, and a text on those that cannot be used. They are loaded once."""
    found, notes = added("armprobe.exporters", Format)
    return tuple(each for _, each in found), "".join(f"; {note}" for note in notes)


def format_of(path: str | Path) -> Format:
    """The format that the ending of a file's name stands for, armprobe's own before those that other packages add.

    Raises TraceError if there is none.
    """
    name = Path(path).name
    for each in FORMATS:
        if name.endswith(each.endings):
            return each
    others, notes = _added()
    for each in others:
        if name.endswith(each.endings):
            return each
    endings = ", ".join(ending for each in (*FORMATS, *others) for ending in each.endings)
    raise TraceError(f"{host_files.shown(path)} has no ending that says its format: give one of {endings}{notes}")


def save(kprobes: Kprobes, path: str | Path, how: Format | None = None, *, force: bool = False) -> Saved:
    """Write the hits that `kprobes` has recorded to the file at `path`, by default in the format of its ending.

    It replaces a file of the same format that armprobe has made; with `force`, any file. Raises TraceError, or
    MachineError if the file cannot be written.
    """
    how = how or format_of(path)
    saved = Saved(kprobes, kprobes.hits.table, kprobes.lost)
    with host_files.new_file(path, how.is_ours, force=force) as file:
        how.write(saved, file)
    return saved
