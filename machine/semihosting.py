# SPDX-License-Identifier: GPL-2.0-or-later
"""Semihosting: a bare-metal program asks its host for a console, the time, files and an exit.

"Semihosting for AArch32 and AArch64" (Arm): HLT #0xf000 with the operation in w0, and in x1 its parameter or the
address of a block of 64-bit parameters. x0 is the result. The machine provides the console, the time and the exit. It
opens no files of the host. File operations become requests of GDB's File-I/O (GDB manual, "File-I/O Remote Protocol
Extension"), which a debugger answers on its side.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Final

from armprobe.machine.core.core import Core
from armprobe.machine.core.exceptions import Class, Raised
from armprobe.machine.devices.timer import FREQUENCY
from armprobe.machine.lazy_dataclass import lazy_dataclass

from .errors import MachineError
from .field_checks import U32, U64, integer
from .input import InputKind
from .state import Order
from .stop import Stop, StopReason

if TYPE_CHECKING:
    from .machine import Machine

HLT: Final = 0xD45E_0000  # HLT #0xf000
_MASK: Final = (1 << 64) - 1
_MOST: Final = 1 << 20  # bytes that one call moves at most; the guest may call again for the rest
_LONGEST: Final = 4096  # bytes of a name or a command, its NUL included
_APPLICATION_EXIT: Final = 0x20026  # ADP_Stopped_ApplicationExit

# GDB manual, "Errno Values", which SYS_ERRNO uses too. ENOSYS is newlib's.
_ENOENT, _EINTR, _EBADF, _EFAULT, _ENODEV, _EINVAL, _ENAMETOOLONG, _ENOSYS = 2, 4, 9, 14, 19, 22, 91, 88

# The console's handles, by the mode in which ":tt" is opened: reading, writing, appending (stderr). They are valid
# without being opened, too. A file's handle is the debugger's descriptor and `_FILES`.
_READING, _WRITING, _APPENDING = 1, 2, 3
_FILES: Final = 4
_CONSOLE_NAME: Final = b":tt"

# GDB manual, "Open Flags", for the modes "r", "r+", "w", "w+", "a", "a+". A "b" (binary) has no effect.
_OPEN_FLAGS: Final = (0x0, 0x2, 0x601, 0x602, 0x209, 0x20A)
_CREATED: Final = 0o644
_SEEK_SET, _SEEK_CUR, _SEEK_END = 0, 1, 2


@lazy_dataclass
class FileCall:
    """One request to the debugger: the name of a GDB File-I/O call and its arguments in order.

    A text argument is a pair: its virtual address and its length in bytes, including the final NUL.
    """

    name: str
    arguments: tuple[int | tuple[int, int], ...]


class _Failed(Exception):
    """An operation failed with `errno` and returns `result`."""

    def __init__(self, errno: int, result: int = -1) -> None:
        super().__init__(errno)
        self.errno, self.result = errno, result


_Asking = Generator[FileCall, tuple[int, int], int]
"""An operation that asks the debugger: it is sent each call's result and errno, and returns its own result."""


@dataclass
class _Pending:
    """An operation that waits for the debugger, and the outcome if it never answers."""

    asking: _Asking
    errno: int  # before it


class Semihosting:
    """Answers the semihosting calls of one machine's guest, at EL1.

    Pointers and lengths come from the guest. With wrong ones, an operation ends with an errno or moves less data.
    `files` is true if the machine's user answers HOST_CALL stops; otherwise the guest has no files.
    """

    # `heap` is the address where the heap may begin, which nothing else in a snapshot records.
    STATE: ClassVar = {"errno": integer(U32), "heap": integer(U64)}

    def __init__(self, machine: Machine) -> None:
        self._machine = machine
        self.files = False
        self.errno = 0
        self._pending: _Pending | None = None
        self.heap = max((segment.end for segment in machine.guest.segments), default=0)
        self._operations: dict[int, Callable[[int], int | _Asking]] = {
            0x01: self._open,
            0x02: self._close,
            0x03: self._writec,
            0x04: self._write0,
            0x05: self._write,
            0x06: self._read,
            0x07: self._readc,
            0x08: self._iserror,
            0x09: self._istty,
            0x0A: self._seek,
            0x0C: self._flen,
            0x0E: self._remove,
            0x0F: self._rename,
            0x10: lambda _: machine.clock.now * 100 // FREQUENCY,  # SYS_CLOCK: hundredths of a second
            0x11: lambda _: machine.clock.now // FREQUENCY,  # SYS_TIME: there is no calendar, so it starts in 1970
            0x12: self._system,
            0x13: lambda _: self.errno,
            0x15: self._get_cmdline,
            0x16: self._heapinfo,
            0x18: self._exit,
            0x20: self._exit,
            0x30: self._elapsed,
            0x31: lambda _: FREQUENCY,
        }
        machine.state.join("semihosting", self, Order.DEVICES, self._forget)
        machine.claim_fault(self._undefined)

    # For the machine and its user.

    def answer(self, result: int, errno: int) -> FileCall | None:
        """Pass in the debugger's answer to the HOST_CALL that the machine stopped for. Returns the next request, or
        None when x0 is the result and the guest can go on.

        A call that is not answered fails with EINTR. Raises MachineError when no call is under way.
        """
        if self._pending is None:
            raise MachineError("the guest waits for no file: there is no call to answer")
        context = self._machine.core.load()
        self.errno = self._pending.errno
        context.x[0], call = self._go_on(self._pending.asking, (result, errno))
        self._machine.core.store()
        self._machine.input.entered(InputKind.ANSWER, "", (result, errno))
        return call

    # Calls and their results.

    def _undefined(self, core: Core, raised: Raised, syndrome: int, fault_address: int) -> bool:
        """Handle HLT, which is undefined where halting is not enabled (Arm ARM, "HLT")."""
        if raised is not Raised.UNDEFINED or syndrome >> 26 != Class.UNKNOWN:
            return False
        context = core.context
        try:
            if self._machine.memory.u32(context.pc) != HLT:
                return False
        except MachineError:
            return False
        context.pc += 4
        context.x[0], call = self._do(context.x[0] & 0xFFFF_FFFF, context.x[1])
        if call is not None:
            self._machine.request_stop(Stop(StopReason.HOST_CALL, context.pc, detail=call))
        return True

    def _do(self, number: int, parameter: int) -> tuple[int, FileCall | None]:
        """Do an operation. Returns x0 after it, and the first request to the debugger, if any."""
        self._pending = None
        try:
            if number not in self._operations:
                raise _Failed(_ENOSYS)
            result = self._operations[number](parameter)
        except (_Failed, MachineError) as error:
            return self._fail(error), None
        return (result & _MASK, None) if isinstance(result, int) else self._go_on(result, None)

    def _go_on(self, asking: _Asking, answer: tuple[int, int] | None) -> tuple[int, FileCall | None]:
        """Continue an operation; returns like `_do`. x0 is the result for a debugger that never answers."""
        self._pending = None
        try:
            call = asking.send(answer) if answer else next(asking)
            if not answer and not self.files:
                asking.throw(_Failed(_ENODEV))
        except StopIteration as end:
            return end.value & _MASK, None
        except (_Failed, MachineError) as error:
            return self._fail(error), None
        self._pending, self.errno = _Pending(asking, self.errno), _EINTR
        length = call.arguments[-1] if call.name in ("read", "write") else -1  # none of which was moved
        assert isinstance(length, int)
        return length & _MASK, call

    def _fail(self, error: _Failed | MachineError) -> int:
        """The result of an operation that failed. A MachineError, for missing memory, is EFAULT."""
        failed = error if isinstance(error, _Failed) else _Failed(_EFAULT)
        self.errno = failed.errno
        return failed.result & _MASK

    def _forget(self) -> None:
        self._pending = None

    def _block(self, address: int, count: int) -> list[int]:
        """`count` parameters at `address`."""
        data = self._machine.memory.read(address, 8 * count)
        return [int.from_bytes(data[at : at + 8], "little") for at in range(0, 8 * count, 8)]

    def _put(self, address: int, *values: int) -> None:
        self._machine.memory.put(address, b"".join(value.to_bytes(8, "little") for value in values))

    def _text(self, address: int, length: int) -> tuple[bytes, tuple[int, int]]:
        """A text of the guest's. Its NUL must be where the guest says, because the debugger reads exactly that far."""
        if length >= _LONGEST:
            raise _Failed(_ENAMETOOLONG)
        text = self._machine.memory.read(address, length + 1)
        if text.find(b"\0") != length:
            raise _Failed(_EINVAL)
        return text[:-1], (address, length + 1)

    @staticmethod
    def _ask(name: str, *arguments: int | tuple[int, int]) -> _Asking:
        """Ask the debugger and return its result. Raises _Failed with the debugger's errno."""
        result, errno = yield FileCall(name, arguments)
        if result < 0:
            raise _Failed(errno)
        return result

    def _descriptor(self, handle: int) -> int:
        """The debugger's descriptor for a file's handle."""
        if not self.files or not _FILES <= handle < 1 << 31:
            raise _Failed(_EBADF)
        return handle - _FILES

    # The console.

    def _print(self, data: bytes) -> None:
        for byte in data:
            self._machine.console.transmitted(byte)

    def _writec(self, address: int) -> int:
        self._print(self._machine.memory.read(address, 1))
        return 0

    def _write0(self, address: int) -> int:
        self._print(self._machine.memory.read_string(address, _MOST))
        return 0

    def _readc(self, _: int) -> int:
        """The next byte typed, or -1 if there is none: waiting could take for ever."""
        typed = self._machine.uart.take(1)
        return typed[0] if typed else -1

    # Files, including the console's.

    def _open(self, block: int) -> int | _Asking:
        address, mode, length = self._block(block, 3)
        name, text = self._text(address, length)
        if mode >= 2 * len(_OPEN_FLAGS):
            raise _Failed(_EINVAL)
        if name == _CONSOLE_NAME:
            return (_READING, _WRITING, _APPENDING)[mode // 4]
        if name.startswith(b":"):  # a special name, not a file's
            raise _Failed(_ENOENT)
        return self._open_file(text, _OPEN_FLAGS[mode // 2])

    def _open_file(self, text: tuple[int, int], flags: int) -> _Asking:
        return (yield from self._ask("open", text, flags, _CREATED)) + _FILES

    def _close(self, block: int) -> int | _Asking:
        (handle,) = self._block(block, 1)
        return 0 if _is_console(handle) else self._ask("close", self._descriptor(handle))

    def _write(self, block: int) -> int | _Asking:
        """The number of bytes that were not written."""
        handle, address, length = self._block(block, 3)
        if not _is_console(handle):
            return self._move("write", handle, address, length)
        data = self._machine.memory.read(address, min(length, _MOST))
        self._print(data)
        return length - len(data)

    def _read(self, block: int) -> int | _Asking:
        """The number of bytes not read: all of them at the end of the file. The console ends after the typed bytes."""
        handle, address, length = self._block(block, 3)
        if not _is_console(handle):
            return self._move("read", handle, address, length)
        memory, uart = self._machine.memory, self._machine.uart
        size = min(length, _MOST, len(uart.received))
        memory.read(address, size)  # raises before typed bytes are taken, so that none are lost
        memory.put(address, uart.take(size))
        return length - size

    def _move(self, name: str, handle: int, address: int, length: int) -> _Asking:
        size = min(length, _MOST)
        try:
            moved = yield from self._ask(name, self._descriptor(handle), address, size)
        except _Failed as error:
            raise _Failed(error.errno, length) from None
        return length - min(moved, size)

    def _seek(self, block: int) -> int | _Asking:
        handle, position = self._block(block, 2)
        return self._seek_file(self._descriptor(handle), position)

    def _seek_file(self, descriptor: int, position: int) -> _Asking:
        if position >> 63:
            raise _Failed(_EINVAL)
        yield from self._ask("lseek", descriptor, position, _SEEK_SET)
        return 0

    def _flen(self, block: int) -> int | _Asking:
        (handle,) = self._block(block, 1)
        return 0 if _is_console(handle) else self._length(self._descriptor(handle))

    def _length(self, descriptor: int) -> _Asking:
        """The length of a file, found by seeking: fstat would need guest memory for its answer."""
        position = yield from self._ask("lseek", descriptor, 0, _SEEK_CUR)
        length = yield from self._ask("lseek", descriptor, 0, _SEEK_END)
        yield from self._ask("lseek", descriptor, position, _SEEK_SET)
        return length

    def _istty(self, block: int) -> int | _Asking:
        (handle,) = self._block(block, 1)
        return 1 if _is_console(handle) else self._ask("isatty", self._descriptor(handle))

    def _remove(self, block: int) -> _Asking:
        return self._ask("unlink", self._text(*self._block(block, 2))[1])

    def _rename(self, block: int) -> _Asking:
        old, old_length, new, new_length = self._block(block, 4)
        return self._ask("rename", self._text(old, old_length)[1], self._text(new, new_length)[1])

    def _system(self, block: int) -> _Asking:
        """gdb refuses until its user has said `set remote system-call-allowed 1`."""
        return self._ask("system", self._text(*self._block(block, 2))[1])

    # The rest.

    def _iserror(self, block: int) -> int:
        return self._block(block, 1)[0] >> 63

    def _get_cmdline(self, block: int) -> int:
        """The command line, which is only the program's name."""
        address, room = self._block(block, 2)
        line = self._machine.guest.sources[0].name.encode(errors="replace")
        if len(line) >= room:
            raise _Failed(_EINVAL)
        self._machine.memory.put(address, line + b"\0")
        self._put(block + 8, len(line))
        return 0

    def _heapinfo(self, block: int) -> int:
        """The memory from the program's end to RAM's end: the heap grows up, the stack down. 0 where unknown."""
        end = self._machine.ram.base + self._machine.ram.size
        self._put(self._block(block, 1)[0], self.heap, end, end, self.heap)
        return 0

    def _elapsed(self, block: int) -> int:
        self._put(block, self._machine.clock.now)
        return 0

    def _exit(self, block: int) -> int:
        """SYS_EXIT and SYS_EXIT_EXTENDED, which are the same in AArch64. The stop's detail is the exit code."""
        reason, code = self._block(block, 2)
        status, why = 1, f"the guest exited abnormally, with reason {reason:#x}"
        if reason == _APPLICATION_EXIT:
            status = code - (1 << 64) if code >> 63 else code
            why = f"the guest exited with code {status}"
        self._machine.request_stop(Stop(StopReason.EXIT, self._machine.core.context.pc, why, status))
        return 0


def _is_console(handle: int) -> bool:
    return _READING <= handle <= _APPENDING
