# SPDX-License-Identifier: GPL-2.0-or-later
"""Hits as data: the ring of the last ones, their columns, files and queries, and their lines in the kernel's format."""

from .columns import COLUMNS, Column, HitTable, Kind, is_traced
from .errors import TraceError
from .hit_ring import KEPT, HitRing
from .trace_lines import lost_line, trace_line

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
