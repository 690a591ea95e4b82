# SPDX-License-Identifier: GPL-2.0-or-later
"""Hits as a Parquet file, which pyarrow writes."""

from __future__ import annotations

from typing import BinaryIO, Final

from armprobe.traces.libraries import library

from .saved import Saved

_MAKER: Final = b"armprobe"
_FOOTER: Final = 1 << 16
"""Bytes at the end of a file that have the schema and its metadata."""


def write(saved: Saved, file: BinaryIO) -> None:
    """Write a row for each stage. Raises TraceError without pyarrow."""
    parquet = library("pyarrow.parquet", "a Parquet file")
    table = saved.table.to_arrow()
    parquet.write_table(table.replace_schema_metadata({_MAKER: b"hits"}), file)


def is_ours(file: BinaryIO) -> bool:
    """Whether armprobe has made the file: its schema says so."""
    if file.read(4) != b"PAR1":
        return False
    file.seek(-min(_FOOTER, file.seek(0, 2)), 2)
    return _MAKER in file.read()
