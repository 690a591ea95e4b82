# SPDX-License-Identifier: GPL-2.0-or-later
"""Addresses as the kernel prints them with their symbols."""

from armprobe.machine import Symbols


def symbol_and_size(symbols: Symbols, address: int) -> str:
    """`address` as the kernel's %pS prints it: "kfree+0x0/0x190", followed by " [module]" in a module."""
    found = symbols.at(address)
    # Without CONFIG_KALLSYMS_ALL the kernel has no symbols for data, so _etext seems to cover all of it.
    if found is None or found[0].name == "_etext":
        return f"{address:#x}"
    symbol, offset = found
    return f"{symbol.name}+{offset:#x}/{symbol.size:#x}{symbols.in_module(address)}"
