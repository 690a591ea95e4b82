# SPDX-License-Identifier: GPL-2.0-or-later
"""Trace frames, in the format of gdb's trace file, and the buffer that holds them.

GDB manual, "Trace File Format": each frame is the number of its tracepoint (16 bits), the size of what follows (32),
and blocks: 'R' and the registers of a `g` packet; 'M', address (64), length (16) and memory; 'V', number (32) and value
(64) of a trace state variable. All in the target's byte order.
"""

import struct
from collections import deque
from collections.abc import Iterator
from functools import cached_property
from typing import NamedTuple

from armprobe.machine.lazy_dataclass import lazy_dataclass
from armprobe.stub.aarch64 import GENERAL

DEFAULT_SIZE = 5 << 20  # bytes, gdbserver's
MOST_SIZE = 1 << 28
REGISTERS_SIZE = sum(register.size for register in GENERAL)

_HEADER = struct.Struct("<HI")
_MEMORY = struct.Struct("<cQH")
_VARIABLE = struct.Struct("<cIq")
_PC = struct.Struct("<Q")
_PC_AT = 32 * 8  # of the registers
_MOST_MEMORY = 0xFFFF  # bytes in one block


class Memory(NamedTuple):
    """A piece of memory in a frame."""

    address: int
    data: bytes


class Value(NamedTuple):
    """A trace state variable in a frame."""

    number: int
    value: int


class FrameBuilder:
    """Collects the blocks of one frame."""

    def __init__(self) -> None:
        self._blocks = bytearray()

    def registers(self, data: bytes) -> None:
        """Add all registers of `g`."""
        self._blocks += b"R" + data

    def memory(self, address: int, data: bytes) -> None:
        """Add memory, in as many blocks as needed."""
        for at in range(0, len(data), _MOST_MEMORY):
            piece = data[at : at + _MOST_MEMORY]
            self._blocks += _MEMORY.pack(b"M", address + at, len(piece)) + piece

    def variable(self, number: int, value: int) -> None:
        """Add a trace state variable, whose value is signed in the file."""
        self._blocks += _VARIABLE.pack(b"V", number, value - (value >> 63 << 64))

    @property
    def size(self) -> int:
        """Bytes of blocks."""
        return len(self._blocks)

    def done(self, number: int, address: int) -> "TraceFrame":
        """The finished frame of tracepoint `number` at `address`."""
        return TraceFrame(number, address, bytes(self._blocks))


@lazy_dataclass
class TraceFrame:
    """What was collected at one hit or step."""

    number: int
    """The tracepoint's number."""
    address: int
    """The tracepoint's address."""
    blocks: bytes

    @property
    def size(self) -> int:
        """Bytes in a buffer."""
        return _HEADER.size + len(self.blocks)

    def encoded(self) -> bytes:
        """The frame in the format of the trace file."""
        return _HEADER.pack(self.number & 0xFFFF, len(self.blocks)) + self.blocks

    @cached_property
    def registers(self) -> bytes | None:
        """The registers of `g`; None if they were not collected."""
        return next((block for block in self._each() if isinstance(block, bytes)), None)

    @cached_property
    def memory(self) -> list[Memory]:
        """The pieces of memory, in the order in which they were collected."""
        return [block for block in self._each() if isinstance(block, Memory)]

    @cached_property
    def variables(self) -> dict[int, int]:
        """The trace state variables, by number."""
        return {block.number: block.value for block in self._each() if isinstance(block, Value)}

    @property
    def pc(self) -> int:
        """The guest's PC; the tracepoint's address if registers were not collected."""
        return int(_PC.unpack_from(self.registers, _PC_AT)[0]) if self.registers is not None else self.address

    def read(self, address: int, length: int) -> bytes:
        """Up to `length` bytes from `address` that were collected in one piece; empty if none were."""
        for start, data in self.memory:
            if start <= address < start + len(data):
                return data[address - start : address - start + length]
        return b""

    def _each(self) -> Iterator[bytes | Memory | Value]:
        blocks, at = self.blocks, 0
        while at < len(blocks):
            kind = blocks[at : at + 1]
            if kind == b"R":
                yield blocks[at + 1 : at + 1 + REGISTERS_SIZE]
                at += 1 + REGISTERS_SIZE
            elif kind == b"M":
                _, address, length = _MEMORY.unpack_from(blocks, at)
                at += _MEMORY.size
                yield Memory(address, blocks[at : at + length])
                at += length
            else:
                _, number, value = _VARIABLE.unpack_from(blocks, at)
                yield Value(number, value & (1 << 64) - 1)
                at += _VARIABLE.size


class TraceBuffer:
    """The frames of an experiment, oldest first. Frame 0 is the oldest one that is kept."""

    def __init__(self) -> None:
        self.frames: deque[TraceFrame] = deque()
        self.size = DEFAULT_SIZE
        """The limit in bytes."""
        self.circular = False
        """Whether new frames replace the oldest ones when the buffer is full."""
        self.created = 0
        """The number of frames ever added."""
        self.used = 0
        """Bytes of the frames in it."""
        self._encoded: bytes | None = None

    def clear(self) -> None:
        """Remove all frames."""
        self.frames.clear()
        self.created = self.used = 0
        self._encoded = None

    def add(self, frame: TraceFrame) -> bool:
        """Add a frame; False if there is no room for it."""
        while self.used + frame.size > self.size:
            if not self.circular or not self.frames:
                return False
            self.used -= self.frames.popleft().size
        self.frames.append(frame)
        self.created += 1
        self.used += frame.size
        self._encoded = None
        return True

    def read(self, offset: int, length: int) -> bytes:
        """Up to `length` bytes at `offset` of the frames in the format of the trace file."""
        if self._encoded is None:
            self._encoded = b"".join(frame.encoded() for frame in self.frames)
        return self._encoded[offset : offset + length]
