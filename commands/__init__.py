# SPDX-License-Identifier: GPL-2.0-or-later
"""Every command, defined once, and what people drive it from: the REPL, the command line, GDB, scripts.

The names are imported on first use (PEP 562): a command line needs few of them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from armprobe.machine.lazy_names import lazy_names

if TYPE_CHECKING:
    from armprobe.clients import GdbError, GdbSession, GdbStop, GdbTimeout, LldbSession, UnexpectedStop
    from armprobe.guests import linux
    from armprobe.session import Session

    from .errors import CommandError
else:
    __getattr__ = lazy_names(
        __name__,
        {
            "armprobe.clients": ("GdbError", "GdbSession", "GdbStop", "GdbTimeout", "LldbSession", "UnexpectedStop"),
            "armprobe.guests": ("linux",),
            "armprobe.session": ("Session",),
            ".errors": ("CommandError",),
        },
    )

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
