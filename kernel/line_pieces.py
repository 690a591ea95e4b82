# SPDX-License-Identifier: GPL-2.0-or-later
"""The pieces of source lines that gdb divides code into, and stops at when it goes back."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import groupby
from operator import attrgetter
from typing import NamedTuple


class Row(NamedTuple):
    """A row of a line table: an address, its line, the number of its file, and whether a statement begins there.

    `discriminated` is whether it has a discriminator: the line is of several blocks of code (DWARF 5, 6.2.2).
    """

    address: int
    line: int
    file: int
    is_statement: bool
    discriminated: bool


class Piece(NamedTuple):
    """Instructions of one line of a file, start <= address < end. `is_statement` is of the row that begins it."""

    start: int
    end: int
    file: int
    line: int
    is_statement: bool


def pieces(rows: Iterable[Row], end: int) -> list[Piece]:
    """The pieces of a function that ends at `end`, of the rows of its line table in the order of addresses.

    Each row begins one (GDB 13, symtab.c, find_pc_sect_line), but for one of the same line as the row before where a
    discriminator tells blocks of that line apart (dwarf2/read.c, dwarf_record_line_p). Of rows at one address the
    last counts, or, if no statement begins there, the one before it that a statement begins at.
    """
    recorded: list[Row] = []
    discriminated = False
    last: Row | None = None
    for row in rows:
        same = last is not None and last.line == row.line
        discriminated = row.discriminated or (same and discriminated)
        if not (same and last is not None and last.file == row.file and discriminated):
            recorded.append(row)
        last = row
    found: list[Row] = []
    for _, group in groupby(recorded, attrgetter("address")):
        there = [*group]
        found.append(next((row for row in reversed(there) if row.is_statement), there[-1]))
    ends = [*(row.address for row in found[1:]), end]
    return [Piece(row.address, at, row.file, row.line, row.is_statement) for row, at in zip(found, ends, strict=True)]
