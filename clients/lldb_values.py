# SPDX-License-Identifier: GPL-2.0-or-later
"""What an `LldbSession` gives of LLDB's view of the machine: breakpoints and registers."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any, Self

from .gdb_records import GdbError, Record

Ask = Callable[..., Any]
"""Asks LLDB's agent: the name of its method, and the arguments by name."""


class LldbBreakpoint:
    """A breakpoint that LLDB has. As a context manager it is deleted at the end."""

    def __init__(self, ask: Ask, location: str, state: Record) -> None:
        """state: what the agent says of it."""
        self._ask = ask
        self.number = int(state["number"])
        self.location = location
        self.address: int | None = state["address"]
        """None if it is pending, or has several locations."""
        self._deleted = False

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

    def delete(self) -> None:
        """Delete it from LLDB. Does nothing if that was done before."""
        if not self._deleted:
            self._ask("delete_breakpoint", number=self.number)
            self._deleted = True

    def _state(self) -> Record:
        state: Record = self._ask("breakpoint_state", number=self.number)
        return state

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        try:
            self.delete()
        except GdbError:
            if kind is None:  # else the first error matters
                raise

    def __repr__(self) -> str:
        return f"<LldbBreakpoint {self.number} at {self.location}{', deleted' * self._deleted}>"


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
