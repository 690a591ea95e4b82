# SPDX-License-Identifier: GPL-2.0-or-later
"""Parts that several texts have in common: addresses, registers and tables."""

from __future__ import annotations

from collections.abc import Sequence

from armprobe.commands.pstate import pstate
from armprobe.commands.values import Location, Registers
from armprobe.machine.lazy_dataclass import lazy_dataclass


def described(location: Location, sized: bool = False) -> str:
    """An address as "kfree+0x10 [module]", as "kfree" at its start, or as "0x40080000" where there is no symbol.

    sized: as the kernel's %pS prints it, "kfree+0x0/0x190".
    """
    if location.symbol is None:
        return f"{location.address:#x}" + (" (armprobe's own code)" if location.scratch else "")
    module = f" [{location.module}]" if location.module else ""
    if sized:
        return f"{location.symbol}+{location.offset:#x}/{location.size:#x}{module}"
    return (f"{location.symbol}+{location.offset:#x}" if location.offset else location.symbol) + module


def named_address(location: Location) -> str:
    """An address with its symbol, as gdb shows it: "0x40080010 <kfree+0x10>"."""
    return f"{location.address:#x}" if location.symbol is None else f"{location.address:#x} <{described(location)}>"


def where(location: Location) -> str:
    """An address in all its digits, with its symbol."""
    if location.scratch:
        return f"{location.address:#018x} (slots and trampoline of probes)"
    return f"{location.address:#018x}" + (f" {described(location)}" if location.symbol is not None else "")


def registers(value: Registers) -> str:
    """The registers in the arrangement of the kernel's own show_regs()."""
    lines = [
        f"  pc : {where(value.pc_location)}",
        f"  lr : {where(value.lr_location)}",
        f"  sp : {value.sp:#018x}   pstate: {pstate(value.pstate)}",
    ]
    for first in range(29, 0, -3):
        lines.append("  " + " ".join(f"{f'x{i}':<3}: {value.x[i]:016x}" for i in range(first, first - 3, -1)))
    return "\n".join(lines) + "\n"


@lazy_dataclass
class Column:
    """A column of a table. width: characters that it has at least. right: its cells are set to the right."""

    heading: str
    width: int = 0
    right: bool = False


@lazy_dataclass
class Table:
    """Rows of cells under headings. Two blanks are between columns, one before a column without a heading."""

    columns: Sequence[Column]
    rows: Sequence[Sequence[str]]

    def plain(self) -> str:
        """Aligned by blanks, a line a row, without borders."""
        headings = [column.heading for column in self.columns]
        widths = [
            max(column.width, *(len(row[index]) for row in (headings, *self.rows)))
            for index, column in enumerate(self.columns)
        ]
        lines = []
        for row in (headings, *self.rows):
            cells = [
                (" " * bool(column.heading) + " " + (cell.rjust if column.right else cell.ljust)(width))
                for cell, width, column in zip(row, widths, self.columns, strict=True)
            ]
            lines.append("".join(cells)[1 + bool(headings[0]) :].rstrip() + "\n")
        return "".join(lines)
