# SPDX-License-Identifier: GPL-2.0-or-later
"""Hooks of the engine that call a function of the C core. The binding's call Python functions only."""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from typing import Any, Final

import unicorn

from armprobe.machine.core.engine import LIBRARY as UNICORN

from .binding import LIBRARY, function
from .structures import NativeCore

_ADD: Final = function(
    "armprobe_hook_code",
    ctypes.c_int,
    *(ctypes.c_void_p, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_uint64, ctypes.c_uint64),
)

_Ask: Final = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_uint64, ctypes.c_uint32, ctypes.c_void_p)


class Ask:
    """A function of Python's that a callback of the C core calls: a `hook_code_t` at `address`. It must not raise."""

    def __init__(self, function: Callable[[], None]) -> None:
        self._callback: Any = _Ask(lambda *_: function())
        self.address = ctypes.cast(self._callback, ctypes.c_void_p).value or 0


class CodeHook:
    """Calls `callback`, a function of the C core, before each instruction at `address`, or at all if that is None.

    `core` is the address of the `struct core`, and `user` that of the function's own data. Code translated earlier does
    not call it.
    """

    def __init__(self, core: int, callback: str, user: int, address: int | None) -> None:
        self._core, self._hook = core, ctypes.c_size_t()
        first, last = (1, 0) if address is None else (address, address)
        self._done(_ADD(core, ctypes.byref(self._hook), LIBRARY[callback], user, first, last))

    def remove(self) -> None:
        """Call it no more."""
        engine = NativeCore.from_address(self._core).uc
        self._done(UNICORN.uc_hook_del(ctypes.c_void_p(engine), self._hook))

    @staticmethod
    def _done(status: int) -> None:
        if status != unicorn.UC_ERR_OK:
            raise unicorn.UcError(status)
