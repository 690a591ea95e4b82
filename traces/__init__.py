# SPDX-License-Identifier: GPL-2.0-or-later
"""Hits as data: the ring of the last ones, their columns, files and queries, and their lines in the kernel's format."""

from __future__ import annotations

from typing import TYPE_CHECKING

from armprobe.machine.lazy_names import lazy_names

if TYPE_CHECKING:
    from .columns import COLUMNS, Column, HitTable, Kind, is_traced
    from .errors import TraceError
    from .hit_ring import KEPT, HitRing
    from .trace_lines import lost_line, trace_line
else:
    __getattr__ = lazy_names(
        __name__,
        {
            ".columns": ("COLUMNS", "Column", "HitTable", "Kind", "is_traced"),
            ".errors": ("TraceError",),
            ".hit_ring": ("KEPT", "HitRing"),
            ".trace_lines": ("lost_line", "trace_line"),
        },
    )

__all__ = [
    "COLUMNS",
    "KEPT",
    "Column",
    "HitRing",
    "HitTable",
    "Kind",
    "TraceError",
    "is_traced",
    "lost_line",
    "trace_line",
]
