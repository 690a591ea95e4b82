# SPDX-License-Identifier: GPL-2.0-or-later
"""What tests of the clients share with those of the commands: a toy session, and a gdb attached to it."""

from tests.commands.conftest import gdb, session

__all__ = ["gdb", "session"]
