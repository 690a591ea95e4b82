# SPDX-License-Identifier: GPL-2.0-or-later
"""Finds the functions that a pattern matches."""

from __future__ import annotations

from armprobe.machine import Symbol, Symbols


def is_pattern(name: str) -> bool:
    """Whether `name` contains a shell wildcard: `*`, `?` or `[`."""
    return any(character in name for character in "*?[")


def functions_matching(symbols: Symbols, pattern: str) -> list[Symbol]:
    """The functions whose names match `pattern`, by address. One with several names appears once, by its first.

    A pattern is the shell's (fnmatch, case-sensitive). "module:pattern" searches only that module. Not all of the
    functions can be probed.
    """
    module, colon, rest = pattern.partition(":")
    if colon:
        if module not in symbols.modules:
            return []
        symbols, pattern = symbols.modules[module], rest
    found: dict[int, Symbol] = {}
    for symbol in symbols.search(pattern):
        if symbol.kind == "function":
            found.setdefault(symbol.address, symbol)
    return list(found.values())
