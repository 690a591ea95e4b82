# SPDX-License-Identifier: GPL-2.0-or-later
"""The values of trace state variables (GDB manual, "Trace State Variables"), which programs of the C core use too."""

from __future__ import annotations

from typing import Final
from weakref import WeakValueDictionary

from armprobe.expressions import AgentError
from armprobe.expressions.native import NeedsPython
from armprobe.machine.native.program import Variable

from .target import GuestView

TIMESTAMP: Final = 1
"""The number of the variable $trace_timestamp, which gdbserver has too: microseconds, here of guest time."""
_MOST: Final = 10_000


class TraceVariables:
    """The values by number, modulo 2**64: 0 for one that was never set, and the guest's time for `TIMESTAMP`."""

    view: GuestView | None = None

    def __init__(self) -> None:
        self._variables: dict[int, Variable] = {}
        self._shared: WeakValueDictionary[int, Variable] = WeakValueDictionary()  # those that programs have

    def __contains__(self, number: int) -> bool:
        """Whether it was ever set."""
        found = self._find(number)
        return found is not None and found.known

    def __getitem__(self, number: int) -> int:
        if number == TIMESTAMP and self.view is not None:
            return self.view.microseconds
        found = self._find(number)
        return 0 if found is None else found.value

    def __setitem__(self, number: int, value: int) -> None:
        """Raises AgentError if there are too many."""
        variable = self._variable(number)
        variable.value, variable.known = value, True

    def clear(self) -> None:
        """Unset all."""
        for variable in (*self._variables.values(), *self._shared.values()):
            variable.value, variable.known = 0, False
        self._variables.clear()

    def native(self, number: int) -> Variable:
        """The variable itself, for programs of the C core. Raises NeedsPython if they cannot have it."""
        if number == TIMESTAMP:
            raise NeedsPython("it reads the guest's time")
        try:
            variable = self._variable(number)
        except AgentError as error:
            raise NeedsPython(str(error)) from None
        self._shared[number] = variable
        return variable

    def _find(self, number: int) -> Variable | None:
        return self._variables.get(number) or self._shared.get(number)

    def _variable(self, number: int) -> Variable:
        found = self._find(number)
        if found is None:
            if len(self._variables) >= _MOST:
                raise AgentError(f"there are {_MOST} trace state variables already")
            found = self._variables[number] = Variable()
        return found
