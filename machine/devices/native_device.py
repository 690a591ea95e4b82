# SPDX-License-Identifier: GPL-2.0-or-later
"""The base of devices whose registers and state are in the C core."""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from typing import Any, ClassVar

from armprobe.machine.native.binding import function


class NativeDevice(ctypes.Structure):
    """A device whose structure is shared with C, where armprobe_CODE_read and armprobe_CODE_write do its accesses.

    A subclass names CODE: `class Gic(NativeDevice, code="gic")`.
    """

    name: str
    timed: ClassVar = False
    """Whether what an access does depends on guest time."""
    native_read: ClassVar[Callable[..., Any]]
    native_write: ClassVar[Callable[..., Any]]

    def __init_subclass__(cls, code: str) -> None:
        at, offset, size, value = ctypes.c_void_p, ctypes.c_uint64, ctypes.c_uint32, ctypes.c_uint64
        cls.native_read = function(f"armprobe_{code}_read", value, at, offset, size)
        cls.native_write = function(f"armprobe_{code}_write", None, at, offset, size, value)

    @property
    def at(self) -> int:
        """The address of the structure in this process."""
        return ctypes.addressof(self)

    def read(self, offset: int, size: int) -> int:
        """The value of the register at `offset`."""
        return int(type(self).native_read(ctypes.addressof(self), offset, size))

    def write(self, offset: int, size: int, value: int) -> None:
        """Write the register at `offset`."""
        type(self).native_write(ctypes.addressof(self), offset, size, value)
