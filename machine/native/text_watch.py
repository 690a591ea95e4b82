# SPDX-License-Identifier: GPL-2.0-or-later
"""Watches functions of the guest that read or patch its text, where there are probes (text_watch.c)."""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Iterable
from typing import Any

from .binding import structure
from .code_hook import Ask, CodeHook


@structure("text_watch")
class _TextWatch(ctypes.Structure):
    core: int
    addresses: int
    count: int
    before: int
    member: int
    indirect: bool
    ask: int


class TextWatch:
    """Calls `ask` at the entry of a function if what it is about to read or patch is one of the watched addresses.

    That is the address in x0 or, with `member`, in the doubleword at that offset of what x0 points to, and the `before`
    bytes in front of it. `core` is the address of the `struct core`. `ask` must not raise.
    """

    def __init__(self, core: int, function: int, ask: Callable[[], None], before: int, member: int | None) -> None:
        self._ask = Ask(ask)
        self._state = _TextWatch(
            core=core, before=before, member=member or 0, indirect=member is not None, ask=self._ask.address
        )
        self._addresses: Any = None
        self._hook = CodeHook(core, "armprobe_on_text", ctypes.addressof(self._state), function)

    def watch(self, addresses: Iterable[int]) -> None:
        """Watch these addresses, in place of those before."""
        ordered = sorted(addresses)
        self._addresses = (ctypes.c_uint64 * len(ordered))(*ordered)
        self._state.addresses, self._state.count = ctypes.addressof(self._addresses), len(ordered)

    def remove(self) -> None:
        """Watch no more."""
        self._hook.remove()
