# SPDX-License-Identifier: GPL-2.0-or-later
"""The GDB remote serial protocol: lets gdb and lldb attach to a machine that satisfies `Target`.

What serves is imported on first use (PEP 562): not each session has a debugger.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .address import PRIVATE
from .errors import AddressInUse, StubError
from .target import (
    BreakKind,
    BreakpointHit,
    Changes,
    Client,
    Debuggable,
    Decide,
    ExecFile,
    Exited,
    GuestView,
    HistoryEdge,
    HostCall,
    Interrupted,
    LibrariesChanged,
    Library,
    Place,
    ProbeHit,
    ProbeStop,
    Signalled,
    Stepped,
    StopEvent,
    Target,
    TargetError,
    Thread,
    WatchKind,
    WatchpointHit,
    target_of,
)

if TYPE_CHECKING:
    from .transport import Server, serve

__all__ = [
    "PRIVATE",
    "AddressInUse",
    "BreakKind",
    "BreakpointHit",
    "Changes",
    "Client",
    "Debuggable",
    "Decide",
    "ExecFile",
    "Exited",
    "GuestView",
    "HistoryEdge",
    "HostCall",
    "Interrupted",
    "LibrariesChanged",
    "Library",
    "Place",
    "ProbeHit",
    "ProbeStop",
    "Server",
    "Signalled",
    "Stepped",
    "StopEvent",
    "StubError",
    "Target",
    "TargetError",
    "Thread",
    "WatchKind",
    "WatchpointHit",
    "serve",
    "target_of",
]


def __getattr__(name: str) -> Any:
    if name in ("Server", "serve"):
        from . import transport

        return getattr(transport, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
