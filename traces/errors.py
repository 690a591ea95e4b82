# SPDX-License-Identifier: GPL-2.0-or-later
"""The errors of this room."""

from armprobe.machine import MachineError


class TraceError(MachineError):
    """Hits that cannot be saved, shown or queried as asked; the message says why."""
