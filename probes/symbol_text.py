# SPDX-License-Identifier: GPL-2.0-or-later
"""The symbols that the kernel finds for addresses, and addresses as it prints them with these."""

from armprobe.machine import Symbol, Symbols


def kernel_symbol_at(symbols: Symbols, address: int) -> tuple[Symbol, int] | None:
    """The symbol that the kernel finds for `address`, and the offset from it; None if it finds none."""
    found = symbols.at(address)
    # Without CONFIG_KALLSYMS_ALL the kernel has no symbols for data, so _etext seems to cover all of it.
    return None if found is None or found[0].name == "_etext" else found


def symbol_and_size(symbols: Symbols, address: int) -> str:
    """`address` as the kernel's %pS prints it: "kfree+0x0/0x190", followed by " [module]" in a module."""
    found = kernel_symbol_at(symbols, address)
    if found is None:
        return f"{address:#x}"
    symbol, offset = found
    return f"{symbol.name}+{offset:#x}/{symbol.size:#x}{symbols.in_module(address)}"
