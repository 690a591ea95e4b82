# SPDX-License-Identifier: GPL-2.0-or-later
"""g, G, p, P: registers, all those of `g` or one by its number (GDB manual, "Packets")."""

from __future__ import annotations

import errno
from collections.abc import Sequence
from typing import TYPE_CHECKING

from armprobe.machine.lazy_dataclass import lazy_dataclass
from armprobe.stub.aarch64 import GENERAL, PC, Register, pack
from armprobe.stub.feature import Feature, PacketKind
from armprobe.stub.read_ahead import ReadAhead
from armprobe.stub.target import Target, TargetError
from armprobe.stub.tracing import TraceFrame
from armprobe.stub.wire import MalformedPacket, hex_data, nothing, number, split, to_hex

if TYPE_CHECKING:
    from armprobe.stub.connection import Connection

_NAMES = [register.name for register in GENERAL]


@lazy_dataclass
class Write:
    """P: a register's number and its new value."""

    number: int
    value: bytes

    @staticmethod
    def parse(fields: bytes) -> Write:
        register, value = split(fields, b"=", 2)
        return Write(number(register), hex_data(value))


def _collected(frame: TraceFrame, number: int) -> bytes:
    """A register as it was collected in a trace frame; "xx..." if it was not."""
    if number == PC:
        return to_hex(frame.pc.to_bytes(8, "little"))
    start = sum(register.size for register in GENERAL[:number])
    register = GENERAL[number] if number < len(GENERAL) else None
    if frame.registers is None or register is None:
        return b"x" * 2 * (register.size if register else 8)
    return to_hex(frame.registers[start : start + register.size])


def _kept(register: Register, value: int | None) -> bytes:
    return b"xx" * register.size if value is None else to_hex(value.to_bytes(register.size, "little"))


class RegisterAccess(Feature[Target]):
    def __init__(self, connection: Connection, target: Target) -> None:
        super().__init__(connection, target)
        self._ahead = ReadAhead(target, connection.registers.registers)

    def _find(self, number: int) -> Register:
        registers = self.connection.registers.registers
        if number >= len(registers):
            raise MalformedPacket(f"there is no register number {number}")
        return registers[number]

    def _write(self, register: Register, value: bytes) -> None:
        if self.connection.trace.frame is not None:
            raise TargetError(errno.EROFS, "a trace frame is looked at, and cannot be changed: `tfind none` ends that")
        self.connection.threads.refuse_change()
        if len(value) != register.size:
            raise MalformedPacket(f"{register.name} has {register.size} bytes, not {len(value)}")
        self.target.write_register(register.source, int.from_bytes(value, "little"))

    def _of_blocked(self, registers: Sequence[Register]) -> bytes:
        """Those of the thread that is looked at: "xx..." for a register that the kernel does not keep."""
        values = self.connection.threads.read_blocked([register.source for register in registers])
        return b"".join(map(_kept, registers, values))

    def read_all(self, _: None) -> bytes:
        if self.connection.trace.frame is not None:
            return b"".join(_collected(self.connection.trace.frame, number) for number in range(len(GENERAL)))
        if self.connection.threads.blocked is not None:
            return self._of_blocked(GENERAL)
        values = self.target.read_registers(_NAMES)
        self.connection.view.registers_seen()
        return to_hex(pack(GENERAL, values))

    def write_all(self, values: bytes) -> bytes:
        if len(values) != sum(register.size for register in GENERAL):
            raise MalformedPacket(f"G holds {len(values)} bytes of registers")
        for register in GENERAL:
            self._write(register, values[: register.size])
            values = values[register.size :]
        return b"OK"

    def read_one(self, number: int) -> bytes:
        register = self._find(number)
        if self.connection.trace.frame is not None:
            return _collected(self.connection.trace.frame, number)
        if self.connection.threads.blocked is not None:
            return self._of_blocked([register])
        return self._ahead.read(number)

    def write_one(self, write: Write) -> bytes:
        self._write(self._find(write.number), write.value)
        return b"OK"

    packets = (
        PacketKind("g", nothing, read_all, reads=True),
        PacketKind("G", hex_data, write_all),
        PacketKind("p", number, read_one, reads=True),
        PacketKind("P", Write.parse, write_one),
    )
