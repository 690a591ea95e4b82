# SPDX-License-Identifier: GPL-2.0-or-later
"""Symbols of kernel modules among those of the kernel."""

import struct

import pytest

from armprobe.kernel.btf import Btf
from armprobe.kernel.modules import _Layout
from armprobe.machine import MachineError
from armprobe.machine.symbols import Symbol, Symbols
from tests.machine.mutants import _btf_seeds

KERNEL = [
    Symbol("kfree", 0xFFFF_8000_082F_04D0, 0x234, "function"),
    Symbol("init", 0xFFFF_8000_0830_0000, 4, "function"),
]


def guest() -> Symbols:
    symbols = Symbols(KERNEL)
    symbols.modules = {
        "oracle": Symbols.from_kallsyms(
            [("oracle_add", 0xFFFF_8000_00BE_0EC0, "t"), ("note", 0xFFFF_8000_00BE_0ED4, "t")],
            end=(1 << 64) - 1,
            areas=[(0xFFFF_8000_00BE_0000, 0xFFFF_8000_00BE_2000), (0xFFFF_8000_00BE_2000, 0xFFFF_8000_00BE_D000)],
        ),
        "failover": Symbols.from_kallsyms([("note", 0xFFFF_8000_00BD_6004, "t")], end=0xFFFF_8000_00BD_A000),
    }
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
    symbols.modules = {"oracle": Symbols.from_kallsyms([row], end=0xFFFF_8000_00BE_1000)}
    assert symbols["kfree"] == KERNEL[0]
    assert symbols["oracle:kfree"].address == row[1]


def test_symbol_at_an_address() -> None:
    symbols = guest()
    assert symbols.at(0xFFFF_8000_00BE_0EC4) == (Symbol("oracle_add", 0xFFFF_8000_00BE_0EC0, 0x14, "function"), 4)
    assert symbols.describe(0xFFFF_8000_00BE_C000) == "note+0xb12c [oracle]", "data, as kallsyms has it"
    assert symbols["oracle:note"].size == 0x112C, "up to the end of its area"
    assert symbols.at(0xFFFF_8000_00BE_D000) is None
    assert symbols.at(0xFFFF_8000_00BE_0000) is None
    assert symbols.module_at(0xFFFF_8000_00BD_6008) == "failover"
    assert symbols.module_at(KERNEL[0].address) is None


def test_all_are_in_order() -> None:
    symbols = guest()
    assert [symbol.name for symbol in symbols] == ["note", "oracle_add", "note", "kfree", "init"]
    assert len(symbols) == 5
    assert symbols.matching("", 3) == ["init", "kfree", "note"]
    assert [symbol.name for symbol in symbols.functions()] == [symbol.name for symbol in symbols]


def test_unknown_module() -> None:
    symbols = guest()
    with pytest.raises(MachineError, match="'nobody:note': no module nobody is loaded"):
        symbols["nobody:note"]
    symbols.why_no_modules = "it tells nothing"
    with pytest.raises(MachineError, match="the modules of this guest are not known, as it tells nothing"):
        symbols["nobody:note"]


def test_only_the_kernels_own_are_written() -> None:
    assert list(Symbols.from_bytes(guest().to_bytes())) == KERNEL


def test_type_information_with_memories_of_no_size() -> None:
    """A struct module has seven of them side by side (MOD_MEM_NUM_TYPES, include/linux/module.h)."""
    data = _btf_seeds()[0].data
    layout = _Layout(Btf(data))
    assert [base - layout.memories[0][0] for base, _, _ in layout.memories] == [16 * number for number in range(7)]
    two_members = 4 << 24 | 2
    none = data.replace(struct.pack("<2I", two_members, 16), struct.pack("<2I", two_members, 0))
    with pytest.raises(MachineError, match="does not say how large a struct module_memory is"):
        _Layout(Btf(none))
