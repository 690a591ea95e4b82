# SPDX-License-Identifier: GPL-2.0-or-later
"""Kprobes.check: whether a probe would be accepted, by the rules of any era, without setting one."""

from __future__ import annotations

import errno
from contextlib import suppress
from dataclasses import replace

import pytest

from armprobe import machine
from armprobe.machine import Machine, Symbols
from armprobe.probes import ERAS, Kprobe, Kprobes, ProbeError, Verdict

AUTIASP, CSDB, RETAA, NOP = 0xD50323BF, 0xD503229F, 0xD65F0BFF, 0xD503201F
CPYFP = 0x19010440  # cpyfp [x0]!, [x1]!, x2!
LDXR, STXR, ADD = 0xC85F7C41, 0xC8017C42, 0x91000400


@pytest.fixture
def demo() -> Machine:
    guest = machine.load("demo")
    guest.run(until=guest.symbols["start_kernel"].address)  # its tables map the text now
    return guest


def put(guest: Machine, place: str, *words: int) -> int:
    address = guest.symbols[place].address
    guest.memory.write(address, b"".join(word.to_bytes(4, "little") for word in words))
    return address


def accepted(kprobes: Kprobes, place: str | int) -> str:
    """The eras that accept a probe there."""
    eras = []
    for era in ERAS:
        with suppress(ProbeError):
            kprobes.check(place, era)
            eras.append(era)
    return " ".join(eras)


@pytest.mark.parametrize(
    ("word", "eras"),
    [
        (NOP, "v4.8 v5.4 v5.10 v6.1 v6.9 v7.2"),
        (AUTIASP, "v4.8 v5.4"),
        (CSDB, "v4.8 v5.4"),
        (RETAA, "v4.8 v5.4"),
        (0xD503203F, ""),  # yield
        (CPYFP, "v4.8 v5.4 v5.10 v6.1 v6.9"),
    ],
)
def test_instructions(demo: Machine, word: int, eras: str) -> None:
    put(demo, "kfree", word)
    assert accepted(Kprobes(demo), "kfree") == eras


def test_the_scan_ends_with_the_function_since_v4_9(demo: Machine) -> None:
    """A load exclusive that ends one function makes v4.8 refuse the next one's first instruction."""
    start = demo.symbols["kfree"].address
    demo.memory.write(start - 4, LDXR.to_bytes(4, "little"))
    assert accepted(Kprobes(demo), "kfree") == "v5.4 v5.10 v6.1 v6.9 v7.2"


def test_the_scan_of_v4_8_looks_at_31_instructions(demo: Machine) -> None:
    place = put(demo, "vsnprintf", LDXR, *[ADD] * 32)
    kprobes = Kprobes(demo)
    assert accepted(kprobes, place + 4 * 31) == ""
    assert accepted(kprobes, place + 4 * 32) == "v4.8"


@pytest.mark.parametrize(
    ("area", "eras"),
    [("idmap_text", "v6.9 v7.2"), ("kprobes_text", ""), ("entry_text", ""), ("irqentry_text", "")],
)
def test_areas(demo: Machine, area: str, eras: str) -> None:
    """v6.3 moved the identity map out of the text, and took it off the list."""
    put(demo, f"__{area}_start", NOP)
    assert accepted(Kprobes(demo), demo.symbols[f"__{area}_start"].address) == eras


@pytest.mark.parametrize("prefix", ["__cfi_", "__pfx_"])
def test_preambles_of_functions(demo: Machine, prefix: str) -> None:
    """is_cfi_preamble_symbol(): commit de02f2ac5d8c (v6.6) never matched, commit 8c8acb8f26cb (v6.11) made it work.

    Both are in updates of v6.1, too.
    """
    symbols = [replace(each, name=prefix + each.name) if each.name == "kfree" else each for each in demo.symbols]
    demo.symbols = Symbols(symbols)
    kprobes = Kprobes(demo)
    assert accepted(kprobes, f"{prefix}kfree") == "v4.8 v5.4 v5.10 v6.9"
    with pytest.raises(ProbeError, match="the preamble of a function") as refused:
        kprobes.check(f"{prefix}kfree", "v6.12.107")
    assert refused.value.errno == errno.EINVAL


def test_breakpoints_of_bugs_are_known_since_v5_4(demo: Machine) -> None:
    """find_bug(), commit e336b4027775. Before, the decoder refuses the instruction, as it does any BRK."""
    put(demo, "kfree", 0xD4210000)  # BRK #0x800
    kprobes = Kprobes(demo)
    for era in ERAS:
        with pytest.raises(ProbeError, match="generates an exception" if era == "v4.8" else "BUG") as refused:
            kprobes.check("kfree", era)
        assert refused.value.errno == errno.EINVAL


def test_exception_tables_are_the_guests_whatever_the_era(demo: Machine) -> None:
    """The demo kernel's entries have 12 bytes, as those of kernels since v5.17."""
    kprobes = Kprobes(demo)
    assert accepted(kprobes, "__arch_copy_from_user+0x4") == ""
    assert accepted(kprobes, "__arch_copy_from_user") == " ".join(ERAS)


def test_nothing_is_registered(demo: Machine) -> None:
    kprobes = Kprobes(demo)
    before = demo.memory.read(demo.symbols["kfree"].address, 64)
    assert kprobes.check("kfree").verdict is Verdict.GOOD
    assert kprobes.check("kfree+0x10").simulator == "simulate_b_bl"
    assert demo.memory.read(demo.symbols["kfree"].address, 64) == before
    assert kprobes.list() == []


def test_a_place_that_has_a_probe(demo: Machine) -> None:
    kprobes = Kprobes(demo)
    probe = kprobes.register_kprobe(Kprobe("kfree"))
    assert kprobes.check("kfree").verdict is Verdict.GOOD
    assert kprobes.check(probe.addr or 0, "v4.8").verdict is Verdict.GOOD
    assert kprobes.list() == [probe]


@pytest.mark.parametrize(
    ("place", "number"),
    [("nosuch", errno.ENOENT), ("kfree+2", errno.EINVAL), (0, errno.EINVAL)],
)
def test_what_no_era_accepts(demo: Machine, place: str | int, number: int) -> None:
    kprobes = Kprobes(demo)
    for era in ERAS:
        with pytest.raises(ProbeError) as refused:
            kprobes.check(place, era)
        assert refused.value.errno == number


def test_an_era_that_there_is_not(demo: Machine) -> None:
    with pytest.raises(ProbeError, match=r"there is no era 'v3'"):
        Kprobes(demo).check("kfree", "v3")
