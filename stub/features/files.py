# SPDX-License-Identifier: GPL-2.0-or-later
"""vFile: reads files of the program, and the map of the guest's memory (GDB manual, "Host I/O Packets").

No other file is read. The target gives the program's file and its name, and those of its libraries. A client on the
same computer can tell by fstat whether its own file of that name is the same, or that which the name is a link to.
"""

from __future__ import annotations

import contextlib
import io
import os
import struct
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, BinaryIO, ClassVar

from armprobe.stub.feature import Feature, PacketKind
from armprobe.stub.framing import PACKET_SIZE
from armprobe.stub.process_maps import FILES
from armprobe.stub.target import Libraries, MemoryMap, Program, TargetError
from armprobe.stub.wire import hex_text, names_the_process, number, split

if TYPE_CHECKING:
    from armprobe.stub.connection import Connection

# GDB manual, "Errno Values"
_ENOENT = 2
_EIO = 5
_EBADF = 9
_EINVAL = 22
_EMFILE = 24
_EROFS = 30

_MOST_OPEN = 16  # gdb has one open
_MOST = PACKET_SIZE // 2 - len(b"F%x;" % PACKET_SIZE)  # bytes in one reply: each may need escaping
_STAT = struct.Struct(">IIIIIIIQQQIII")  # GDB manual, "struct stat": big-endian
_REGULAR, _READABLE = 0o100000, 0o444
_BLOCK = 512  # bytes
_END = (1 << 63) - 1  # no file has more


def _failed(errno: int) -> bytes:
    return b"F-1,%x" % errno


def _attached(data: bytes) -> bytes:
    return b"F%x;%b" % (len(data), data)


def _text(target: MemoryMap, path: str) -> BinaryIO:
    return io.BytesIO(FILES[path](target).encode())


def _parse(fields: bytes) -> tuple[bytes, bytes]:
    operation, _, parameters = fields.partition(b":")
    return operation, parameters


class Files(Feature[Program]):
    def __init__(self, connection: Connection, target: Program) -> None:
        super().__init__(connection, target)
        self._files: dict[int, BinaryIO] = {}  # that the client has open, by descriptor

    def disconnected(self) -> None:
        for file in self._files.values():
            file.close()

    def do(self, request: tuple[bytes, bytes]) -> bytes:
        operation, parameters = request
        if operation not in self._OPERATIONS or self.target.exec_file() is None:
            return b""
        return self._OPERATIONS[operation](self, parameters)

    def _set_file_system(self, process: bytes) -> bytes:
        return b"F0" if names_the_process(process) else _failed(_ENOENT)

    def _open(self, fields: bytes) -> bytes:
        name, *numbers = split(fields, b",", 3)
        path, (flags, _) = hex_text(name), map(number, numbers)
        file, target = self.target.exec_file(), self.target
        if path in FILES and isinstance(target, MemoryMap):
            opened: Callable[[], BinaryIO] = partial(_text, target, path)
        elif file is not None and path == file.name:
            opened = file.open
        elif isinstance(target, Libraries) and (library := target.file_of_library(path)) is not None:
            opened = library
        else:
            return _failed(_ENOENT)
        if flags:  # 0 is to read; all others are to write, or to make a file
            return _failed(_EROFS)
        if len(self._files) >= _MOST_OPEN:
            return _failed(_EMFILE)
        try:
            content = self.connection.patiently(opened)
        except TargetError:
            return _failed(_EIO)
        descriptor = min(set(range(_MOST_OPEN)) - self._files.keys())
        self._files[descriptor] = content
        return b"F%x" % descriptor

    def _read(self, fields: bytes) -> bytes:
        descriptor, count, offset = map(number, split(fields, b",", 3))
        content = self._files.get(descriptor)
        if content is None:
            return _failed(_EBADF)
        try:
            content.seek(min(offset, _END))
            return _attached(content.read(min(count, _MOST)))
        except OSError:
            return _failed(_EIO)

    def _stat(self, descriptor: bytes) -> bytes:
        content = self._files.get(number(descriptor))
        if content is None:
            return _failed(_EBADF)
        size = content.seek(0, io.SEEK_END)
        device = inode = modified = 0
        with contextlib.suppress(OSError):  # a file made in memory has none of these
            status = os.fstat(content.fileno())
            fields = (status.st_dev, status.st_ino, int(status.st_mtime))
            device, inode, modified = (field & 0xFFFF_FFFF for field in fields)
        blocks = -(-size // _BLOCK)
        return _attached(
            _STAT.pack(device, inode, _REGULAR | _READABLE, 1, 0, 0, 0, size, _BLOCK, blocks, 0, modified, 0)
        )

    def _close(self, descriptor: bytes) -> bytes:
        content = self._files.pop(number(descriptor), None)
        if content is None:
            return _failed(_EBADF)
        content.close()
        return b"F0"

    def _read_link(self, name: bytes) -> bytes:
        file, path = self.target.exec_file(), hex_text(name)
        if file is None or path != file.name:
            return _failed(_ENOENT)
        there = file.path()
        return _failed(_EINVAL) if there is None else _attached(os.fsencode(there))

    _OPERATIONS: ClassVar[dict[bytes, Callable[[Files, bytes], bytes]]] = {
        b"setfs": _set_file_system,
        b"open": _open,
        b"pread": _read,
        b"fstat": _stat,
        b"close": _close,
        b"readlink": _read_link,
    }
    packets = (PacketKind("vFile", _parse, do, reads=True),)
