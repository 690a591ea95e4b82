# SPDX-License-Identifier: GPL-2.0-or-later
"""Breakpoints and watchpoints."""

from __future__ import annotations

from typing import Literal

from armprobe.machine.lazy_dataclass import lazy_dataclass

from .location import Location


@lazy_dataclass
class BreakpointRow:
    """A breakpoint or a watchpoint.

    kind: breakpoint, or the access that a watchpoint stops before. given: the place as the user wrote it.
    location: what it stands at, or the first byte that is watched. size: in bytes, of what is watched.
    temporary: whether the first stop removes it. condition: as the user wrote it, None without one.
    hits: how often it has stopped the guest.
    """

    number: int
    kind: Literal["breakpoint", "write", "read", "access"]
    given: str
    location: Location
    size: int
    temporary: bool
    enabled: bool
    condition: str | None
    hits: int


class BreakpointRows(tuple[BreakpointRow, ...]):
    """Breakpoints and watchpoints, in the order of their numbers."""


@lazy_dataclass
class BreakpointsChanged:
    """A change of breakpoints. A deleted breakpoint is shown with its last count."""

    done: Literal["set", "enabled", "disabled", "deleted"]
    breakpoints: BreakpointRows
