# SPDX-License-Identifier: GPL-2.0-or-later
"""The frames of a stack as values."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .locations import location
from .values import StackFrame

if TYPE_CHECKING:
    from armprobe.kernel.backtrace import Backtrace
    from armprobe.session import Session


def stack_frames(session: Session, found: Backtrace) -> tuple[StackFrame, ...]:
    """The frames with their places."""
    return tuple(
        StackFrame(number, location(session, frame.pc, 4 if frame.called else 0), frame.called, frame.el0)
        for number, frame in enumerate(found.frames)
    )
