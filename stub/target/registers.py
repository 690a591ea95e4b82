# SPDX-License-Identifier: GPL-2.0-or-later
"""Capabilities: reading and writing registers, which every target has, and system registers."""

from collections.abc import Sequence
from typing import Protocol, runtime_checkable


class Registers(Protocol):
    """The registers of `g`: x0 to x30, sp, pc, cpsr, v0 to v31 (128 bits), fpsr, fpcr; and those that
    `SystemRegisters` names."""

    def read_registers(self, names: Sequence[str]) -> list[int]:
        """The values, in the order of `names`."""

    def write_register(self, name: str, value: int) -> None:
        """Give one register a value."""


@runtime_checkable
class SystemRegisters(Protocol):
    """System registers, of 64 bits each."""

    @property
    def system_registers(self) -> tuple[str, ...]:
        """Names, as GDB shows them, of those worth reading."""
