# SPDX-License-Identifier: GPL-2.0-or-later
"""Loaded into gdb by `gdb_proxy.py`: the symbols of the connected machine. Standard library only."""

import atexit
import os
import re
import shlex
import shutil
import struct
import tempfile

import gdb

STAT = struct.Struct(">4xI20xQ20xI4x")  # inode, size and time of a file (GDB manual, "struct stat")
# The header of an empty ELF for AArch64 (System V ABI, "ELF Header").
EMPTY_PROGRAM = struct.pack("<16sHHIQQQIHHHHHH", b"\x7fELF\2\1\1", 2, 183, 1, 0, 0, 0, 0, 64, 0, 0, 64, 0, 0)


def local_path(name: str) -> str | None:
    """The path on this computer of the stub's file `name`, or None (GDB manual, "Host I/O Packets").

    The stub says what the file is, and where, if that is not its name. Another file may be there on this computer.
    """
    send = gdb.selected_inferior().connection.send_packet
    descriptor = (send(b"vFile:open:%b,0,0" % os.fsencode(name).hex().encode()) or b"")[1:]
    said = attachment(send(b"vFile:fstat:" + descriptor))
    link = attachment(send(b"vFile:readlink:" + os.fsencode(name).hex().encode()))
    send(b"vFile:close:" + descriptor)
    for path in (name, os.fsdecode(link)):
        if len(said) == STAT.size and os.path.exists(path):
            ours = os.stat(path)
            if STAT.unpack(said) == (ours.st_ino % (1 << 32), ours.st_size, int(ours.st_mtime)):
                return path
    return None


def attachment(reply: bytes | None) -> bytes:
    """The data that a reply comes with."""
    data = (reply or b"").partition(b";")[2]
    return re.sub(rb"\}(.)", lambda escape: bytes([escape[1][0] ^ 0x20]), data, flags=re.DOTALL)


class Symbols:
    """Gives gdb the symbols of the machine that it connects to, if the user gave it no program.

    The stub has a file of them (`armprobe.stub.ExecFile`). A gdb without a program reads that by itself, but warns that
    this is slow. So gdb gets an empty program to connect with, and then a copy of the stub's file.
    """

    def __init__(self) -> None:
        self._folder = ""  # the folder of our own files; empty before there are any

    def stand_in(self) -> None:
        """Before gdb connects: give it an empty program, unless it has one."""
        if gdb.current_progspace().filename is None:
            self._folder = os.path.realpath(tempfile.mkdtemp(prefix="armprobe-"))
            atexit.register(shutil.rmtree, self._folder, ignore_errors=True)
            path = os.path.join(self._folder, "no-program.elf")
            with open(path, "wb") as file:
                file.write(EMPTY_PROGRAM)
            gdb.execute(f"file {shlex.quote(path)}", to_string=True)

    def update(self, ours: bool) -> None:
        """After gdb has connected to any machine: replace the stand-in with the right program."""
        if not self._folder or os.path.dirname(gdb.current_progspace().filename or "") != self._folder:
            return
        if not ours:
            gdb.execute("file", to_string=True)
            return
        reply = gdb.selected_inferior().connection.send_packet(b"qXfer:exec-file:read::0,fff") or b""
        if not reply.startswith(b"l"):  # a guest without symbols
            return
        name = os.fsdecode(reply[1:])
        path, copy = local_path(name), os.path.join(self._folder, os.path.basename(name))
        try:
            if path is None:
                gdb.execute(f"remote get {shlex.quote(name)} {shlex.quote(copy)}", to_string=True)
            elif path != name:  # in armprobe's cache, which deletes files
                shutil.copyfile(path, copy)
            # A kernel's file with debug information has hundreds of megabytes, and is not copied.
            gdb.execute(f"file {shlex.quote(name if path == name else copy)}", to_string=True)
        except (gdb.error, OSError) as error:
            gdb.write(f"the machine's symbols are not available: {error}\n", gdb.STDERR)
            return
        gdb.execute("frame")  # shown already, but without symbols
