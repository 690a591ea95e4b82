# SPDX-License-Identifier: GPL-2.0-or-later
"""Type information, made by hand from the kernel's documentation of it (Documentation/bpf/btf.rst)."""

from __future__ import annotations

import struct
import time

import pytest

from armprobe.kernel.btf import Btf
from armprobe.kernel.types import Member
from armprobe.machine import MachineError

STRINGS = b"\0int\0pair\0first\0second\0inner\0flag\0"
INT, STRUCT, UNION, POINTER = 1, 4, 5, 2


def name(text: str) -> int:
    return STRINGS.index(b"\0" + text.encode() + b"\0") + 1


def kind(number: int, members: int = 0, bit_fields: bool = False) -> int:
    return number << 24 | members | bit_fields << 31


TYPES = b"".join(
    [
        struct.pack("<4I", name("int"), kind(INT), 4, 32),  # 1
        struct.pack("<3I", 0, kind(POINTER), 1),  # 2
        # 3: the nameless union { int inner; int *second; }
        struct.pack("<9I", 0, kind(UNION, 2), 8, name("inner"), 1, 0, name("second"), 2, 0),
        # 4: struct pair { int first; union; int flag:1 }, in which an offset says how wide a field is, too
        struct.pack("<11I", name("pair"), kind(STRUCT, 3, True), 24, name("first"), 1, 0, 0, 3, 64, name("flag"), 1),
        struct.pack("<I", 1 << 24 | 128),
    ]
)


def btf(types: bytes = TYPES, strings: bytes = STRINGS) -> bytes:
    return struct.pack("<HBB5I", 0xEB9F, 1, 0, 24, 0, len(types), len(types), len(strings)) + types + strings


@pytest.mark.parametrize(("member", "offset"), [("first", 0), ("inner", 8), ("second", 8), ("flag", 16)])
def test_offsets(member: str, offset: int) -> None:
    assert Btf(btf())["pair"].offset(member) == offset


def test_members() -> None:
    """In their order, and those of the union in its place. The width of a bit field is in the upper 8 bits."""
    assert list(Btf(btf())["pair"].members.values()) == [
        Member("first", 0, None),
        Member("inner", 64, None),
        Member("second", 64, None),
        Member("flag", 128, 1),
    ]


def test_size() -> None:
    assert Btf(btf())["pair"].size == 24
    assert "pair" in Btf(btf())
    for name in ("int", "no", ""):
        assert name not in Btf(btf())
        with pytest.raises(MachineError, match=f"no struct {name}"):
            Btf(btf())[name]


def test_structs_in_themselves() -> None:
    """As no compiler makes them: each of 30 has the one before it twice, the first has the last."""
    others = [(number - 2) % 30 + 1 for number in range(1, 31)]
    types = [struct.pack("<9I", 0, kind(STRUCT, 2), 8, 0, other, 0, 0, other, 0) for other in others]
    types.append(struct.pack("<6I", name("pair"), kind(STRUCT, 1), 8, 0, 30, 0))
    with pytest.raises(MachineError, match="no member first in a struct pair"):
        Btf(btf(b"".join(types)))["pair"].offset("first")


def test_a_type_that_is_not_there() -> None:
    types = struct.pack("<6I", name("pair"), kind(STRUCT, 1), 8, 0, 99, 0)
    with pytest.raises(MachineError, match="is damaged"):
        Btf(btf(types))["pair"].offset("first")


@pytest.mark.parametrize("member", ["third", "int", ""])
def test_what_is_not_there(member: str) -> None:
    with pytest.raises(MachineError, match=f"no member {member} in a struct pair"):
        Btf(btf())["pair"].offset(member)


@pytest.mark.parametrize(
    ("types", "strings"), [(TYPES, STRINGS[:-1]), (TYPES, STRINGS + bytes(600)), (TYPES[:-6], STRINGS)]
)
def test_a_name_without_an_end(types: bytes, strings: bytes) -> None:
    """Or one that is longer than a name can be (KSYM_NAME_LEN), or members behind the end of the section."""
    last = struct.pack("<I", len(STRINGS)) if len(strings) > len(STRINGS) else types[-12:-8]
    types = types[:-12] + last + types[-8:] if len(types) == len(TYPES) else types
    strings = strings.replace(bytes(600), b"x" * 600 + b"\0")
    with pytest.raises(MachineError, match="is damaged"):
        Btf(btf(types, strings))["pair"].offset("first")


@pytest.mark.parametrize("data", [b"", b"\x9f\xeb\x01\x00", bytes(100), b"\x9f\xeb\x02" + btf()[3:]])
def test_no_type_information(data: bytes) -> None:
    with pytest.raises(MachineError, match="no type information"):
        Btf(data)


def test_cut_short() -> None:
    with pytest.raises(MachineError, match="cut short"):
        Btf(btf()[:-5])


@pytest.mark.parametrize("number", [40, 100_000])
def test_structs_in_one_another_too_deep(number: int) -> None:
    """The kernel takes 32: MAX_RESOLVE_DEPTH in its kernel/bpf/btf.c."""
    types = [struct.pack("<6I", 0, kind(STRUCT, 1), 8, 0, other, 0) for other in range(2, number + 1)]
    types += [struct.pack("<6I", 0, kind(STRUCT, 1), 8, name("first"), 1, 0)]
    types += [struct.pack("<6I", name("pair"), kind(STRUCT, 1), 8, 0, 1, 0)]
    with pytest.raises(MachineError, match="nests structs more than 32 deep"):
        Btf(btf(b"".join(types)))["pair"].offset("first")


def test_many_structs_of_one_name() -> None:
    """Each of 20,000 has the same nameless struct of 60,000 members in it; the first definition counts."""
    large = struct.pack("<3I", 0, kind(STRUCT, 60_000), 8) + struct.pack("<3I", name("flag"), 1, 0) * 60_000
    small = struct.pack("<6I", name("pair"), kind(STRUCT, 1), 8, 0, 1, 0)
    start = time.process_time()
    with pytest.raises(MachineError, match="no member first"):
        Btf(btf(large + small * 20_000))["pair"].offset("first")
    assert time.process_time() - start < 2 * len(large + small * 20_000) / 1e6


def test_split_types_continue_those_of_a_base() -> None:
    """As "BTF_KIND_*" of a module: types go on with number 5 here, strings with the offset after the base's last."""
    base = Btf(btf())
    own_strings = b"mine\0count\0"  # the section need not begin with an empty string
    mine, count = (len(STRINGS) + own_strings.index(text) for text in (b"mine\0", b"count\0"))
    # 5: struct mine { int first; struct pair count; }, 6: another struct pair { int first; }, 7: pointer to 5
    types = struct.pack("<9I", mine, kind(STRUCT, 2), 32, name("first"), 1, 0, count, 4, 64)
    types += struct.pack("<6I", name("pair"), kind(STRUCT, 1), 4, name("first"), 1, 0)
    types += struct.pack("<3I", 0, kind(POINTER), 5)
    split = Btf(btf(types, own_strings), base)
    assert split["mine"].offset("count.second") == 16
    assert [member.name for member in split["mine"].members.values()] == ["first", "count"]
    assert split["pair"].size == 4  # its own comes first
    assert str(split.read_type(7)) == "struct mine *"
    assert split.type("int").size == 4
    assert "mine" not in base
    for number in (8, 1000):
        with pytest.raises(MachineError, match="damaged"):
            split.read_type(number)
