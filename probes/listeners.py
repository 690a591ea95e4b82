# SPDX-License-Identifier: GPL-2.0-or-later
"""What the engine tells and asks the other parts of probes while it handles a hit.

Each protocol is one role. `Engine.connect` is given the parts that have them, once, when all parts exist.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from armprobe.machine.core.core import Core

from .control_block import ControlBlock
from .site import Site


class HitListener(Protocol):
    """Is told when a hit is over."""

    def hit_over(self) -> None:
        """No hit is being handled now."""


class ReturnAddresses(Protocol):
    """Has the return addresses that kretprobes have taken."""

    def show_return_address(self, core: Core) -> Callable[[bool], None]:
        """Give x30 back for a while at a function's entry: to a debugger, or to a kretprobe of the guest's.

        No return address is taken until the result is called, which then takes whatever x30 has by then. With True
        the caller is still the one it was: what x30 has now is the guest's own trampoline.
        """


class Redirection(Protocol):
    """Knows where the code is that is executed in the place of the guest's trampoline."""

    def redirect_pc(self, pc: int) -> int:
        """The address to go on at, for a PC in the guest's trampoline; any other PC is returned unchanged."""


class GuestBreakpoints(Protocol):
    """Shares hits with the guest, where that has a breakpoint of its own."""

    def execute(self, block: ControlBlock, site: Site) -> None:
        """The pre-handlers of `site` are done: have the guest execute the instruction."""

    def executed(self, block: ControlBlock) -> bool:
        """The guest has raised BRK #6. Whether that ends a hit of ours, which then is handled to its end."""
