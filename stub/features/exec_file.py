# SPDX-License-Identifier: GPL-2.0-or-later
"""qXfer:exec-file: which program the machine runs (GDB manual, "General Query Packets").

A gdb that was given no file asks for this name and takes the symbols from the file that vFile reads under it. With its
default `set sysroot target:` gdb 13 to 18 say then that such transfers "can be slow", once, for whatever they read so,
and without this packet that no executable was specified: only a gdb that has a file before it connects says neither.
"""

from armprobe.stub.connection import Connection
from armprobe.stub.feature import Document, Feature
from armprobe.stub.wire import PROCESS


def _read(connection: Connection, annex: str) -> str | None:
    file = connection.target.exec_file
    return file.name if file and annex in ("", PROCESS.decode()) else None  # the annex is a process, none for this one


FEATURE = Feature(
    documents=(Document("exec-file", _read, available=lambda connection: connection.target.exec_file is not None),)
)
