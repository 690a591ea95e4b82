# SPDX-License-Identifier: GPL-2.0-or-later
"""Drives armprobe from outside: gdb or LLDB, started and controlled by a program, and pytest.

The names are imported on first use (PEP 562): pytest imports its plugin of this package in every run.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from .gdb_records import GdbError, GdbStop, GdbTimeout, UnexpectedStop
    from .gdb_session import GdbSession
    from .gdb_values import GdbBreakpoint, GdbFrame, GdbRegisters
    from .lldb_session import LldbSession

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

_ORIGINS: Final = {
    "GdbBreakpoint": "gdb_values",
    "GdbError": "gdb_records",
    "GdbFrame": "gdb_values",
    "GdbRegisters": "gdb_values",
    "GdbSession": "gdb_session",
    "GdbStop": "gdb_records",
    "GdbTimeout": "gdb_records",
    "LldbSession": "lldb_session",
    "UnexpectedStop": "gdb_records",
}


def __getattr__(name: str) -> Any:
    if name in _ORIGINS:
        return getattr(importlib.import_module(f".{_ORIGINS[name]}", __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
