# SPDX-License-Identifier: GPL-2.0-or-later
"""Drives armprobe from outside: gdb, started and controlled by a program."""

from .gdb_records import GdbError, GdbStop, GdbTimeout, UnexpectedStop
from .gdb_session import GdbSession
from .gdb_values import GdbBreakpoint, GdbFrame, GdbRegisters

__all__ = [
    "GdbBreakpoint",
    "GdbError",
    "GdbFrame",
    "GdbRegisters",
    "GdbSession",
    "GdbStop",
    "GdbTimeout",
    "UnexpectedStop",
]
