# SPDX-License-Identifier: GPL-2.0-or-later
"""Executes code of the guest's beside the guest, which does not change (interpret.c)."""

from __future__ import annotations

import contextlib
import ctypes
import enum
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final

from armprobe.machine.errors import MachineError

from .binding import function, structure

ROOM: Final = 0x00AA_0000_0000_0000
"""The address of the room: no address of the guest's, as it is in neither half (Arm ARM, D8.2)."""
ROOM_SIZE: Final = 1 << 17
_LIMIT: Final = 200_000  # instructions
_MRS: Final = 0xD530_0000
_BRK: Final = 0xD420_0000

_INTERPRET: Final = function("armprobe_interpret", ctypes.c_uint32, ctypes.c_void_p)
_CLEAR: Final = function("armprobe_interpreter_clear", None, ctypes.c_void_p)
_STORE: Final = function("armprobe_interpreter_store", ctypes.c_bool, ctypes.c_void_p, ctypes.c_uint64, ctypes.c_uint64)
_READ: Final = function(
    "armprobe_interpreter_read", ctypes.c_bool, ctypes.c_void_p, ctypes.c_uint64, ctypes.c_char_p, ctypes.c_uint64
)


class Interpreted(enum.IntEnum):
    """Why the code is not executed further: `enum interpreted` of native.h."""

    STOPPED = 2
    LIMIT = 3
    FAULT = 4
    UNKNOWN = 5
    SYSTEM = 6
    FULL = 7


@structure("stored")
class _Stored(ctypes.Structure):
    pass


@structure("interpreter")
class _Interpreter(ctypes.Structure):
    core: int
    x: ctypes.Array[ctypes.c_uint64]
    pstate: int
    sp_el0: int
    tpidr_el1: int
    stops: int
    stop_count: int
    left: int
    room: int
    room_size: int
    bytes: int
    fault: int
    word: int
    instead: int


class _Endless(MachineError):
    """The code does not get to where it is to stop."""


class Interpreter:
    """Executes code with its own registers, on the guest's memory, and keeps apart what the code stores.

    `core` is the address of the `struct core`. `register` gives the guest's system registers, by op0, op1, CRn, CRm and
    op2; `original` the instruction at an address where there is a BRK. There is room for `ROOM_SIZE` bytes at the
    address `ROOM`, which only the code sees.
    """

    def __init__(
        self, core: int, register: Callable[[tuple[int, int, int, int, int]], int], original: Callable[[int], int]
    ) -> None:
        self._register, self._original = register, original
        self.room: Any = (ctypes.c_uint8 * ROOM_SIZE)()
        self._stops: Any = None
        self._state = _Interpreter(core=core, room=ROOM, room_size=ROOM_SIZE, bytes=ctypes.addressof(self.room))
        self._address = ctypes.addressof(self._state)
        self.x = self._state.x
        """x0 to x30, sp and pc."""

    def begin(self, words: Sequence[int], pstate: int, sp_el0: int, tpidr_el1: int) -> None:
        """Have these registers, and forget what code has stored."""
        self.x[:] = list(words[:33])
        self._state.pstate, self._state.sp_el0, self._state.tpidr_el1 = pstate & 0xFFFF_FFFF, sp_el0, tpidr_el1
        self._state.left = _LIMIT
        _CLEAR(self._address)

    def stop_at(self, addresses: Iterable[int]) -> None:
        """Stop before these instructions, from now on."""
        ordered = list(addresses)
        self._stops = (ctypes.c_uint64 * len(ordered))(*ordered)
        self._state.stops, self._state.stop_count = ctypes.addressof(self._stops), len(ordered)

    @property
    def address(self) -> int:
        """Of the structure that C has."""
        return self._address

    @property
    def flags(self) -> int:
        """N, Z, C and V, as in PSTATE."""
        return int(self._state.pstate) & 0xF000_0000

    def step(self) -> None:
        """Execute one instruction. Raises as `run` does."""
        self._state.left = 1
        with contextlib.suppress(_Endless):
            self.run()

    def run(self) -> int:
        """Execute code from the PC to one of the stops, and return its address.

        Raises MachineError, saying why, if the code does not get there.
        """
        state = self._state
        while (why := _INTERPRET(self._address)) != Interpreted.STOPPED:
            pc, word = self.x[32], state.word
            if why == Interpreted.SYSTEM and word & 0xFFF0_0000 == _MRS:
                which = 2 + (word >> 19 & 1), word >> 16 & 7, word >> 12 & 15, word >> 8 & 15, word >> 5 & 7
                if word & 31 != 31:
                    self.x[word & 31] = self._register(which)
                self.x[32] = pc + 4
                if any(self.x[32] == each for each in self._stops):
                    break
            elif why == Interpreted.UNKNOWN and word & 0xFFE0_001F == _BRK and (own := self._original(pc)) != word:
                state.instead = own
            elif why == Interpreted.LIMIT:
                raise _Endless(f"{_LIMIT:,} instructions were executed")
            elif why == Interpreted.FAULT:
                raise MachineError(f"the instruction at {pc:#x} accesses {state.fault:#x}, which is not mapped")
            elif why == Interpreted.FULL:
                raise MachineError("it stores too much")
            else:
                raise MachineError(f"the instruction {word:#010x} at {pc:#x} is not interpreted")
        return int(self.x[32])

    def store(self, address: int, value: int) -> None:
        """Have the code find a doubleword in memory."""
        if not _STORE(self._address, address, value):
            raise MachineError("it stores too much")

    def put(self, address: int, data: bytes) -> None:
        """Put bytes into the room."""
        ctypes.memmove(self._state.bytes + address - ROOM, data, len(data))

    def read(self, address: int, size: int) -> bytes:
        """Memory as the code finds it. Raises MachineError where the guest maps none."""
        data = ctypes.create_string_buffer(size)
        if not _READ(self._address, address, data, size):
            raise MachineError(f"{address:#x} is not mapped")
        return data.raw
