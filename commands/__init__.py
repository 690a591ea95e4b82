# SPDX-License-Identifier: GPL-2.0-or-later
"""Every command, defined once, and what people drive it from: the REPL, the command line, GDB, scripts."""

from .errors import CommandError
from .gdb_session import GdbError, GdbSession, GdbStop, GdbTimeout
from .session import Session

__all__ = ["CommandError", "GdbError", "GdbSession", "GdbStop", "GdbTimeout", "Session"]
