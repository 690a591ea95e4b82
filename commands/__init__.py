# SPDX-License-Identifier: GPL-2.0-or-later
"""Every command, defined once, and what people drive it from: the REPL, the command line, GDB, scripts."""

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
