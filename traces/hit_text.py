# SPDX-License-Identifier: GPL-2.0-or-later
"""Stages of hits as a table for people."""

from __future__ import annotations

from typing import Final

from armprobe.expressions.errors import printable

from .columns import HitTable

_HEADINGS: Final = ("position", "seconds", "task", "probe", "stage", "hit", "elapsed ns", "values")
_TO_THE_RIGHT: Final = {"position", "seconds", "hit", "elapsed ns"}


def hits_text(table: HitTable, most: int) -> str:
    """The last `most` stages, a line each, under headings. Control characters are shown as escapes."""
    rows = [_HEADINGS]
    for hit, elapsed in list(zip(table.hits, table.elapsed, strict=True))[-most:]:
        task = f"{hit.task.comm}-{hit.task.pid}" if hit.task is not None else ""
        rows.append(
            (
                f"{hit.instructions}",
                f"{hit.seconds:.6f}",
                printable(task),
                printable(hit.probe.name),
                hit.stage.value,
                f"{hit.number}",
                "" if elapsed is None else f"{elapsed}",
                printable(table.values(hit)),
            )
        )
    widths = [max(map(len, cells)) for cells in zip(*rows, strict=True)]
    return "".join(
        "  ".join(
            cell.rjust(width) if heading in _TO_THE_RIGHT else cell.ljust(width)
            for heading, cell, width in zip(_HEADINGS, row, widths, strict=True)
        ).rstrip()
        + "\n"
        for row in rows
    )
