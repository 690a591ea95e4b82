# SPDX-License-Identifier: GPL-2.0-or-later
"""The kernel modules that a Linux guest has loaded, as its own /proc tells of them."""

from __future__ import annotations

import re
from typing import Final

from .symbols import Symbols

# name, size in bytes, ..., address (proc(5), "/proc/modules"; root sees addresses, others zeros)
_MODULE: Final = re.compile(r"^(\S+) (\d+) .* (0x[0-9a-f]+)\b", re.MULTILINE)
# address, letter as nm(1) has it, name, module; the kernel's own symbols have no module
_SYMBOL: Final = re.compile(r"^([0-9a-f]+) (\S) (\S+)\s+\[([^]]+)\]$", re.MULTILINE)


def loaded_modules(modules: str, kallsyms: str) -> dict[str, Symbols]:
    """The symbols of each module, for `Symbols.modules`: from the contents of /proc/modules and /proc/kallsyms.

    Of the latter, the lines that end in [module] suffice. What is no such line is passed over.
    """
    rows: dict[str, list[tuple[str, int, str]]] = {}
    for address, letter, name, module in _SYMBOL.findall(kallsyms):
        rows.setdefault(module, []).append((name, int(address, 16), letter))
    ends = {name: int(start, 16) + int(size) for name, size, start in _MODULE.findall(modules)}
    return {name: Symbols.from_kallsyms(rows.get(name, ()), end=end) for name, end in ends.items()}
