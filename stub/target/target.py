# SPDX-License-Identifier: GPL-2.0-or-later
"""The capabilities that every target has, and what has a target."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

from .control import Control
from .memory import Memory
from .registers import Registers
from .resume import Resume


@runtime_checkable
class Target(Control, Registers, Memory, Resume, Protocol):
    """A machine under the control of at most one client."""


@runtime_checkable
class Debuggable(Protocol):
    """Something that is no target itself but has one, such as a session."""

    @property
    def debug_target(self) -> Target:
        """What debuggers drive."""


def target_of(served: Target | Debuggable) -> Target:
    """The target that `served` is or has."""
    return served.debug_target if isinstance(served, Debuggable) else served
