# SPDX-License-Identifier: GPL-2.0-or-later
"""Protocols through which the engine informs and asks other parts of probes during a hit.

Each protocol is one role. `Engine.connect` gets the parts that fill them, once, when all parts exist.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from armprobe.machine.core.core import Core

from .control_block import ControlBlock
from .site import Site


class HitListener(Protocol):
    """Is informed when a hit is over."""

    @property
    def awaits_end(self) -> bool:
        """Whether it has to be informed of the end of the next hit."""

    def hit_over(self) -> None:
        """No hit is being handled now."""


class ReturnAddresses(Protocol):
    """Holds the return addresses that kretprobes have taken."""

    def show_return_address(self, core: Core) -> Callable[[bool], None]:
        """Restore x30 for a while at a function's entry, for a debugger or for a kretprobe of the guest.

        No return address is taken until the result is called, which then takes the current x30. With True the caller
        has not changed: x30 then holds the guest's own trampoline.
        """


class Redirection(Protocol):
    """Knows the address of the code that is executed in place of the guest's trampoline."""

    def redirect_pc(self, pc: int) -> int:
        """The address at which to go on, for a PC in the guest's trampoline. Any other PC is returned unchanged."""


class GuestBreakpoints(Protocol):
    """Shares hits with the guest at addresses where it has a breakpoint of its own."""

    def execute(self, block: ControlBlock, site: Site) -> None:
        """The pre-handlers of `site` are done: make the guest execute the instruction."""

    def executed(self, block: ControlBlock) -> bool:
        """The guest has raised BRK #6. If that ends a hit of ours, finish the hit and return True."""
