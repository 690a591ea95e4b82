# SPDX-License-Identifier: GPL-2.0-or-later
"""qXfer:libraries-svr4: the loaded modules, as shared libraries (GDB manual, "Library List Format for SVR4 Targets").

gdb takes AArch64 for GNU/Linux, and asks for libraries in this form only (gdb/solib-svr4.c). It asks anew at a stop
that has `library` as its reason, sets the breakpoints that were pending, and goes on by itself. Its own breakpoint in
the dynamic linker is not needed then. `lm` is the address of a struct link_map there. Here it is a number by which
gdb tells libraries apart. `l_addr` is 0 because the files have absolute addresses.

LLDB 23 does not read such a file, and stops for the user where gdb goes on. So only gdb is offered the list.
"""

from armprobe.stub.feature import Document, Feature
from armprobe.stub.target import Libraries

_GDB = "qRelocInsn"  # gdb says in qSupported that it has this, whatever the target; LLDB does not have it


class LibraryList(Feature[Libraries]):
    def read(self, annex: str) -> str | None:
        """The annex says where to begin in lists that are larger than this one."""
        from xml.sax.saxutils import quoteattr  # here, as it imports all of urllib

        entries = (
            f'<library name={quoteattr(each.name)} lm="{each.number * 16:#x}" lmid="0x0" l_addr="0x0" l_ld="0x0"/>'
            for each in self.target.libraries()
        )
        return f'<library-list-svr4 version="1.0">{"".join(entries)}</library-list-svr4>'

    def available(self) -> bool:
        return self.target.has_libraries and _GDB in self.connection.client_words

    documents = (Document("libraries-svr4", read, available),)
