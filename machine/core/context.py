# SPDX-License-Identifier: GPL-2.0-or-later
"""All registers of a core, in one buffer.

Reading 34 registers one by one takes 44 microseconds. A `Context` gives names to the parts of the CPU's own state
(`Layout.live`). Where that was not found, it is a copy, and copying all out and back takes a microsecond or two.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from typing import Final

import unicorn

from .calibration import Layout
from .engine import LIBRARY, engine_handle
from .pstate import BTYPE, DAIF, NZCV, N, V, Z

_KEPT_APART: Final = NZCV | DAIF | BTYPE  # the bits that the `pstate` word of the context does not hold


class Context:
    """The CPU's registers. A change may take effect at once or when the context is stored.

    `address` is where the buffer begins. `copy` is the engine's context if this is one, else 0. `x` is x0..x30, sp and
    pc as a writable view of 33 u64. `doubles` is a view of the whole context, for the offsets of `layout` (in bytes).
    `content()` is x0 to x30, sp, pc and PSTATE as the context has them, with what is between them, for `decoded`.
    """

    def __init__(self, engine: unicorn.Uc, layout: Layout) -> None:
        self.layout = layout
        self._engine = engine  # which owns the memory
        self.copy = 0
        if layout.live is None:
            size = self._allocate(engine)
        else:
            pointer, delta = layout.live
            self.address, size = ctypes.c_uint64.from_address(engine_handle(engine) + pointer).value + delta, layout.end
        raw = memoryview((ctypes.c_char * size).from_address(self.address)).cast("B")
        self._raw = raw
        self.x = raw[layout.x : layout.x + 33 * 8].cast("Q")
        self._words = raw[: size - size % 4].cast("I")
        last = max(layout.pstate, layout.nf, layout.zf, layout.cf, layout.vf, layout.daif, layout.btype)
        # A view's own method: it is called twice for each handler.
        self.content: Callable[[], bytes] = raw[layout.x : last + 4].tobytes
        self.doubles = raw[: size - size % 8].cast("Q")
        self._nf, self._zf, self._cf, self._vf = (o // 4 for o in (layout.nf, layout.zf, layout.cf, layout.vf))
        self._daif, self._btype, self._pstate = layout.daif // 4, layout.btype // 4, layout.pstate // 4
        self._vectors = [slice(at, at + 16) for at in range(layout.v, layout.v + 32 * layout.v_stride, layout.v_stride)]
        self._syndrome, self._fault = layout.syndrome // 4, layout.fault_address // 8
        self._exclusive = layout.exclusive // 8
        words = layout.pstate, layout.nf, layout.zf, layout.cf, layout.vf, layout.daif, layout.btype, layout.syndrome
        doubles = (
            layout.sp_el0, layout.sp_el1, layout.elr_el1, layout.spsr_el1, layout.esr_el1, layout.far_el1,
            layout.fault_address,
        )  # fmt: skip
        self._code_state = [
            slice(layout.x, layout.x + 33 * 8),
            slice(layout.exclusive, layout.exclusive + 24),
            *(slice(at, at + 4) for at in words),
            *(slice(at, at + 8) for at in doubles),
        ]

    def _allocate(self, engine: unicorn.Uc) -> int:
        """Make this a copy, which `load` and `store` transfer. Returns its size in bytes."""
        self._copy = engine.context_save()
        self.address = self.copy = int(self._copy.context.value)
        # A context begins with the size to copy.
        ctypes.c_size_t.from_address(self.copy).value = self.layout.end - self.layout.start
        # The binding's own methods take twice as long.
        cpu, copy = ctypes.c_void_p(engine_handle(engine)), ctypes.c_void_p(self.copy)
        self._transfers = LIBRARY.uc_context_save, LIBRARY.uc_context_restore, cpu, copy
        return int(self._copy.size)

    def load(self) -> None:
        """Bring this context up to date with the CPU."""
        if self.copy:
            save, _, cpu, copy = self._transfers
            if status := save(cpu, copy):
                raise unicorn.UcError(status)

    def store(self) -> None:
        """Make changes of this context take effect. After a change of exception level follow with `Core.refresh`."""
        if self.copy:
            _, restore, cpu, copy = self._transfers
            if status := restore(cpu, copy):
                raise unicorn.UcError(status)

    @property
    def sp(self) -> int:
        """The current stack pointer, SP_EL0 or SP_EL1 as PSTATE selects."""
        return self.x[31]

    @sp.setter
    def sp(self, value: int) -> None:
        self.x[31] = value

    @property
    def pc(self) -> int:
        """The program counter; in an exception hook, the preferred return address."""
        return self.x[32]

    @pc.setter
    def pc(self, value: int) -> None:
        self.x[32] = value

    @property
    def daif(self) -> int:
        """PSTATE.DAIF, at its place in SPSR (bits 6 to 9)."""
        return self._words[self._daif]

    @daif.setter
    def daif(self, value: int) -> None:
        self._words[self._daif] = value & DAIF

    @property
    def el(self) -> int:
        """The current exception level, 0 or 1."""
        return self._words[self._pstate] >> 2 & 3

    @property
    def pstate(self) -> int:
        """PSTATE in the layout of SPSR_EL1 (Arm ARM, C5.2.18)."""
        return self._pstate_of(self._words, 0)

    @pstate.setter
    def pstate(self, value: int) -> None:
        words = self._words
        words[self._nf] = value & N
        words[self._zf] = 0 if value & Z else 1
        words[self._cf] = value >> 29 & 1
        words[self._vf] = (value & V) << 3
        words[self._daif] = value & DAIF
        words[self._btype] = (value & BTYPE) >> 10
        words[self._pstate] = value & ~_KEPT_APART & 0xFFFF_FFFF

    def _pstate_of(self, words: memoryview[int], first: int) -> int:
        """PSTATE of the `words` of a context from the one with the index `first` on."""
        return (
            words[self._pstate - first] & ~_KEPT_APART
            | words[self._daif - first]
            | words[self._btype - first] << 10
            | words[self._nf - first] & N
            | (0 if words[self._zf - first] else Z)
            | words[self._cf - first] << 29
            | words[self._vf - first] >> 3 & V
        )

    def decoded(self, content: bytes) -> tuple[memoryview[int], int]:
        """x0 to x30, sp and pc, and PSTATE, of a result of `content`."""
        words = memoryview(content).cast("B")
        return words[: 33 * 8].cast("Q"), self._pstate_of(words.cast("I"), self.layout.x // 4)

    @property
    def syndrome(self) -> int:
        """The value for ESR_EL1 for the exception just raised."""
        return self._words[self._syndrome]

    @property
    def fault_address(self) -> int:
        """The value for FAR_EL1 for the abort just raised."""
        return self.doubles[self._fault]

    def vector_bytes(self) -> bytes:
        """v0 to v31, 16 bytes each, little-endian."""
        raw = self._raw
        return b"".join([raw[place] for place in self._vectors])

    def vectors(self) -> dict[str, int]:
        """v0 to v31 by name."""
        raw = self._raw
        return {f"v{i}": int.from_bytes(raw[place], "little") for i, place in enumerate(self._vectors)}

    def system(self, offset: int) -> int:
        """The system register at `offset` bytes (a field of `Layout`) of the context."""
        return self.doubles[offset // 8]

    def set_system(self, offset: int, value: int) -> None:
        """Change the system register at `offset` bytes (a field of `Layout`) of the context."""
        self.doubles[offset // 8] = value

    @property
    def exclusive(self) -> tuple[int, int, int]:
        """The local exclusive monitor: the marked address (all ones if none) and the two doublewords read there."""
        address, low, high = self.doubles[self._exclusive : self._exclusive + 3]
        return address, low, high

    @exclusive.setter
    def exclusive(self, value: tuple[int, int, int]) -> None:
        for place, word in enumerate(value, self._exclusive):
            self.doubles[place] = word

    def save(self) -> bytes:
        """All registers, for `restore` later in this process."""
        return bytes(self._raw[self.layout.start : self.layout.end])

    def restore(self, saved: bytes) -> None:
        """Fill the context with a result of `save`."""
        self._raw[self.layout.start : self.layout.end] = saved

    def restore_code(self, saved: bytes, vectors: bool) -> None:
        """Restore from a result of `save` what belongs to the code that was executed then, and v0 to v31 if `vectors`.

        That is x0 to x30, SP, PC, PSTATE, and the registers of exceptions. Others, such as TTBR0_EL1, stay: they belong
        to the CPU, and may have changed for good.
        """
        start = self.layout.start
        for place in self._code_state + (self._vectors if vectors else []):
            self._raw[place] = saved[place.start - start : place.stop - start]
