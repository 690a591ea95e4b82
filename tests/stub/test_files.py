# SPDX-License-Identifier: GPL-2.0-or-later
"""The program's file through the stub: its name by qXfer:exec-file, its bytes by vFile."""

import io
import os
import re
import struct
from pathlib import Path
from typing import BinaryIO

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from armprobe.machine.memory.regions import TOP, Region
from armprobe.stub import ExecFile, Server, TargetError
from armprobe.stub.framing import PACKET_SIZE
from tests.stub.client import Client, framed
from tests.stub.fake import SIZE, FakeTarget

NAME = "/armprobe/a guest.elf"
CONTENT = bytes(range(256)) * 1024 + b"the end"  # 256 KiB of everything that needs escaping, and of what does not

# GDB manual, "Errno Values"
ENOENT, EIO, EBADF, EINVAL, EMFILE, EROFS = b"F-1,2", b"F-1,5", b"F-1,9", b"F-1,16", b"F-1,18", b"F-1,1e"
O_WRONLY, O_RDWR, O_APPEND, O_CREAT, O_TRUNC = 1, 2, 8, 0x200, 0x400


@pytest.fixture
def reads(target: FakeTarget) -> list[int]:
    """`target` has a file; as many entries as it was asked for what is in it."""
    reads: list[int] = []

    def read() -> BinaryIO:
        reads.append(1)
        return io.BytesIO(CONTENT)

    target.program = ExecFile(NAME, read)
    return reads


def unescaped(payload: bytes) -> bytes:
    return re.sub(rb"\}(.)", lambda match: bytes([match[1][0] ^ 0x20]), payload, flags=re.DOTALL)


def opening(name: str = NAME, flags: int = 0) -> bytes:
    return b"vFile:open:%b,%x,1a4" % (name.encode().hex().encode(), flags)


def read(client: Client, descriptor: int, count: int, offset: int) -> bytes:
    """What a pread gives; the length it states is that of what it brings."""
    reply = unescaped(client.ask(b"vFile:pread:%x,%x,%x" % (descriptor, count, offset)))
    length, data = reply.split(b";", 1)
    assert length == b"F%x" % len(data)
    return data


@pytest.mark.usefixtures("reads")
def test_the_name_is_told(client: Client) -> None:
    assert b"qXfer:exec-file:read+" in client.ask(b"qSupported:swbreak+").split(b";")
    assert client.ask(b"qXfer:exec-file:read::0,1000") == b"l" + NAME.encode()
    assert client.ask(b"qXfer:exec-file:read:1:0,5") == b"m" + NAME.encode()[:5]
    assert client.ask(b"qXfer:exec-file:read:7:0,1000").startswith(b"E")


def test_nothing_is_offered_without_a_file(client: Client) -> None:
    assert b"exec-file" not in client.ask(b"qSupported:swbreak+")
    for packet in (b"qXfer:exec-file:read::0,1000", opening(), b"vFile:setfs:0", b"vFile:pread:0,1,0"):
        assert client.ask(packet) == b""


def test_reading_it_all(client: Client, reads: list[int]) -> None:
    assert client.ask(b"vFile:setfs:0") == b"F0"
    assert reads == []
    assert client.ask(opening()) == b"F0"
    content = b""
    while piece := read(client, 0, 0x20000, len(content)):
        content += piece
    assert content == CONTENT
    assert client.ask(b"vFile:close:0") == b"F0"
    assert reads == [1]


@pytest.mark.usefixtures("reads")
def test_reading_here_and_there(client: Client) -> None:
    client.ask(opening())
    assert read(client, 0, 4, len(CONTENT) - 3) == b"end"
    assert read(client, 0, 1, len(CONTENT)) == b""
    assert read(client, 0, 0, 0) == b""
    assert read(client, 0, 1 << 40, (1 << 64) - 1) == b""


def test_no_reply_is_larger_than_a_packet(client: Client, target: FakeTarget) -> None:
    """Not even where every byte is escaped."""
    target.program = ExecFile(NAME, lambda: io.BytesIO(b"}" * PACKET_SIZE))
    client.ask(opening())
    assert PACKET_SIZE - 16 < len(client.ask(b"vFile:pread:0,ffffffffffffffff,0")) <= PACKET_SIZE


@pytest.mark.usefixtures("reads")
def test_its_size_and_kind(client: Client) -> None:
    """GDB manual, "struct stat": 64 bytes, big-endian."""
    client.ask(opening())
    reply = unescaped(client.ask(b"vFile:fstat:0"))
    assert reply.startswith(b"F40;")
    assert struct.unpack(">7I3Q3I", reply[4:]) == (0, 0, 0o100444, 1, 0, 0, 0, len(CONTENT), 512, 513, 0, 0, 0)


def test_which_file_it_is(client: Client, target: FakeTarget, tmp_path: Path) -> None:
    """One of the host's is told apart by device, inode and time as well, of which 32 bits each are sent."""
    path = tmp_path / "guest.elf"
    path.write_bytes(CONTENT)
    target.program = ExecFile(NAME, lambda: path.open("rb"))
    client.ask(opening())
    stat = struct.unpack(">7I3Q3I", unescaped(client.ask(b"vFile:fstat:0"))[4:])
    status = os.stat(path)
    fields = (status.st_dev, status.st_ino, status.st_size, int(status.st_mtime))
    assert (stat[0], stat[1], stat[7], stat[11]) == tuple(field & 0xFFFF_FFFF for field in fields)
    assert read(client, 0, 7, len(CONTENT) - 7) == b"the end"


def test_where_it_is(client: Client, target: FakeTarget) -> None:
    """GDB manual, "Host I/O Packets": the number of bytes, and the link's value."""

    def ask(name: str) -> bytes:
        return client.ask(b"vFile:readlink:" + name.encode().hex().encode())

    target.program = ExecFile(NAME, io.BytesIO)
    assert ask(NAME) == EINVAL
    target.program = ExecFile(NAME, io.BytesIO, lambda: Path("/cache/x.elf"))
    assert ask(NAME) == b"Fc;/cache/x.elf"
    assert ask("/etc/localtime") == ENOENT


@pytest.mark.parametrize(
    "name", ["/etc/passwd", "", "just probing", NAME + "/", "/armprobe/../" + NAME, NAME[1:], NAME + "\0", "/armprobe"]
)
@pytest.mark.usefixtures("reads")
def test_no_other_file_is_there(client: Client, name: str) -> None:
    assert client.ask(opening(name)) == ENOENT


@pytest.mark.parametrize("flags", [O_WRONLY, O_RDWR, O_APPEND, O_CREAT, O_TRUNC, O_CREAT | O_RDWR, 1 << 63])
def test_it_cannot_be_written(client: Client, reads: list[int], flags: int) -> None:
    assert client.ask(opening(flags=flags)) == EROFS
    assert reads == []


@pytest.mark.parametrize("operation", ["pwrite:0,0,x", "unlink:2f61", "lstat:2f61", "", ":", "exec"])
@pytest.mark.usefixtures("reads")
def test_nothing_else_can_be_done_with_it(client: Client, operation: str) -> None:
    client.ask(opening())
    assert client.ask(b"vFile:" + operation.encode()) == b""


@pytest.mark.usefixtures("reads")
def test_descriptors_are_few(client: Client) -> None:
    replies = [client.ask(opening()) for _ in range(17)]
    assert replies == [b"F%x" % number for number in range(16)] + [EMFILE]
    assert client.ask(b"vFile:close:7") == b"F0"
    assert client.ask(b"vFile:close:7") == EBADF
    assert client.ask(opening()) == b"F7"


@pytest.mark.usefixtures("reads")
def test_descriptors_that_are_not_open(client: Client) -> None:
    for packet in (b"vFile:pread:0,1,0", b"vFile:fstat:0", b"vFile:close:0", b"vFile:close:ffffffffffffffff"):
        assert client.ask(packet) == EBADF


@pytest.mark.usefixtures("reads")
def test_descriptors_are_one_clients(server: Server) -> None:
    with Client(server.address) as first:
        assert first.ask(opening()) == b"F0"
        assert first.ask(b"D") == b"OK"
    with Client(server.address) as second:
        assert second.ask(b"vFile:fstat:0") == EBADF


def test_a_file_that_cannot_be_read(client: Client, target: FakeTarget) -> None:
    def read() -> BinaryIO:
        raise TargetError(5, "it was removed")

    target.program = ExecFile(NAME, read)
    assert client.ask(opening()) == EIO
    assert client.ask(b"vFile:fstat:0") == EBADF


@pytest.mark.parametrize(
    "packet",
    [
        *(b"open", b"open:2f", b"open:2f,0", b"open:2,0,0", b"open:2f,x,0", b"open:2f,0,-1", b"open:2f,0,1,1"),
        *(b"pread:0,1", b"pread:0,1,-1", b"pread:0,1,10000000000000000", b"fstat:", b"fstat:-1"),
        *(b"close", b"close:0,0", b"setfs:", b"setfs:x"),
    ],
)
@pytest.mark.usefixtures("reads")
def test_malformed(client: Client, packet: bytes) -> None:
    client.ask(b"qSupported:error-message+")
    assert client.ask(b"vFile:" + packet).startswith(b"E.malformed packet: ")


@given(st.lists(st.binary(max_size=40), max_size=8))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=50)
@pytest.mark.usefixtures("reads")
def test_whatever_is_asked_the_file_stays_there(server: Server, requests: list[bytes]) -> None:
    with Client(server.address) as client:
        for request in requests:
            for operation in (b"open:", b"pread:", b"fstat:", b"close:", b"setfs:", b""):
                body = re.sub(rb"[#$}\x03]", b"0", operation + request)
                client.send(framed(b"vFile:" + body))
                client.reply()
        client.ask(b"vFile:close:0")
        assert client.ask(opening()) == b"F0"
        assert read(client, 0, 7, len(CONTENT) - 7) == b"the end"
        assert client.ask(b"D") == b"OK"


def test_what_is_mapped(client: Client, target: FakeTarget, reads: list[int]) -> None:
    """/proc/PID/maps and smaps as proc(5) has them: in smaps RAM only, since gdb's gcore reads what is there."""
    target.regions = [Region(0x1000, 0x3000, "urx", "RAM"), Region(TOP - 0x4000, TOP, "rw", "RAM")]
    target.regions.insert(1, Region(0x9000, 0xA000, "rw", "pl011"))
    content = {}
    for name in ("maps", "smaps"):
        assert client.ask(opening(f"/proc/1/{name}")) == b"F0"
        content[name] = read(client, 0, 0x10000, 0).decode().splitlines()
        assert client.ask(b"vFile:close:0") == b"F0"
    assert content["maps"] == [
        "0000000000001000-0000000000003000 r-xp 00000000 00:00 0 [RAM]",
        "0000000000009000-000000000000a000 rw-p 00000000 00:00 0 [pl011]",
        "ffffffffffffc000-fffffffffffff000 rw-p 00000000 00:00 0 [RAM]",  # gdb reads no number above 64 bits
    ]
    assert content["smaps"] == [content["maps"][at].removesuffix(" [RAM]") for at in (0, 2)]
    for name in ("/proc/2/maps", "/proc/1/mem", "/proc/self/maps"):
        assert client.ask(opening(name)) == ENOENT
    assert client.ask(opening("/proc/1/maps", O_WRONLY)) == EROFS
    assert reads == []


def test_a_core_file_has_a_bounded_size(client: Client, target: FakeTarget, reads: list[int]) -> None:
    """A guest may map its memory any number of times. What the kernel's half maps comes first."""
    many = [Region(at * SIZE, (at + 1) * SIZE, "ur", "RAM") for at in range(1000)]
    kernel = Region(TOP >> 1, (TOP >> 1) + SIZE, "rw", "RAM")
    huge = Region(1 << 48, 1 << 60, "rw", "RAM")
    target.regions = [*many, huge, kernel]
    assert client.ask(opening("/proc/1/smaps")) == b"F0"
    lines = read(client, 0, 0x10000, 0).decode().splitlines()
    ranges = [[int(each, 16) for each in line.split()[0].split("-")] for line in lines]
    assert sum(end - start for start, end in ranges) <= 2 * target.memory_size
    assert [kernel.start, kernel.end] in ranges
    assert len(ranges) == 2
    assert target.shown.startswith("a core file gets 2 of the 1,002 regions")
    assert reads == []


def test_an_error_of_a_file_that_is_made(client: Client, target: FakeTarget) -> None:
    def fail() -> BinaryIO:
        raise TargetError(1, "gone")

    target.program = ExecFile(NAME, fail)
    assert client.ask(opening()) == EIO
