# SPDX-License-Identifier: GPL-2.0-or-later
"""Regions of memory against translations one by one, which test_mmu.py compares with the CPU's own."""

import itertools
import struct
from collections.abc import Iterator

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from armprobe import machine
from armprobe.machine import MachineError, board
from armprobe.machine.memory import regions
from armprobe.machine.memory.mmu import PAGE, TranslationFault, TranslationRegisters, translate
from armprobe.machine.memory.regions import TOP, Region, mapped_regions, region_at, without_translation

guest = machine.load("demo", memory="16M")

BITS = 39  # so that the top-level table is of level 1
TABLES = {1: [0x4010_0000], 2: [0x4010_1000, 0x4010_2000], 3: [0x4010_3000, 0x4010_4000]}
OUTPUTS = [
    board.RAM_BASE,
    board.RAM_BASE + 0x20_0000,
    board.UART.base,
    board.GIC_DIST.base,
    board.SCRATCH_BASE,
    0,
    0x8000_0000,
]
PXN, UXN, EL0, READ_ONLY = 1 << 53, 1 << 54, 1 << 6, 1 << 7
PXN_TABLE, UXN_TABLE, EL0_TABLE, READ_ONLY_TABLE = 1 << 59, 1 << 60, 1 << 61, 1 << 62

Row = tuple[int, str, int, int]
"""So many entries alike, what they are, their attributes, and which output."""

tables = st.lists(
    st.tuples(
        st.sampled_from([1, 2, 3, 64, 256, 512]),
        st.sampled_from(["leaf", "leaf", "table", "table", "invalid"]),
        st.sets(st.sampled_from([PXN, UXN, EL0, READ_ONLY, PXN_TABLE, EL0_TABLE, READ_ONLY_TABLE])).map(sum),
        st.integers(0, 6),
    ),
    max_size=6,
)


def registers(root: int, sctlr: int = 1) -> TranslationRegisters:
    """Both ranges, of 4 KiB granules, by the same table."""
    return TranslationRegisters(sctlr, 2 << 30 | (64 - BITS) << 16 | (64 - BITS), root, root)


def write(level: int, table: int, rows: list[Row]) -> None:
    size = 1 << 12 + 9 * (3 - level)
    entries: list[int] = []
    for count, kind, attributes, which in rows:
        for at in range(count):
            if kind == "table" and level < 3:
                following = TABLES[level + 1]
                entries.append(following[which % len(following)] | attributes & 0xF << 59 | 3)
            elif kind == "invalid":
                entries.append(0)
            else:
                output = (OUTPUTS[which] & -size) + at * size
                entries.append(output | attributes & (PXN | UXN | EL0 | READ_ONLY) | (3 if level == 3 else 1))
    data = struct.pack("<512Q", *(entries + [0] * 512)[:512])
    guest.bus.write(table, data)


def what(by: TranslationRegisters, address: int) -> tuple[str, str]:
    """Access and name of one address. No table here has UXNTable set, which a translation does not tell."""
    try:
        found = translate(by, guest.bus.read_u64, address)
    except TranslationFault:
        return "", ""
    ram = guest.bus.ram_at(found.physical)
    names = [w.device.name for w in guest.bus.windows if w.base <= found.physical < w.base + w.size]
    if ram is None and not names:
        return "", ""
    executable = found.executable or (found.user and not found.descriptor & UXN)
    name = names[0] if names else {"ram": "RAM"}.get(ram.name, ram.name) if ram else ""
    return "r" + "w" * found.writable + "x" * executable, name


def places(region: Region) -> Iterator[int]:
    """Addresses all over a region: its ends, and more and more of its inside."""
    yield from (region.start, region.end - 1)
    step = max((region.end - region.start) // 97 & -PAGE, PAGE)
    yield from range(region.start, region.end, step)


@settings(deadline=None, max_examples=100)
@given(st.tuples(tables, tables, tables, tables, tables), st.integers(0, (1 << BITS) - 1), st.booleans())
def test_a_region_is_all_that_is_alike_around_an_address(
    rows: tuple[list[Row], ...], address: int, upper: bool
) -> None:
    for (level, table), each in zip(((k, t) for k, ts in TABLES.items() for t in ts), rows, strict=True):
        write(level, table, each)
    by = registers(TABLES[1][0])
    address += (TOP - (1 << BITS)) * upper
    region = region_at(guest.bus, by, address)
    assert region.start <= address < region.end
    kind = region.access, region.name
    assert {what(by, at) for at in places(region)} == {kind}
    assert region.start == 0 or what(by, region.start - 1) != kind
    assert region.end == TOP or what(by, region.end) != kind


def test_what_is_mapped_to_nothing_is_like_what_is_not_mapped() -> None:
    """Tables that have both, at all levels, for 2^39 bytes: page by page, the answer would take hours."""
    nowhere = OUTPUTS.index(0x8000_0000)
    write(3, TABLES[3][0], [(3, "invalid", 0, 0), (509, "leaf", 0, nowhere)])
    write(2, TABLES[2][0], [(512, "table", 0, 0)])
    write(1, TABLES[1][0], [(512, "table", 0, 0)])
    region = region_at(guest.bus, registers(TABLES[1][0]), 0x1234_5678)
    assert (region.start, region.end, region.access) == (0, TOP, "")


def test_regions_tile_all_addresses() -> None:
    with_code: list[Row] = [(1, "table", 0, 0), (3, "invalid", 0, 0), (1, "leaf", 0, 0)]
    write(1, TABLES[1][0], with_code)
    write(2, TABLES[2][0], [(2, "invalid", 0, 0), (1, "table", 0, 0)])
    write(3, TABLES[3][0], [(4, "leaf", READ_ONLY, 0), (2, "invalid", 0, 0), (1, "leaf", PXN | UXN, 2)])
    by = registers(TABLES[1][0])
    found, at = [], 0
    while at < TOP:
        region = region_at(guest.bus, by, at)
        assert region.start == at
        found += [(region.start, region.end, region.access, region.name)] if region.access else []
        at = region.end
    base = 2 * 0x20_0000
    upper = TOP - (1 << BITS)
    block = 4 << 30  # of 1 GiB, at physical 1 GiB, of which the board has 16 MiB
    half = [
        (base, base + 0x4000, "rx", "RAM"),
        (base + 0x6000, base + 0x7000, "rw", "pl011"),
        (block, block + (16 << 20), "rwx", "RAM"),
    ]
    assert found == [*half, *((upper + s, upper + e, access, name) for s, e, access, name in half)]


@pytest.mark.parametrize(
    ("entry", "table", "access"),
    [
        (EL0 | READ_ONLY | PXN, 0, "rx"),  # a process's text: for EL0 to execute
        (EL0 | READ_ONLY | PXN, UXN_TABLE, "r"),
        (EL0 | READ_ONLY | PXN, EL0_TABLE, "r"),
        (EL0 | PXN | UXN, 0, "rw"),
        (EL0 | UXN, 0, "rw"),  # EL1 never executes what EL0 can write
        (READ_ONLY | UXN, 0, "rx"),  # the kernel's text
        (READ_ONLY | UXN, PXN_TABLE, "r"),
        (UXN | PXN, READ_ONLY_TABLE, "r"),
    ],
)
def test_access(entry: int, table: int, access: str) -> None:
    """Arm ARM, D8.4."""
    write(1, TABLES[1][0], [(1, "table", table, 0)])
    write(2, TABLES[2][0], [(1, "table", 0, 0)])
    write(3, TABLES[3][0], [(1, "leaf", entry, 0)])
    assert region_at(guest.bus, registers(TABLES[1][0]), 0) == Region(0, PAGE, access, "RAM")


def test_without_translation_it_is_the_board() -> None:
    by = registers(0, sctlr=0)
    assert region_at(guest.bus, by, board.UART.base + 5) == Region(board.UART.base, board.UART.end, "rwx", "pl011")
    ram = Region(board.RAM_BASE, board.RAM_BASE + (16 << 20), "rwx", "RAM")
    assert region_at(guest.bus, by, board.RAM_BASE) == ram
    assert region_at(guest.bus, by, ram.end) == Region(ram.end, TOP, "", "")
    assert region_at(guest.bus, by, 0) == Region(0, board.FLASH.base, "", "")
    pieces = without_translation(guest.bus)
    assert pieces == [region_at(guest.bus, by, piece.start) for piece in pieces]
    assert [pieces[0].start, *(piece.end for piece in pieces)] == [*(piece.start for piece in pieces), TOP]


@settings(deadline=None, max_examples=50, phases=[Phase.explicit, Phase.generate])
@given(st.tuples(tables, tables, tables, tables, tables))
def test_the_list_of_all_that_is_mapped(rows: tuple[list[Row], ...]) -> None:
    """It has each address that a translation has, with the same access, and no other."""
    for (level, table), each in zip(((k, t) for k, ts in TABLES.items() for t in ts), rows, strict=True):
        write(level, table, each)
    by = registers(TABLES[1][0])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(regions, "_MOST_SPANS", 2000)  # tables that lead to one another map more than can be looked at
        found, complete = mapped_regions(guest.bus, by)
    end = TOP if complete or not found else found[-1].end
    ends = [0, *(end for region in found for end in (region.start, region.end)), end]
    gaps = [Region(start, end, "", "") for start, end in zip(ends[::2], ends[1::2], strict=True) if start < end]
    assert len(gaps) + len(found) == len({region.start for region in (*gaps, *found)})
    for region in (*found, *gaps)[:50]:
        for at in itertools.islice(places(region), 20):
            user = region.access.startswith("u")
            assert what(by, at) == (region.access.removeprefix("u"), region.name)
            assert not region.access or translate(by, guest.bus.read_u64, at).user == user


def test_the_list_of_all_that_is_mapped_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tables that lead to one another, with pages in turn mapped and not: 2**27 in each half."""
    monkeypatch.setattr(regions, "_MOST_SPANS", 3000)
    top, middle, last = TABLES[1][0], TABLES[2][0], TABLES[3][0]
    guest.bus.write(top, struct.pack("<512Q", *[middle | 3] * 512))
    guest.bus.write(middle, struct.pack("<512Q", *[last | 3] * 512))
    guest.bus.write(last, struct.pack("<512Q", *[board.RAM_BASE | 3, 0] * 256))
    found, complete = mapped_regions(guest.bus, registers(top))
    assert not complete
    assert found == [Region(at * PAGE, (at + 1) * PAGE, "rwx", "RAM") for at in range(0, 3000, 2)]
    assert mapped_regions(guest.bus, registers(top, sctlr=0)) == (
        [region for region in without_translation(guest.bus) if region.access],
        True,
    )


@pytest.mark.parametrize("tcr", [1 << 7 | 1 << 23, 1 << 14 | 1 << 30, 0])
def test_tables_that_cannot_be_walked_map_nothing(tcr: int) -> None:
    """Walks disabled, granules other than 4 KiB, and 64 bits of addresses."""
    by = registers(TABLES[1][0])._replace(tcr=tcr)
    for address in (0, 1 << 63, TOP - 1):
        assert region_at(guest.bus, by, address) == Region(0, TOP, "", "")


@pytest.mark.parametrize("outside", [0, 0xFFFF_FFFF_F000])
def test_tables_outside_memory_map_nothing(outside: int) -> None:
    assert region_at(guest.bus, registers(outside), 0x1234) == Region(0, TOP, "", "")


def test_a_table_that_leads_to_itself() -> None:
    """Of level 1, 2 and 3 in one: each of its entries is a table, and at last a page that is the table."""
    table = TABLES[1][0]
    guest.bus.write(table, struct.pack("<512Q", *[table | 3] * 512))
    assert region_at(guest.bus, registers(table), 0x1234_5678) == Region(0, 1 << BITS, "rwx", "RAM")


def test_pages_that_differ_only_in_where_nothing_is() -> None:
    """One table of such, for all addresses: there are 2**27 pages, which nobody could wait for."""
    top, middle, last = TABLES[1][0], TABLES[2][0], TABLES[3][0]
    guest.bus.write(top, struct.pack("<512Q", *[middle | 3] * 512))
    guest.bus.write(middle, struct.pack("<512Q", *[last | 3] * 512))
    guest.bus.write(last, struct.pack("<512Q", *[0 | 3, 0x80_0000_0000 | 3] * 256))  # below the devices, above RAM
    assert region_at(guest.bus, registers(top), 0) == Region(0, TOP, "", "")


def test_what_one_answer_reads_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """A guest that maps more than that with pages is told of in pieces, which still are alike, and lead to the end."""
    read = []
    unpack = regions._ENTRIES

    class Counting:
        def unpack_from(self, data: memoryview, offset: int) -> tuple[int, ...]:
            read.append(offset)
            return unpack.unpack_from(data, offset)

    monkeypatch.setattr(regions, "_ENTRIES", Counting())
    monkeypatch.setattr(regions, "_MOST_TABLES", 16)
    write(1, TABLES[1][0], [(1, "table", 0, 0)])
    many = [0x4020_0000 + at * PAGE for at in range(512)]
    guest.bus.write(TABLES[2][0], struct.pack("<512Q", *(each | 3 for each in many)))
    for each in many:
        write(3, each, [(512, "leaf", 0, 0)])
    by = registers(TABLES[1][0])
    at, pieces = 0, 0
    while at < 1 << 30:
        read.clear()
        region = region_at(guest.bus, by, at)
        assert len(read) <= 16 + 3  # those that lead to the address are read in any case
        assert region.end - at >= 5 << 21 or region.end == 1 << 30
        assert (region.access, region.name) == ("rwx", "RAM")
        assert region.start <= at < region.end <= 1 << 30
        at, pieces = region.end, pieces + 1
    assert pieces > 30


def test_what_one_answer_compares_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Few tables, each of which leads to all, with attributes that change nothing but have to be looked at."""
    compared = []
    kind = regions._Walk._kind

    def counting(walk: regions._Walk, entries: tuple[int, ...], level: int, inherited: int) -> regions._Kind | None:
        compared.append(level)
        return kind(walk, entries, level, inherited)

    monkeypatch.setattr(regions._Walk, "_kind", counting)
    monkeypatch.setattr(regions, "_MOST_TABLES", 32)
    few = [TABLES[1][0] + at * PAGE for at in range(8)]
    for at in range(len(few)):
        entries = [few[(at + n) % 8] | (n // 8 % 4) << 60 | 3 for n in range(512)]
        guest.bus.write(few[at], struct.pack("<512Q", *entries))
    region = region_at(guest.bus, registers(few[0]), 0)
    assert (region.access, region.name) == ("rwx", "RAM")
    assert len(few) < len(compared) <= 32


def test_the_demo_kernel() -> None:
    """Its text may be executed, its constants read and its data written, as guests/demo maps them."""
    with_mmu = machine.load("demo")
    with_mmu.run(until="workload_round")
    for name, access in (("kfree", "rx"), ("__start_kprobe_blacklist", "r"), ("workload", "rw")):
        assert with_mmu.memory.region(with_mmu.symbols[name].address).access == access, name
    assert not with_mmu.memory.region(0).access
    with pytest.raises(MachineError):
        with_mmu.memory.read(0, 1)
