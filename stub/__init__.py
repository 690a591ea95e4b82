# SPDX-License-Identifier: GPL-2.0-or-later
"""The GDB remote serial protocol: lets gdb and lldb attach to a machine that satisfies `Target`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from armprobe.machine.lazy_names import lazy_names

if TYPE_CHECKING:
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
    from .transport import Server, serve
else:
    __getattr__ = lazy_names(
        __name__,
        {
            ".address": ("PRIVATE",),
            ".errors": ("AddressInUse", "StubError"),
            ".target": (
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
                "Signalled",
                "Stepped",
                "StopEvent",
                "Target",
                "TargetError",
                "Thread",
                "WatchKind",
                "WatchpointHit",
                "target_of",
            ),
            ".transport": ("Server", "serve"),
        },
    )

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
