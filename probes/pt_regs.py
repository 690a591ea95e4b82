# SPDX-License-Identifier: GPL-2.0-or-later
"""`struct pt_regs`: registers of interrupted code, which handlers read and change (arch/arm64/include/asm/ptrace.h)."""

from __future__ import annotations

import ctypes
import errno
from collections.abc import Iterable, Sequence
from typing import Any, Final, Self, cast, overload

from armprobe.machine.core.context import Context

from .errors import ProbeError

_MASK: Final = (1 << 64) - 1
_GENERAL_BYTES: Final = 33 * 8
SP, PC, PSTATE = 31, 32, 33  # doubleword indices; x0 to x30 come first, as in the kernel's structure

# A ctypes array rather than a memoryview. It keeps the low 64 bits of each assigned value, as a u64 does in C, so a
# handler can write `regs.regs[0] = -22`. It refuses an index past x30.
_General: Final = ctypes.c_uint64 * 31
_Words: Final = ctypes.c_uint64 * 34


class _Register:
    """An attribute of `PtRegs` for one of x0 to x30."""

    __slots__ = ("_number",)

    def __init__(self, number: int) -> None:
        self._number = number

    @overload
    def __get__(self, owner: None, kind: object) -> Self: ...
    @overload
    def __get__(self, owner: PtRegs, kind: object) -> int: ...
    def __get__(self, owner: PtRegs | None, kind: object) -> int | Self:
        return self if owner is None else owner.regs[self._number]

    def __set__(self, owner: PtRegs, value: int) -> None:
        owner.regs[self._number] = value


class PtRegs:
    """`regs[0]` to `regs[30]`, `sp`, `pc` and `pstate` (laid out as SPSR_EL1), all unsigned 64-bit.

    `x0` to `x30` are the same as `regs[0]` to `regs[30]`. Assigned values are taken modulo 2**64.
    """

    __slots__ = ("_words", "regs")
    x0, x1, x2, x3, x4, x5, x6, x7, x8, x9, x10, x11, x12, x13, x14, x15 = map(_Register, range(16))
    x16, x17, x18, x19, x20, x21, x22, x23, x24, x25, x26, x27, x28, x29, x30 = map(_Register, range(16, 31))
    regs: ctypes.Array[ctypes.c_uint64]
    _words: Any

    def __init__(self, regs: Iterable[int] = (), sp: int = 0, pc: int = 0, pstate: int = 0) -> None:
        """Registers without a CPU, for `simulate`. Raises ValueError for more than 31 general registers."""
        values = list(regs)
        if len(values) > 31:
            raise ValueError(f"pt_regs has 31 general registers, not {len(values)}")
        words = _Words(*values)
        words[SP], words[PC], words[PSTATE] = sp, pc, pstate
        self._words = words
        self.regs = _General.from_buffer(words)

    @property
    def sp(self) -> int:
        """The stack pointer."""
        return cast(int, self._words[SP])

    @sp.setter
    def sp(self, value: int) -> None:
        self._words[SP] = value

    @property
    def pc(self) -> int:
        """The program counter."""
        return cast(int, self._words[PC])

    @pc.setter
    def pc(self, value: int) -> None:
        self._words[PC] = value

    @property
    def pstate(self) -> int:
        """PSTATE in the layout of SPSR_EL1."""
        return cast(int, self._words[PSTATE])

    @pstate.setter
    def pstate(self, value: int) -> None:
        self._words[PSTATE] = value

    def general(self) -> bytes:
        """x0 to x30, sp and pc as bytes."""
        return bytes(self._words)[:_GENERAL_BYTES]

    def content(self) -> bytes:
        """All registers, as they are kept: to see whether one has changed."""
        return bytes(self._words)

    def decoded(self, content: bytes) -> tuple[Sequence[int], int]:
        """`words` and `pstate` as they were when `content` was taken."""
        words = memoryview(content).cast("Q")
        return words[:PSTATE], words[PSTATE]

    @property
    def words(self) -> Sequence[int]:
        """x0 to x30, sp and pc, in this order, for reading."""
        return cast("Sequence[int]", self._words)

    def argument(self, number: int) -> int:
        """Argument `number`, 0 to 7, of the function whose first instruction was hit (AAPCS64).

        Raises ProbeError for arguments on the stack.
        """
        if not 0 <= number <= 7:
            raise ProbeError(errno.EINVAL, f"argument {number} is not in a register: AAPCS64 passes 0 to 7 in x0 to x7")
        return self.regs[number]

    @property
    def return_value(self) -> int:
        """x0: the function's result, at the stage `return`."""
        return self.regs[0]

    @return_value.setter
    def return_value(self, value: int) -> None:
        self.regs[0] = value

    def __repr__(self) -> str:
        x0, x30 = self.regs[0], self.regs[30]
        return f"<pt_regs pc={self.pc:#x} sp={self.sp:#x} x0={x0:#x} x30={x30:#x} pstate={self.pstate:#x}>"


class LiveRegs(PtRegs):
    """The CPU's own registers at an exception: the machine's shared context, not a copy."""

    __slots__ = ("_context", "content")

    def __init__(self, context: Context) -> None:
        self._context = context
        self.content = context.content  # type: ignore[method-assign]  # without a call in between
        self._words = (ctypes.c_uint64 * 33).from_buffer(context.x)
        self.regs = _General.from_buffer(context.x)

    def general(self) -> bytes:
        """x0 to x30, sp and pc as bytes."""
        return self._context.x.tobytes()

    def decoded(self, content: bytes) -> tuple[Sequence[int], int]:
        """See `PtRegs.decoded`."""
        return self._context.decoded(content)

    @property
    def pstate(self) -> int:
        """PSTATE in the layout of SPSR_EL1."""
        return self._context.pstate

    @pstate.setter
    def pstate(self, value: int) -> None:
        self._context.pstate = value & _MASK


class StackRegs(PtRegs):
    """The `struct pt_regs` that the kretprobe trampoline builds on the guest's stack: a view of `memory`."""

    __slots__ = ("memory",)

    def __init__(self, memory: bytearray | memoryview) -> None:
        self.memory = memory
        self._words = _Words.from_buffer(memory)
        self.regs = _General.from_buffer(memory)

    def general(self) -> bytes:
        """x0 to x30, sp and pc as bytes."""
        return bytes(self.memory[:_GENERAL_BYTES])


class SavedRegs(PtRegs):
    """A read-only copy of registers. Assigning to them raises ProbeError or TypeError.

    `missing` has a bit for each of x0 to x30, sp and pc that is not known: reading it raises ProbeError.
    """

    __slots__ = ("_missing",)

    def __init__(self, words: Sequence[int], missing: int = 0) -> None:
        self._missing = missing
        if missing:
            self._words = _Partial(words, missing)
            self.regs = cast("ctypes.Array[ctypes.c_uint64]", _Partial(words[:31], missing))
            return
        self._words = tuple(words)
        self.regs = cast("ctypes.Array[ctypes.c_uint64]", self._words[:31])

    def __setattr__(self, name: str, value: object) -> None:
        if name in ("sp", "pc", "pstate"):
            reason = "these registers are a record of a hit, not the CPU's: they cannot be changed"
            raise ProbeError(errno.EPERM, reason)
        super().__setattr__(name, value)

    def __repr__(self) -> str:
        return "<pt_regs, recorded in part>" if self._missing else super().__repr__()


class _Partial(tuple[int, ...]):
    """Registers of which some are not known."""

    missing: int

    def __new__(cls, words: Sequence[int], missing: int) -> Self:
        made = super().__new__(cls, words)
        made.missing = missing
        return made

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, int) and self.missing >> index % len(self) & 1:
            name = {SP: "sp", PC: "pc"}.get(index, f"x{index}")
            raise ProbeError(errno.ENODATA, f"{name} is not recorded: the probe's record chooses other registers")
        return super().__getitem__(index)
