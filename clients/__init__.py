# SPDX-License-Identifier: GPL-2.0-or-later
"""Drives armprobe from outside: gdb or LLDB, started and controlled by a program, and pytest.

The names are imported on first use (PEP 562): pytest imports its plugin of this package in every run.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from armprobe.machine.lazy_names import lazy_names

if TYPE_CHECKING:
    from .gdb_records import GdbError, GdbStop, GdbTimeout, UnexpectedStop
    from .gdb_session import GdbSession
    from .gdb_values import GdbBreakpoint, GdbFrame, GdbRegisters
    from .lldb_session import LldbSession
else:
    __getattr__ = lazy_names(
        __name__,
        {
            ".gdb_records": ("GdbError", "GdbStop", "GdbTimeout", "UnexpectedStop"),
            ".gdb_session": ("GdbSession",),
            ".gdb_values": ("GdbBreakpoint", "GdbFrame", "GdbRegisters"),
            ".lldb_session": ("LldbSession",),
        },
    )

__all__ = [
    "GdbBreakpoint",
    "GdbError",
    "GdbFrame",
    "GdbRegisters",
    "GdbSession",
    "GdbStop",
    "GdbTimeout",
    "LldbSession",
    "UnexpectedStop",
]
