# SPDX-License-Identifier: GPL-2.0-or-later
"""The functions that a pattern matches."""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Iterable

from armprobe.machine import Symbol, Symbols


def is_pattern(name: str) -> bool:
    """Whether `name` has a wildcard of the shell's: `*`, `?` or `[`."""
    return any(character in name for character in "*?[")


def functions_matching(symbols: Symbols, pattern: str) -> list[Symbol]:
    """The functions whose names match `pattern`, by address. One with several names is given once, by the first.

    A pattern is the shell's (fnmatch, in which capitals count); "module:pattern" looks in one module only. Not all of
    them can be probed.
    """
    module, colon, rest = pattern.partition(":")
    among: Iterable[Symbol] = symbols
    if colon:
        among, pattern = symbols.modules.get(module, ()), rest
    match = re.compile(fnmatch.translate(pattern)).match
    found: dict[int, Symbol] = {}
    for symbol in among:
        if symbol.kind == "function" and match(symbol.name):
            found.setdefault(symbol.address, symbol)
    return list(found.values())
