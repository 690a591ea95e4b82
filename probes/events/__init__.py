# SPDX-License-Identifier: GPL-2.0-or-later
"""Events of tracefs on a machine's probes: the kernel's grammar of kprobe_events, filters and triggers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from armprobe.machine.lazy_names import lazy_names

if TYPE_CHECKING:
    from .errors import EventError
    from .event import Event, EventProbe, Field
    from .kernel_event import KernelEvent, KernelEventProbe
    from .registry import Events
else:
    __getattr__ = lazy_names(
        __name__,
        {
            ".errors": ("EventError",),
            ".event": ("Event", "EventProbe", "Field"),
            ".kernel_event": ("KernelEvent", "KernelEventProbe"),
            ".registry": ("Events",),
        },
    )

__all__ = ["Event", "EventError", "EventProbe", "Events", "Field", "KernelEvent", "KernelEventProbe"]
