# SPDX-License-Identifier: GPL-2.0-or-later
"""Drives armprobe from outside: gdb, started and controlled by a program."""

from .gdb_session import GdbError, GdbSession, GdbStop, GdbTimeout

__all__ = ["GdbError", "GdbSession", "GdbStop", "GdbTimeout"]
