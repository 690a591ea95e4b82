# SPDX-License-Identifier: GPL-2.0-or-later
"""An ARMv8-A machine in this process: `load` a guest, then run, step, call, read and write it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .lazy_names import lazy_names

if TYPE_CHECKING:
    from .core.context import Context
    from .core.core import Core
    from .devices import Device
    from .errors import CallNotReturned, MachineError, NothingThere
    from .loaders import parse_size
    from .loaders.snapshot import Snapshot
    from .loading import DEFAULT_MEMORY, build_id, load
    from .machine import Machine
    from .owner import Owner
    from .stop import Stop, StopReason, WatchHit
    from .symbols import Symbol, Symbols
    from .time.pacing import HISTORY_INTERVAL
    from .time.timeline import HISTORY_MEMORY
else:
    __getattr__ = lazy_names(
        __name__,
        {
            ".core.context": ("Context",),
            ".core.core": ("Core",),
            ".devices": ("Device",),
            ".errors": ("CallNotReturned", "MachineError", "NothingThere"),
            ".loaders": ("parse_size",),
            ".loaders.snapshot": ("Snapshot",),
            ".loading": ("DEFAULT_MEMORY", "build_id", "load"),
            ".machine": ("Machine",),
            ".owner": ("Owner",),
            ".stop": ("Stop", "StopReason", "WatchHit"),
            ".symbols": ("Symbol", "Symbols"),
            ".time.pacing": ("HISTORY_INTERVAL",),
            ".time.timeline": ("HISTORY_MEMORY",),
        },
    )

__all__ = [
    "DEFAULT_MEMORY",
    "HISTORY_INTERVAL",
    "HISTORY_MEMORY",
    "CallNotReturned",
    "Context",
    "Core",
    "Device",
    "Machine",
    "MachineError",
    "NothingThere",
    "Owner",
    "Snapshot",
    "Stop",
    "StopReason",
    "Symbol",
    "Symbols",
    "WatchHit",
    "build_id",
    "load",
    "parse_size",
]
