# SPDX-License-Identifier: GPL-2.0-or-later
"""Conditions that the C core evaluates: of breakpoints, and in searches (condition.c)."""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Sequence
from typing import Any

from .binding import structure
from .code_hook import Ask, CodeHook
from .program import Program, ProgramStructure, Reader


@structure("condition")
class _Condition(ctypes.Structure):
    core: int
    reader: int
    programs: int
    count: int
    always: bool
    ask: int


class ConditionHook:
    """Calls `ask` before the instruction at an address is executed: always, or if one of its `programs` may be true.

    `core` is the address of the `struct core`. `ask` must not raise.
    """

    def __init__(self, core: int, reader: Reader, ask: Callable[[], None]) -> None:
        self._ask, self._reader = Ask(ask), reader
        self._state = _Condition(core=core, reader=ctypes.addressof(reader), always=True, ask=self._ask.address)
        self._programs: Sequence[Program] = ()
        self._structures: Any = None

    def add(self, address: int) -> None:
        """Hook the address."""
        self._hook = CodeHook(self._state.core, "armprobe_on_condition", ctypes.addressof(self._state), address)

    def remove(self) -> None:
        """Undo `add`."""
        self._hook.remove()

    def decide_by(self, programs: Sequence[Program] | None) -> None:
        """Ask only if one of `programs` is true or has no value; None to ask always."""
        if programs is not None:
            structures = (ProgramStructure * len(programs))(*(program.structure for program in programs))
            self._state.programs, self._state.count = ctypes.addressof(structures), len(programs)
            self._programs, self._structures = programs, structures
        self._state.always = programs is None


@structure("search")
class _Search(ctypes.Structure):
    core: int
    reader: int
    program: int
    ask: int
    first: int
    found: bool
    position: int


class SearchHook:
    """Notes the last instruction before which `program` is true. Calls `ask` where it has no value, or is None.

    It looks from the position `first` on, and not at code that was translated earlier. `core` is the address of the
    `struct core`. `ask` must not raise.
    """

    def __init__(self, core: int, reader: Reader, program: Program | None, first: int, ask: Callable[[], None]) -> None:
        self._ask, self._reader, self._program = Ask(ask), reader, program
        self._state = _Search(core=core, reader=ctypes.addressof(reader), ask=self._ask.address, first=first)
        self._state.program = 0 if program is None else ctypes.addressof(program.structure)
        self._hook = CodeHook(core, "armprobe_on_search", ctypes.addressof(self._state), None)

    @property
    def found(self) -> int | None:
        """The position of the instruction: the count of those before it. None if there is none so far."""
        return self._state.position if self._state.found else None

    @found.setter
    def found(self, position: int | None) -> None:
        self._state.found, self._state.position = position is not None, position or 0

    def remove(self) -> None:
        """Look no more."""
        self._hook.remove()
