# SPDX-License-Identifier: GPL-2.0-or-later
"""What drives armprobe from outside: gdb, started and typed at by a script."""

from .gdb_session import GdbError, GdbSession, GdbStop, GdbTimeout

__all__ = ["GdbError", "GdbSession", "GdbStop", "GdbTimeout"]
