# SPDX-License-Identifier: GPL-2.0-or-later
"""Registers, memory and other state that expressions are evaluated on."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, Protocol, Self

from .errors import AgentError

_MASK: Final = (1 << 64) - 1
WORDS: Final = 33  # x0 to x30, sp, pc: GDB's numbers 0 to 32
ELAPSED: Final = "elapsed"
"""The name, in place of a register's, of the time of a call that has returned, in ns."""
POSITION: Final = "position"
"""The name, in place of a register's, of the count of the guest's instructions."""
X30: Final = 30  # a kretprobe may have replaced it: `View.register` has the original value


class View(Protocol):
    """The guest at an instruction. `register` and `read` raise MachineError for what cannot be read."""

    @property
    def general(self) -> Sequence[int]:
        """x0 to x30, sp and pc as the CPU has them. Take x30 from `register` instead."""

    def register(self, name: str) -> int:
        """A register by GDB's name, `ELAPSED` or `POSITION`."""

    def read(self, address: int, length: int) -> bytes:
        """Exactly `length` bytes of virtual memory."""


class Environment:
    """Registers and memory of a `View`. Subclasses add trace state variables, a trace frame and output.

    `registers` has the name of each register at GDB's number for it. The methods may raise AgentError and MachineError.
    """

    def __init__(self, registers: Sequence[str]) -> None:
        self._registers = registers
        self._view: View | None = None
        self._general: Sequence[int] = ()

    def look_at(self, view: View) -> Self:
        """Use `view` from now on."""
        self._view, self._general = view, view.general
        return self

    def register(self, number: int) -> int:
        """The low 64 bits of a register."""
        if number < WORDS and number != X30:
            return self._general[number]
        if number >= len(self._registers):
            raise AgentError(f"there is no register number {number}")
        assert self._view is not None, "nothing is evaluated without a view"
        return self._view.register(self._registers[number]) & _MASK

    def read(self, address: int, length: int) -> bytes:
        """`length` bytes of memory."""
        assert self._view is not None, "nothing is evaluated without a view"
        return self._view.read(address, length)

    def variable(self, number: int) -> int:
        """A trace state variable."""
        raise AgentError("probes have no trace state variables: use a tracepoint")

    def set_variable(self, number: int, value: int) -> None:
        """Give a trace state variable a value, 0 to 2**64 - 1."""
        self.variable(number)

    def collect(self, address: int, length: int) -> None:
        """Record memory in the trace frame. Without one, do nothing."""

    def collect_variable(self, number: int) -> None:
        """Record a trace state variable in the trace frame. Without one, do nothing."""

    def show(self, text: str) -> None:
        """Show text to the user."""
