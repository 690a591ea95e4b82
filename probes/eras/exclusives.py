# SPDX-License-Identifier: GPL-2.0-or-later
"""Finds out whether an instruction is between a load exclusive and its store.

The breakpoint exception clears the exclusive monitor (Arm ARM, B2.12). A probe there makes the store fail every time,
and the loop around it endless.
"""

from __future__ import annotations

from collections.abc import Callable

from .era import ExclusiveScan


def load_exclusive_before(rules: ExclusiveScan, read: Callable[[int], int], address: int, start: int) -> int | None:
    """The address of the load exclusive that the instruction at `address` follows, or None.

    The scan stops at the address `start`. `read` gives the instruction at an address. The first exclusive found going
    backwards decides (`is_probed_address_atomic`).
    """
    for at in range(address - 4, max(start, address - 4 * rules.reach) - 1, -4):
        kind = read(at) & rules.mask
        if kind == rules.store:
            return None
        if kind == rules.load:
            return at
    return None
