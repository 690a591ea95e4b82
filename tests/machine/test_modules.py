# SPDX-License-Identifier: GPL-2.0-or-later
"""Symbols of kernel modules, from what Linux 6.1 prints in /proc/modules and /proc/kallsyms."""

from armprobe.machine.modules import loaded_modules
from armprobe.machine.symbols import Symbol, Symbols

MODULES = """\
oracle 53248 0 - Live 0xffff800000be0000 (OE)
failover 16384 1 net_failover, Live 0xffff800000bd6000
"""
KALLSYMS = """\
ffff8000082f04d0 T kfree
ffff800000be0ec0 t oracle_add	[oracle]
ffff800000be0ed4 t note	[oracle]
ffff800000bd6004 t note	[failover]
"""
KERNEL = [
    Symbol("kfree", 0xFFFF_8000_082F_04D0, 0x234, "function"),
    Symbol("init", 0xFFFF_8000_0830_0000, 4, "function"),
]


def guest() -> Symbols:
    symbols = Symbols(KERNEL)
    symbols.modules.update(loaded_modules(MODULES, KALLSYMS))
    return symbols


def test_symbol_by_name() -> None:
    symbols = guest()
    assert symbols["oracle_add"].address == 0xFFFF_8000_00BE_0EC0
    assert symbols["oracle:note"].address == 0xFFFF_8000_00BE_0ED4
    assert symbols["failover:note"].address == 0xFFFF_8000_00BD_6004
    assert "oracle:kfree" not in symbols
    assert "nobody:note" not in symbols


def test_kernel_comes_before_a_module() -> None:
    symbols = guest()
    row = ("kfree", 0xFFFF_8000_00BE_0000, "t")
    symbols.modules["oracle"] = Symbols.from_kallsyms([row], end=0xFFFF_8000_00BE_1000)
    assert symbols["kfree"] == KERNEL[0]
    assert symbols["oracle:kfree"].address == row[1]


def test_symbol_at_an_address() -> None:
    symbols = guest()
    assert symbols.at(0xFFFF_8000_00BE_0EC4) == (Symbol("oracle_add", 0xFFFF_8000_00BE_0EC0, 0x14, "function"), 4)
    assert symbols.describe(0xFFFF_8000_00BE_C000) == "note+0xb12c", "up to the end of the module, as kallsyms has it"
    assert symbols.at(0xFFFF_8000_00BE_D000) is None, "0xffff800000be0000 + 53248"
    assert symbols.at(0xFFFF_8000_00BE_0000) is None
    assert symbols.module_at(0xFFFF_8000_00BD_6008) == "failover"
    assert symbols.module_at(KERNEL[0].address) is None


def test_all_are_in_order() -> None:
    symbols = guest()
    assert [symbol.name for symbol in symbols] == ["note", "oracle_add", "note", "kfree", "init"]
    assert len(symbols) == 5
    assert symbols.matching("", 3) == ["init", "kfree", "note"]
    assert [symbol.name for symbol in symbols.functions()] == [symbol.name for symbol in symbols]


def test_module_that_goes() -> None:
    symbols = guest()
    del symbols.modules["oracle"]
    assert symbols.at(0xFFFF_8000_00BE_0EC4) is None
    assert "oracle_add" not in symbols


def test_written_and_read() -> None:
    symbols = guest()
    again = Symbols.from_bytes(symbols.to_bytes())
    assert list(again) == list(symbols)
    assert again.modules.keys() == symbols.modules.keys()
    assert again.at(0xFFFF_8000_00BE_C000) == symbols.at(0xFFFF_8000_00BE_C000)
