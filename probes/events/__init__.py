# SPDX-License-Identifier: GPL-2.0-or-later
"""Events of tracefs on a machine's probes: the kernel's grammar of kprobe_events, filters and triggers."""

from .errors import EventError
from .event import Event, EventProbe, Field
from .kernel_event import KernelEvent, KernelEventProbe
from .registry import Events

__all__ = ["Event", "EventError", "EventProbe", "Events", "Field", "KernelEvent", "KernelEventProbe"]
