# SPDX-License-Identifier: GPL-2.0-or-later
"""Numbers that people read in hexadecimal, and addresses with their symbols."""

from __future__ import annotations

from typing import Annotated, Final

from armprobe.machine.lazy_dataclass import lazy_dataclass

HEX: Final = "hex"
Hex = Annotated[int, HEX]
"""An unsigned number that people read in hexadecimal: an address, a register, an instruction."""


@lazy_dataclass
class Location:
    """An address and the symbol that covers it.

    symbol: the symbol's name; None where no symbol covers the address.
    offset, size: bytes from the symbol's start to the address, and bytes of the symbol.
    module: the kernel module of the symbol; None if it has none.
    scratch: whether the address is in the machine's own memory, which has the slots and the trampoline of probes.
    """

    address: Hex
    symbol: str | None
    offset: int
    size: int
    module: str | None
    scratch: bool
