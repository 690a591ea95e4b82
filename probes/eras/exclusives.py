# SPDX-License-Identifier: GPL-2.0-or-later
"""Refuses probes in an exclusive sequence: between a load exclusive and its store.

The breakpoint exception clears the exclusive monitor (Arm ARM, B2.12). A probe there makes the store fail every time,
and the loop around it endless.
"""

from __future__ import annotations

import errno
from collections.abc import Callable

from armprobe.machine import MachineError
from armprobe.probes.errors import ProbeError

from .era import ExclusiveScan


def refuse_in_exclusive_sequence(
    rules: ExclusiveScan, read: Callable[[int], int], address: int, start: int, describe: Callable[[int], str]
) -> None:
    """Raise ProbeError (EINVAL) if the instruction at `address` follows a load exclusive, or that cannot be told.

    `start` and `read` are those of `load_exclusive_before`; `describe` names an address.
    """
    try:
        exclusive = load_exclusive_before(rules, read, address, start)
    except MachineError as error:
        reason = f"the instructions before {describe(address)} cannot be read: {error}"
        raise ProbeError(errno.EINVAL, reason) from None
    if exclusive is not None:
        raise ProbeError(
            errno.EINVAL,
            f"{describe(address)} is behind the load exclusive at {describe(exclusive)}: an exception "
            "between that and its store makes the store fail, and the guest would try again for ever",
            "an instruction behind a load exclusive",
        )


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
