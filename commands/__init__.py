# SPDX-License-Identifier: GPL-2.0-or-later
"""Every command, defined once, and what people drive it from: the REPL, the command line, GDB, scripts.

The names are imported on first use (PEP 562): a command line needs few of them.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from armprobe.clients import GdbError, GdbSession, GdbStop, GdbTimeout, LldbSession, UnexpectedStop
    from armprobe.guests import linux
    from armprobe.session import Session

    from .errors import CommandError

__all__ = [
    "CommandError",
    "GdbError",
    "GdbSession",
    "GdbStop",
    "GdbTimeout",
    "LldbSession",
    "Session",
    "UnexpectedStop",
    "linux",
]

_ORIGINS: Final = {
    "CommandError": "armprobe.commands.errors",
    "Session": "armprobe.session",
    "linux": "armprobe.guests",
}


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_ORIGINS.get(name, "armprobe.clients")), name)
