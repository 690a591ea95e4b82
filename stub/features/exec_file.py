# SPDX-License-Identifier: GPL-2.0-or-later
"""qXfer:exec-file: the name of the program that the machine runs (GDB manual, "General Query Packets").

A gdb that was given no file asks for this name and takes the symbols from the file that vFile reads under it. With its
default `set sysroot target:` gdb 13 to 18 then say once that such transfers "can be slow". Without this packet they say
that no executable was specified. Only a gdb that has a file before it connects says neither.
"""

from armprobe.stub.feature import Document, Feature
from armprobe.stub.target import Program
from armprobe.stub.wire import PROCESS


class ExecFileName(Feature[Program]):
    def read(self, annex: str) -> str | None:
        """The annex is a process; none stands for this one."""
        file = self.target.exec_file()
        return file.name if file and annex in ("", PROCESS.decode()) else None

    def available(self) -> bool:
        return self.target.exec_file() is not None

    documents = (Document("exec-file", read, available),)
