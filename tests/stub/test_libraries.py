# SPDX-License-Identifier: GPL-2.0-or-later
"""Libraries through the stub: the list by qXfer, their files by vFile, and the stop that tells gdb to read it anew."""

import io
from xml.etree import ElementTree

import pytest

from armprobe.stub import ExecFile
from tests.stub.client import Client
from tests.stub.fake import BASE, FakeTarget

GDB = b"qSupported:multiprocess+;swbreak+;hwbreak+;qRelocInsn+;no-resumed+"  # gdb 13, shortened
LLDB = (
    b"qSupported:xmlRegisters=i386,arm,mips,arc;multiprocess+;fork-events+;vfork-events+;swbreak+;hwbreak+"
    b";qXfer:libraries:read+;qXfer:libraries-svr4:read+"
)  # LLDB 23
NAME = "/armprobe/modules/1/<mine>.ko"
LIST = b"qXfer:libraries-svr4:read::0,1000"


def opening(name: str) -> bytes:
    return b"vFile:open:%b,0,0" % name.encode().hex().encode()


def test_a_library_that_is_loaded_while_gdb_is_attached(client: Client, target: FakeTarget) -> None:
    target.program = ExecFile("/kernel.elf", io.BytesIO)
    target.loads_at = BASE + 8
    assert b"qXfer:libraries-svr4:read+" in client.ask(GDB).split(b";")
    assert client.ask(LIST) == b'l<library-list-svr4 version="1.0"></library-list-svr4>'
    assert client.ask(opening(NAME)) == b"F-1,2"  # ENOENT
    stop = client.ask(b"vCont;c")
    assert stop.startswith(b"T05")
    assert stop.endswith(b";library:;")
    assert target.registers["pc"] == BASE + 8
    (entry,) = ElementTree.fromstring(client.ask(LIST)[1:])
    # GDB manual, "Library List Format for SVR4 Targets"; gdb 13 requires lmid, too (gdb/solib-svr4.c)
    assert entry.tag == "library"
    assert entry.attrib.keys() == {"name", "lm", "lmid", "l_addr", "l_ld"}
    assert (entry.attrib["name"], entry.attrib["l_addr"]) == (NAME, "0x0")
    assert client.ask(opening(NAME)) == b"F0"
    assert client.ask(b"vFile:pread:0,100,0") == b"Fb;its symbols"
    assert client.ask(opening("/etc/passwd")) == b"F-1,2"
    assert client.ask(b"vCont;s").startswith(b"T05")
    assert target.registers["pc"] == BASE + 12


@pytest.mark.parametrize("words", [LLDB, b"qSupported"])
def test_others_than_gdb_would_show_the_stop(client: Client, words: bytes) -> None:
    assert b"libraries" not in client.ask(words)
    assert client.ask(LIST) == b""
