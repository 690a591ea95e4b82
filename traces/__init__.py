# SPDX-License-Identifier: GPL-2.0-or-later
"""Hits as data: the ring of the last ones, and the line of the kernel's trace file for each."""

from .hit_ring import KEPT, HitRing
from .trace_line import symbol_and_size, trace_line

__all__ = ["KEPT", "HitRing", "symbol_and_size", "trace_line"]
