# SPDX-License-Identifier: GPL-2.0-or-later
"""What names mean in an expression, which depends on the place in the guest where it is evaluated."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from armprobe.kernel.types import Function, Type
from armprobe.kernel.variables import Variable
from armprobe.machine import MachineError

if TYPE_CHECKING:
    from .typed import Value


class Called(NamedTuple):
    """The function that an expression is evaluated in.

    `prototype` is None where it is not known, and `unknown` says why. `elsewhere` says where the place is if that is
    not the function's entry, the only place at which its arguments are known.
    """

    name: str
    prototype: Function | None = None
    unknown: str = ""
    elsewhere: str = ""


class Scope:
    """What names mean at a place in the guest. Subclasses know more than nothing.

    `registers` has the name of each register at GDB's number for it; numbers after GDB's are of other words of a hit.
    `returned` is whether a function has just returned, so that `retval` is known. `in_kernel` is whether the place is
    in the kernel, where SP_EL0 has the task.
    """

    registers: Sequence[str] = ()
    returned: bool = False
    in_kernel: bool = True
    cpu_offset: str = ""
    """The register with the offset of the CPU's own variables from their common place; empty if there is none."""
    event_name: str = ""
    """The event that the place is, such as sched:sched_switch; empty for a place in code."""

    @property
    def called(self) -> Called | None:
        """The function, or None outside of functions."""
        return None

    def field(self, name: str) -> Value | None:
        """The value of the field `name` of the event that the place is; None for an unknown name."""
        return None

    @property
    def fields(self) -> Sequence[str]:
        """The names of the fields of the event that the place is."""
        return ()

    def is_text(self, name: str) -> bool:
        """Whether the event that the place is has a field `name` with characters."""
        return False

    def register(self, name: str) -> int | None:
        """GDB's number of a register of 64 bits or less; None for an unknown name."""
        return None

    def symbol(self, name: str) -> int:
        """The address of a symbol. Raises MachineError for an unknown name."""
        raise MachineError(f"there is no symbol {name!r}")

    def type(self, name: str) -> Type | None:
        """The type that C calls `name`; None for an unknown name. Raises MachineError if no types are known."""
        return None

    @property
    def few_variables(self) -> str:
        """A clause for users whose variable is not found, which says that most are not known; empty if they are."""
        return ""

    def variable(self, name: str) -> Variable | None:
        """The global variable `name`; None if there is none. Raises MachineError if it cannot be read."""
        return None

    def enumerator(self, name: str) -> tuple[Type, int] | None:
        """The enumeration that has the constant `name`, and its number; None for an unknown name."""
        return None
