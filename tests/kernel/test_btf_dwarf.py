# SPDX-License-Identifier: GPL-2.0-or-later
"""DWARF made from BTF: what gdb and pyelftools read in it; damaged BTF; how long arguments stay in their registers."""

import io
import random
import struct
import subprocess
from pathlib import Path

import pytest
from elftools.elf.elffile import ELFFile

from armprobe import machine
from armprobe.kernel.btf import Btf
from armprobe.kernel.btf_dwarf import Function, debug_sections
from armprobe.machine import Machine, MachineError
from armprobe.machine.native.arguments import argument_ends
from armprobe.session.symbol_file import SymbolSources, symbol_file

pytestmark = pytest.mark.sample(of="files")


@pytest.fixture(scope="module")
def made(snapshot: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The symbol file of a stock kernel."""
    reasons: list[str] = []
    path = tmp_path_factory.mktemp("made") / "linux.elf"
    path.write_bytes(symbol_file(SymbolSources.of(machine.load(snapshot)), reasons.append))
    assert reasons == []
    return path


def test_types_and_arguments_in_gdb(made: Path, gdb_path: str) -> None:
    """The expected values are those of the kernel's C: its ABI to user space, and v6.1's include/linux."""
    commands = (
        "ptype struct list_head",
        "p (int)PIDTYPE_TGID",
        "p sizeof(struct pt_regs)",
        "whatis find_task_by_vpid",
        "info scope vfs_read",
        "break vfs_read if count == 4096",
    )
    words = [gdb_path, "-nx", "-batch", str(made), *(word for line in commands for word in ("-ex", line))]
    said = subprocess.run(words, capture_output=True, text=True, timeout=120, check=True)
    assert "struct list_head *next;\n    struct list_head *prev;\n" in said.stdout
    assert "$1 = 1\n" in said.stdout
    assert "= 336\n" in said.stdout  # 0x150
    assert "type = struct task_struct *(pid_t)\n" in said.stdout
    for register, name in enumerate(("file", "buf", "count", "pos")):
        at = said.stdout.index(f"Symbol {name} is multi-location:")
        assert f"a variable in $x{register}\n" in said.stdout[at : at + 150]
    assert "Breakpoint 1 at " in said.stdout
    assert "Dwarf Error" not in said.stderr


def test_members_equal_those_of_btf(made: Path, guest: Machine) -> None:
    """pyelftools' reading of the file against BTF's own words: structs in order, with their members' offsets."""
    btf = Btf.of(guest)
    assert btf is not None
    expected = []
    for at in btf.offsets[1:]:
        name, info, size = btf.type_at(at)
        if info >> 24 & 31 == 4 and name:
            members = [btf.type_at(at + 12 + 12 * index) for index in range(info & 0xFFFF)]
            offsets = [
                (btf.string(member[0]), member[2] & 0xFF_FFFF if info >> 31 else member[2]) for member in members
            ]
            expected.append((btf.string(name), size, offsets))
        if len(expected) == 300:
            break
    found = []
    unit = next(ELFFile(io.BytesIO(made.read_bytes())).get_dwarf_info().iter_CUs())
    for entry in unit.get_top_DIE().iter_children():
        said = {name: attribute.value for name, attribute in entry.attributes.items()}
        if entry.tag == "DW_TAG_structure_type" and {"DW_AT_name", "DW_AT_byte_size"} <= said.keys():
            offsets = []
            for member in entry.iter_children():
                values = {name: attribute.value for name, attribute in member.attributes.items()}
                bits = values.get("DW_AT_data_bit_offset", 8 * values.get("DW_AT_data_member_location", 0))
                offsets.append((values.get("DW_AT_name", b"").decode(), bits))
            found.append((said["DW_AT_name"].decode(), said["DW_AT_byte_size"], offsets))
        if len(found) == 300:
            break
    assert found == expected


def test_damaged_btf_is_refused_or_read(guest: Machine) -> None:
    btf = Btf.of(guest)
    assert btf is not None
    types, strings = btf.sections
    small = bytes(types[: btf.offsets[400]])
    header = struct.pack("<8s4I", b"\x9f\xeb\x01\x00\x18\x00\x00\x00", 0, len(small), len(small), len(strings))
    chance = random.Random(7)
    refused = 0
    for _ in range(200):
        data = bytearray(small)
        for _ in range(3):
            data[chance.randrange(len(data))] = chance.randrange(256)
        try:
            debug_sections(Btf(header + data + bytes(strings)), {})
        except MachineError:
            refused += 1
    assert refused


STRINGS = b"\0int\0outer\0inner\0member\0"
INTEGER = struct.pack("<4I", STRINGS.index(b"int"), 1 << 24, 4, 1 << 24 | 32)  # number 1


def of_types(*types: bytes, strings: bytes = STRINGS) -> Btf:
    """BTF with `INTEGER` and these types, from number 2 on."""
    data = INTEGER + b"".join(types)
    header = struct.pack("<8s4I", b"\x9f\xeb\x01\x00\x18\x00\x00\x00", 0, len(data), len(data), len(strings))
    return Btf(header + data + strings)


def refers(kind: int, number: int) -> bytes:
    """A pointer, qualifier or typedef."""
    return struct.pack("<3I", STRINGS.index(b"inner") if kind == 8 else 0, kind << 24, number)


def holding(name: bytes, number: int) -> bytes:
    """A struct with one member of that type."""
    at = STRINGS.index(name) if name else 0
    return struct.pack("<6I", at, 4 << 24 | 1, 8, STRINGS.index(b"member"), number, 0)


POINTER, TYPEDEF, CONST = 2, 8, 10


@pytest.mark.parametrize(
    "types",
    [
        [refers(POINTER, 2)],
        [refers(CONST, 3), refers(TYPEDEF, 2)],
        [holding(b"outer", 2)],
        [holding(b"outer", 3), refers(TYPEDEF, 4), holding(b"inner", 2)],
        [holding(b"", 2)],
        [holding(b"", 3), refers(POINTER, 2)],
        [struct.pack("<5I", 0, 13 << 24 | 1, 1, 0, 2)],  # a function that takes itself
        [struct.pack("<6I", 0, 3 << 24, 0, 2, 1, 4)],  # an array of itself
        [*(refers(POINTER, number) for number in range(3, 303)), holding(b"outer", 1)],
        [refers(POINTER, 100)],
    ],
    ids=["pointer", "typedef", "struct", "structs", "unnamed", "through", "prototype", "array", "deep", "absent"],
)
def test_types_that_gdb_would_not_get_to_the_end_of(types: list[bytes]) -> None:
    """gdb 13.1 crashes when it prints them."""
    with pytest.raises(MachineError, match="damaged"):
        debug_sections(of_types(*types), {})


def test_circles_that_c_has() -> None:
    """struct outer { struct outer *; }, and one through a struct without a name in it."""
    debug_sections(of_types(holding(b"outer", 3), refers(POINTER, 2)), {})
    debug_sections(of_types(holding(b"outer", 3), holding(b"", 4), refers(POINTER, 2)), {})


def test_names_for_a_terminal() -> None:
    with pytest.raises(MachineError, match="damaged"):
        debug_sections(of_types(strings=STRINGS + b"\x1b[2J\0"), {})


def test_a_name_of_several_functions() -> None:
    """Static functions, all but one of which a compiler may have inlined: which of them it is, BTF does not say."""
    strings = b"\0int\0both\0one\0twice\0"
    integer = struct.pack("<4I", strings.index(b"int"), 1 << 24, 4, 1 << 24 | 32)
    prototypes = struct.pack("<6I", 0, 13 << 24, 1, 0, 13 << 24, 0)  # numbers 2 and 3: of int, and of void
    functions = b"".join(
        struct.pack("<3I", strings.index(name), 12 << 24, number)
        for name, number in ((b"both", 2), (b"both", 3), (b"one", 3), (b"twice", 2), (b"twice", 2))
    )
    types = integer + prototypes + functions
    header = struct.pack("<8s4I", b"\x9f\xeb\x01\x00\x18\x00\x00\x00", 0, len(types), len(types), len(strings))
    btf = Btf(header + types + strings)
    sections = debug_sections(btf, {name: Function(0x1000, 4, [4] * 8) for name in ("both", "one", "twice")})
    places = [sections[".debug_info"].count(struct.pack("<I", strings.index(name))) for name in (b"one", b"twice")]
    assert places == [1, 1]
    assert struct.pack("<I", strings.index(b"both")) not in sections[".debug_info"]
    assert str(btf.function("one")) == "void (void)"
    with pytest.raises(MachineError, match="no function both"):
        btf.function("both")


NOP, RET, BL, BR_X9 = 0xD503_201F, 0xD65F_03C0, 0x9400_0010, 0xD61F_0120
MOV_X0_X1, LDR_X1_X2, STR_X0_SP, CBZ_X2 = 0xAA01_03E0, 0xF940_0041, 0xF900_03E0, 0xB400_0042
LDR_X0_X2_POST = 0xF840_8440  # ldr x0, [x2], #8
LDR_X1_X0_X2, CCMP_X1_X2 = 0xF862_6801, 0xFA42_0020  # ldr x1, [x0, x2]; ccmp x1, x2, #0, eq
LDADD_X0_X1_X2, CBZ_X2_FORTH = 0xF820_0041, 0xB400_0062


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ((NOP, MOV_X0_X1, NOP, RET), [8, 16, 16]),  # at the instruction that writes x0 it still has the argument
        ((LDR_X1_X2, STR_X0_SP, BL, NOP), [9, 4, 9]),  # at a call, but not in the frame that made it
        ((LDR_X0_X2_POST, RET), [4, 8, 4]),  # with writeback
        ((LDR_X1_X0_X2, CCMP_X1_X2, RET), [12, 4, 12]),
        ((NOP, LDADD_X0_X1_X2, RET), [8, 8, 8]),  # what is not looked at closely
        ((NOP, NOP, MOV_X0_X1, 0x17FF_FFFE, RET), [4, 4, 4]),  # a loop to the second instruction: b .-8
        ((NOP, NOP, MOV_X0_X1, 0xB5FF_FFC1, RET), [4, 4, 4]),  # cbnz x1, .-8
        ((NOP, NOP, MOV_X0_X1, 0x3707_FFC1, RET), [4, 4, 4]),  # tbnz w1, #0, .-8
        ((NOP, NOP, MOV_X0_X1, 0x17FF_FFFD, RET), [12, 20, 20]),  # to the entry, as a call of itself: b .-12
        ((CBZ_X2, RET, NOP, MOV_X0_X1, RET), [16, 20, 20]),  # forward, over a return
        ((NOP, CBZ_X2, MOV_X0_X1, BR_X9, RET), [8, 8, 8]),  # a jump table may lead to behind the branch
    ],
)
def test_how_long_arguments_stay(words: tuple[int, ...], expected: list[int]) -> None:
    ends = argument_ends(struct.pack(f"<{len(words)}I", *words), [0])
    assert list(ends[:3]) == expected


def test_other_functions_that_jump_into_one() -> None:
    """As the unlikely parts of functions do, which compilers put elsewhere."""
    words = NOP, NOP, NOP, RET, NOP, 0x17FF_FFFD, RET  # b .-12
    ends = argument_ends(struct.pack("<7I", *words), [0, 16])
    assert (ends[0], ends[8]) == (8, 12)
    forward = NOP, 0x1400_0003, RET, NOP, NOP, RET  # b .+12
    ends = argument_ends(struct.pack("<6I", *forward), [0, 12])
    assert (ends[0], ends[8]) == (12, 4)


def test_functions_out_of_order_are_refused() -> None:
    for starts in ([4, 0], [0, 0], [0, 8]):
        with pytest.raises(ValueError, match="order"):
            argument_ends(bytes(8), starts)
    assert list(argument_ends(b"", [])) == []
