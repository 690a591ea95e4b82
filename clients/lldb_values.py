# SPDX-License-Identifier: GPL-2.0-or-later
"""What an `LldbSession` gives of LLDB's view of the machine: breakpoints and registers."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from .gdb_records import Record
from .gdb_values import DebuggerBreakpoint

Ask = Callable[..., Any]
"""Asks LLDB's agent: the name of its method, and the arguments by name."""


class LldbBreakpoint(DebuggerBreakpoint):
    """A breakpoint that LLDB has."""

    def __init__(self, ask: Ask, location: str, state: Record) -> None:
        """state: what the agent says of it."""
        super().__init__(int(state["number"]), location, state["address"])
        self._ask = ask

    @property
    def hits(self) -> int:
        """How often the machine has stopped here. Raises `GdbError` if LLDB no longer has the breakpoint."""
        return int(self._state()["hits"])

    @property
    def condition(self) -> str:
        """The condition, in LLDB's names; empty if there is none."""
        return str(self._state()["condition"])

    @property
    def pending(self) -> bool:
        """Whether its place is still unknown."""
        return bool(self._state()["pending"])

    @property
    def enabled(self) -> bool:
        """Whether it stops the machine. May be set."""
        return bool(self._state()["enabled"])

    @enabled.setter
    def enabled(self, value: bool) -> None:
        self._ask("enable_breakpoint", number=self.number, enabled=value)

    def _delete(self) -> None:
        self._ask("delete_breakpoint", number=self.number)

    def _state(self) -> Record:
        state: Record = self._ask("breakpoint_state", number=self.number)
        return state


class LldbRegisters(Mapping[str, int]):
    """The registers of the selected frame that hold one number, by LLDB's names. Each may be assigned to.

    A name that LLDB does not know raises KeyError. One that holds several numbers, such as v0, raises `GdbError`.
    """

    def __init__(self, ask: Ask) -> None:
        self._ask = ask

    def __getitem__(self, name: str) -> int:
        value = self._ask("read_register", name=name)
        if value is None:
            raise KeyError(f"LLDB knows no register {name!r}")
        return int(value)

    def __setitem__(self, name: str, value: int) -> None:
        if name not in self:
            raise KeyError(f"LLDB knows no register {name!r}")
        self._ask("write_register", name=name, value=value)

    def __iter__(self) -> Iterator[str]:
        return iter(self._ask("register_names"))

    def __len__(self) -> int:
        return len(self._ask("register_names"))

    def __repr__(self) -> str:
        return "<LldbRegisters>"  # without asking LLDB, which refuses while the machine runs
