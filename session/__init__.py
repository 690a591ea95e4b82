# SPDX-License-Identifier: GPL-2.0-or-later
"""The shared base of all front ends: a machine, its probes, and the debugger attached to it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from armprobe.machine.lazy_names import lazy_names

if TYPE_CHECKING:
    from .errors import CommandError
    from .session import Session
else:
    __getattr__ = lazy_names(
        __name__,
        {
            ".errors": ("CommandError",),
            ".session": ("Session",),
        },
    )

__all__ = ["CommandError", "Session"]
