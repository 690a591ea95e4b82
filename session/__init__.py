# SPDX-License-Identifier: GPL-2.0-or-later
"""The shared base of all front ends: a machine, its probes, and the debugger attached to it."""

from .errors import CommandError
from .session import Session

__all__ = ["CommandError", "Session"]
