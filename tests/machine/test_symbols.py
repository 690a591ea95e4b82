# SPDX-License-Identifier: GPL-2.0-or-later
"""Symbols by name and address, against the plainest search there is."""

import fnmatch
import pickle
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from armprobe.machine.errors import MachineError
from armprobe.machine.symbols import Kind, Symbol, Symbols

NAMES = st.text("abc_$", min_size=1, max_size=6).filter(lambda name: not name.startswith("$"))
KINDS: st.SearchStrategy[Kind] = st.sampled_from(("function", "object", "other"))
ROWS = st.lists(st.builds(Symbol, NAMES, st.integers(0, 60), st.integers(0, 20), KINDS), max_size=20)


def end_of(symbol: Symbol, rows: list[Symbol]) -> int:
    """Where `symbol` ends: after its size, or at the next address that has a symbol, if it states none."""
    later = [row.address for row in rows if row.address > symbol.address]
    return symbol.address + symbol.size if symbol.size else min(later, default=symbol.address)


@given(ROWS)
def test_every_symbol_is_found_by_name(rows: list[Symbol]) -> None:
    symbols = Symbols(rows)
    assert len(symbols) == len(rows)
    for row in rows:
        found = symbols[row.name]
        assert row.name in symbols
        assert found.address == min(other.address for other in rows if other.name == row.name)
    assert symbols.get("zz") is None
    assert "zz" not in symbols


@given(ROWS, st.integers(0, 80))
def test_symbol_at_an_address_covers_it_and_is_the_nearest(rows: list[Symbol], address: int) -> None:
    found = Symbols(rows).at(address)
    covering = [
        row for row in rows if row.address <= address and (address == row.address or address < end_of(row, rows))
    ]
    nearest = max((row.address for row in rows if row.address <= address), default=None)
    if found is None:
        assert not [row for row in covering if row.address == nearest]
        return
    symbol, offset = found
    assert symbol.address + offset == address
    assert (symbol.name, symbol.address) in {(row.name, row.address) for row in covering}
    at_nearest = [row.kind for row in covering if row.address == nearest]
    if "function" in at_nearest:
        assert (symbol.address, symbol.kind) == (nearest, "function")
    elif symbol.address != nearest:
        assert symbol.kind == "function", "only a function may enclose"
        assert "object" not in at_nearest


def test_label_in_a_function_gives_way_to_it() -> None:
    rows = [
        Symbol("memcpy", 0x100, 0x40, "function"),
        Symbol("tail", 0x120, 0, "other"),
        Symbol("end", 0x140, 0, "other"),
    ]
    symbols = Symbols(rows)
    assert symbols.describe(0x124) == "memcpy+0x24"
    assert symbols["tail"].address == 0x120


def test_description_is_the_nearest_name_or_the_number() -> None:
    symbols = Symbols([Symbol("kfree", 0x1000, 0x20, "function")])
    assert symbols.describe(0x1010) == "kfree+0x10"
    assert symbols.describe(0x1000) == "kfree"
    assert symbols.describe(0x1020) == "0x1020"
    assert symbols.describe(0xFFF) == "0xfff"


def test_symbol_without_a_size_extends_to_the_next_address() -> None:
    rows = [("a", 0x10, "T"), ("alias", 0x10, "t"), ("b", 0x30, "d"), ("last", 0x40, "B")]
    symbols = Symbols.from_kallsyms(rows)
    assert [(s.name, s.size, s.kind) for s in symbols] == [
        ("a", 0x20, "function"),
        ("alias", 0x20, "function"),
        ("b", 0x10, "object"),
        ("last", 0, "object"),
    ]
    assert symbols.describe(0x2F) == "a+0x1f"
    assert Symbols([Symbol("a", 0x10, 0, "function")], end=0x18)["a"].size == 8


def test_mapping_symbols_are_left_out() -> None:
    rows = [Symbol(name, 0x10, 0, "other") for name in ("$x", "$d", "$x.1", "$d.realtime", "$xylophone", "x")]
    assert [symbol.name for symbol in Symbols(rows)] == ["$xylophone", "x"]


def test_unknown_name_is_answered_with_similar_ones() -> None:
    symbols = Symbols.from_kallsyms([("kfree", 16, "T"), ("kfree_skb", 32, "T"), ("vfs_read", 48, "T")])
    with pytest.raises(MachineError, match=r"no symbol 'kfre': did you mean kfree"):
        symbols["kfre"]
    with pytest.raises(MachineError, match=r"no symbol 'vfs_raed': did you mean vfs_read\?"):
        symbols["vfs_raed"]
    with pytest.raises(MachineError, match=r"^there is no symbol 'qqqqqq'$"):
        symbols["qqqqqq"]
    with pytest.raises(MachineError, match="has no symbols at all"):
        Symbols()["kfree"]


@given(ROWS, st.text("abc", max_size=2), st.integers(0, 5))
def test_matching_lists_the_first_names_with_a_start(rows: list[Symbol], prefix: str, limit: int) -> None:
    assert Symbols(rows).matching(prefix, limit) == sorted({r.name for r in rows if r.name.startswith(prefix)})[:limit]


@given(ROWS)
def test_functions_are_listed_by_address(rows: list[Symbol]) -> None:
    functions = list(Symbols(rows).functions())
    assert sorted((f.name, f.address) for f in functions) == sorted(
        (row.name, row.address) for row in rows if row.kind == "function"
    )
    assert [f.address for f in functions] == sorted(f.address for f in functions)


@given(ROWS, ROWS, st.text("abc*?[]!", max_size=4))
def test_a_search_finds_the_names_that_match_by_address(
    rows: list[Symbol], module_rows: list[Symbol], pattern: str
) -> None:
    """In modules, too. fnmatchcase() says which names match; at one address the order is that of the symbols."""
    symbols = Symbols(rows)
    symbols.modules = {"abc": Symbols(module_rows)}
    found = symbols.search(pattern)
    assert found == [each for each in symbols if fnmatch.fnmatchcase(each.name, pattern)]
    assert sorted((each.name, each.address) for each in found) == sorted(
        (row.name, row.address) for row in rows + module_rows if fnmatch.fnmatchcase(row.name, pattern)
    )


@given(ROWS, st.integers(0, 2**64 - 1))
def test_symbols_survive_being_written_and_read(rows: list[Symbol], end: int) -> None:
    symbols = Symbols(rows, end=end)
    data = symbols.to_bytes()
    assert list(Symbols.from_bytes(data)) == list(symbols)
    assert list(pickle.loads(pickle.dumps(symbols))) == list(symbols)


@given(ROWS, st.data())
def test_damaged_bytes_are_refused_or_read_as_symbols(rows: list[Symbol], data: st.DataObject) -> None:
    written = bytearray(Symbols(rows).to_bytes())
    written[data.draw(st.integers(0, len(written) - 1))] ^= data.draw(st.integers(1, 255))
    del written[data.draw(st.just(len(written)) | st.integers(0, len(written))) :]
    try:
        symbols = Symbols.from_bytes(bytes(written))
    except MachineError:
        return
    assert all(symbols.describe(symbol.address) for symbol in symbols)


def test_a_kernel_of_symbols_is_ready_at_once() -> None:
    """130,000 symbols: a Debian kernel's, with CONFIG_KALLSYMS_ALL. The time grows as their number, not its square."""

    def seconds(count: int) -> float:
        rows = [(f"function_{number:06}", 0xFFFF_8000_0000_0000 + 64 * number, "t") for number in range(count)]
        start = time.process_time()
        symbols = Symbols.from_kallsyms(rows)
        assert symbols["function_007777"].size == 64
        last = f"function_{count - 1:06}"
        assert symbols.describe(symbols[last].address) == last
        return time.process_time() - start

    assert seconds(130_000) < 40 * min(seconds(13_000) for _ in range(3))


def test_a_symbol_without_a_size_ends_with_what_it_is_in() -> None:
    rows = [
        Symbol("code", 0x100, 0, "function"),
        Symbol("code_end", 0x140, 0, "other"),  # where the section ends
        Symbol("data", 0x1000, 0, "object"),
        Symbol("sized", 0x1010, 8, "object"),
    ]
    symbols = Symbols(rows, end=0x2000, areas=[(0x1000, 0x1020), (0x100, 0x140)])
    assert [symbol.size for symbol in symbols] == [0x40, 0, 0x10, 8]
    assert symbols.describe(0x140) == "code_end"
    assert symbols.describe(0x144) == "0x144"
    assert symbols.describe(0x100F) == "data+0xf"
