# SPDX-License-Identifier: GPL-2.0-or-later
"""Hits as the text of the kernel's trace file (Documentation/trace/ftrace.rst, "The File System", trace)."""

from __future__ import annotations

from typing import BinaryIO, Final

from armprobe.expressions.errors import printable
from armprobe.traces.columns import is_traced
from armprobe.traces.trace_lines import lost_line

from .saved import Saved

BEGINNING: Final = b"# tracer: armprobe\n"
"""The beginning of each file. Perfetto's importer knows the format by its first two words."""


def write(saved: Saved, file: BinaryIO) -> None:
    """Write a line for each hit, under the kernel's header (print_func_help_header_irq, kernel/trace/trace.c)."""
    file.write(BEGINNING)
    flags = "|" * saved.kprobes.era.hits.trace_flags
    file.write(f"#\n#           TASK-PID     CPU#  {flags}  TIMESTAMP  FUNCTION\n".encode())
    file.write(f"#              | |         |   {flags}     |         |\n".encode())
    if saved.lost:
        file.write(f"{lost_line(saved.lost)}\n".encode())
    for hit in filter(is_traced, saved.table.hits):
        file.write(f"{printable(saved.kprobes.trace_line(hit))}\n".encode("utf-8", "backslashreplace"))
