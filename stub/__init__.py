# SPDX-License-Identifier: GPL-2.0-or-later
"""The GDB remote serial protocol: lets gdb and lldb attach to a machine that satisfies `Target`."""

from .address import PRIVATE
from .errors import StubError
from .target import (
    BreakKind,
    Changes,
    Client,
    Debuggable,
    Decide,
    ExecFile,
    Place,
    ProbeHit,
    Scene,
    StopEvent,
    Target,
    TargetError,
    target_of,
)
from .transport import Server, serve

__all__ = [
    "PRIVATE",
    "BreakKind",
    "Changes",
    "Client",
    "Debuggable",
    "Decide",
    "ExecFile",
    "Place",
    "ProbeHit",
    "Scene",
    "Server",
    "StopEvent",
    "StubError",
    "Target",
    "TargetError",
    "serve",
    "target_of",
]
