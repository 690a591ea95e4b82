# SPDX-License-Identifier: GPL-2.0-or-later
"""An ARMv8-A machine in a Python process, with Linux kprobes built into it, that GDB attaches to.

`armprobe.load` makes a machine, `armprobe.Session` a machine with its probes and commands. The rooms
(`armprobe.machine`, `armprobe.probes`, ...) and the names below are imported on first use (PEP 562), so that
`import armprobe` takes no time.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from armprobe.machine import load
    from armprobe.probes import Jprobe, Kprobe, Kprobes, Kretprobe, ProbeError
    from armprobe.session import Session

__all__ = ["Jprobe", "Kprobe", "Kprobes", "Kretprobe", "ProbeError", "Session", "__version__", "load"]

_ROOMS: Final = frozenset(
    ("clients", "commands", "expressions", "guests", "kernel", "machine", "probes", "session", "stub", "traces")
)
_ORIGINS: Final = {
    "load": "machine",
    "Jprobe": "probes",
    "Kprobe": "probes",
    "Kprobes": "probes",
    "Kretprobe": "probes",
    "ProbeError": "probes",
    "Session": "session",
}


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from importlib.metadata import version  # takes a tenth of all imports

        return version("armprobe")
    if name in _ROOMS:
        return importlib.import_module(f"armprobe.{name}")
    if name in _ORIGINS:
        return getattr(importlib.import_module(f"armprobe.{_ORIGINS[name]}"), name)
    raise AttributeError(f"module 'armprobe' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*__all__, *_ROOMS})
