# SPDX-License-Identifier: GPL-2.0-or-later
"""Breakpoints with conditions that the C core evaluates (condition.c)."""

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
