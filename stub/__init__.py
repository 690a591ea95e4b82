# SPDX-License-Identifier: GPL-2.0-or-later
"""The GDB remote serial protocol: lets gdb and lldb attach to a machine that satisfies `Target`."""

from .address import PRIVATE
from .errors import StubError
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
    HostCall,
    Interrupted,
    Place,
    ProbeHit,
    ProbeStop,
    Signalled,
    Stepped,
    StopEvent,
    Target,
    TargetError,
    WatchKind,
    WatchpointHit,
    target_of,
)
from .transport import Server, serve

__all__ = [
    "PRIVATE",
    "BreakKind",
    "BreakpointHit",
    "Changes",
    "Client",
    "Debuggable",
    "Decide",
    "ExecFile",
    "Exited",
    "GuestView",
    "HostCall",
    "Interrupted",
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
    "WatchKind",
    "WatchpointHit",
    "serve",
    "target_of",
]
