# SPDX-License-Identifier: GPL-2.0-or-later
"""DWARF made from BTF: what gdb and pyelftools read in it; damaged BTF; how long arguments stay in their registers."""

import contextlib
import io
import random
import re
import struct
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from elftools.elf.elffile import ELFFile

from armprobe import machine
from armprobe.kernel.btf import Btf
from armprobe.kernel.btf_dwarf import Function, debug_sections
from armprobe.machine import Machine, MachineError, Symbol, Symbols
from armprobe.machine.loaders import read_guest
from armprobe.machine.native.arguments import argument_ends
from armprobe.session.symbol_file import SymbolSources, symbol_file
from tests.soak import chance
from tests.waiting import PATIENCE

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


def opened(report: str) -> int:
    """How many units gdb has read, by `maint info symtabs`."""
    return report.count("((struct compunit_symtab *) 0x")


def test_gdb_reads_a_function_without_all_types(made: Path, gdb_path: str, guest: Machine) -> None:
    """Of a unit that gdb needs something of, it reads all, and all units that it refers to."""
    address = guest.symbols["vfs_read"].address
    commands = f"info line *{address}", "maint info symtabs", "echo --", "whatis struct dentry", "maint info symtabs"
    words = [gdb_path, "-nx", "-batch", str(made), *(word for line in commands for word in ("-ex", line))]
    said = subprocess.run(words, capture_output=True, text=True, timeout=PATIENCE, check=True).stdout
    before, _, after = said.partition("--")
    assert "<vfs_read>" in before
    assert "type = struct dentry\n" in after
    assert (opened(before), opened(after)) == (1, 2)


def test_prototypes_equal_those_of_btf(made: Path, gdb_path: str, guest: Machine) -> None:
    """gdb's reading of the file against armprobe's of BTF."""
    btf = Btf.of(guest)
    assert btf is not None
    names = [symbol.name for symbol in guest.symbols if symbol.kind == "function"]
    expected = {}
    for name in chance().sample(sorted({name for name in names if "." not in name}), 600):
        with contextlib.suppress(MachineError):
            kind = btf.function(name)
            arguments = [str(each.type) for each in kind.parameters] + ["..."] * kind.variadic
            expected[name] = kind.target.declare(f"({', '.join(arguments) or 'void'})")
    words = [gdb_path, "-nx", "-batch", str(made), *(word for name in expected for word in ("-ex", f"whatis {name}"))]
    said = subprocess.run(words, capture_output=True, text=True, timeout=PATIENCE, check=True).stdout
    found = dict(zip(expected, re.findall(r"^type = (.*)$", said, re.MULTILINE), strict=True))
    described = {name: kind for name, kind in found.items() if "no debug info" not in kind}  # others: no code any more
    assert len(described) > 300
    assert described == {name: expected[name] for name in described}


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


POINTER, TYPEDEF, CONST, TYPE_TAG = 2, 8, 10, 18


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


def with_functions(types: Sequence[bytes], arguments: Mapping[bytes, int]) -> tuple[Btf, dict[str, Function]]:
    """BTF with `types`, from number 2 on, and functions of one argument, whose types are given by the names."""
    strings = STRINGS + b"".join(name + b"\0" for name in arguments)
    made, functions = list(types), {}
    for name, argument in arguments.items():
        made.append(struct.pack("<5I", 0, 13 << 24 | 1, 0, STRINGS.index(b"member"), argument))
        made.append(struct.pack("<3I", strings.index(name), 12 << 24, len(made) + 1))
        functions[name.decode()] = Function(0x1000 + 16 * len(made), 16, [16] * 8)
    return of_types(*made, strings=strings), functions


def test_damaged_btf_is_refused_or_read() -> None:
    array, enum = struct.pack("<6I", 0, 3 << 24, 0, 4, 1, 3), struct.pack("<5I", 0, 6 << 24 | 1, 4, 1, 7)
    prototype = struct.pack("<7I", 0, 13 << 24 | 2, 1, 0, 3, 0, 5)
    types = [holding(b"outer", 3), refers(POINTER, 2), refers(CONST, 3), refers(TYPEDEF, 2), holding(b"", 4), array]
    types += enum, prototype, refers(POINTER, 9), struct.pack("<3I", STRINGS.index(b"inner"), 7 << 24, 0)
    btf, functions = with_functions(types, {b"f%d" % number: number for number in (*range(1, 9), 10, 11)})
    assert len(debug_sections(btf, functions)[".debug_info"]) > 300
    data, strings = btf.sections
    header = struct.pack("<8s4I", b"\x9f\xeb\x01\x00\x18\x00\x00\x00", 0, len(data), len(data), len(strings))
    numbers = random.Random(7)
    refused = 0
    for _ in range(1000):
        damaged = bytearray(data)
        for _ in range(3):
            damaged[numbers.randrange(len(data))] = numbers.randrange(256)
        try:
            debug_sections(Btf(header + damaged + bytes(strings)), functions)
        except MachineError:
            refused += 1
    assert 300 < refused < 1000


def test_structs_that_a_name_does_not_lead_to(gdb_path: str, tmp_path: Path) -> None:
    """Pointers to two structs of one name, to one with a tag, as Clang makes them, and a struct by its value.

    gdb knows their sizes.
    """
    one, other = (struct.pack("<6I", 5, 4 << 24 | 1, size, 1, 1, 0) for size in (8, 24))
    value = struct.pack("<6I", 11, 4 << 24 | 1, 12, 1, 1, 0)
    btf, functions = with_functions(
        [one, other, value, *(refers(POINTER, target) for target in (2, 3, 4, 9)), refers(TYPE_TAG, 3)],
        {b"takes_one": 5, b"takes_other": 6, b"takes_value": 4, b"takes_pointer": 7, b"takes_tagged": 8},
    )
    symbols = [Symbol(name, function.address, 16, "function") for name, function in functions.items()]
    path = tmp_path / "made.elf"
    guest = Machine(replace(read_guest("demo"), dwarf=None))
    guest.symbols = Symbols(symbols)
    path.write_bytes(symbol_file(replace(SymbolSources.of(guest), btf=btf, code=[bytes(0x1000)])))
    field = "gdb.lookup_global_symbol('takes_{}').type.fields()[0].type"
    commands = [f"python print({field.format(name)}.target().sizeof)" for name in ("one", "other", "pointer", "tagged")]
    words = [gdb_path, "-nx", "-batch", str(path), "-ex", "info scope takes_value", "-ex", "maint info symtabs"]
    words += (word for line in commands for word in ("-ex", line))
    said = subprocess.run(words, capture_output=True, text=True, timeout=PATIENCE, check=True).stdout
    assert ", length 12.\n" in said
    assert opened(said) == 1  # the value's own unit
    assert said.endswith("\n8\n24\n12\n24\n")


def test_types_of_functions_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each of 2,000 pointers needs all of them where the struct cannot only be declared: four million entries."""
    count = 2000
    pointers = [refers(POINTER, 2)] * count  # from number 3 on
    members = b"".join(struct.pack("<3I", STRINGS.index(b"member"), 3 + n, 0) for n in range(count))
    struct_of_all = struct.pack("<3I", STRINGS.index(b"outer"), 4 << 24 | count, 8) + members
    arguments = {b"f%d" % n: 3 + n for n in range(count)}
    debug_sections(*with_functions([struct_of_all, *pointers], arguments))
    namesake = holding(b"outer", 1)
    with pytest.raises(MachineError, match="damaged"):
        debug_sections(*with_functions([struct_of_all, *pointers, namesake], arguments))
    monkeypatch.setattr("armprobe.kernel.btf_dwarf.functions._MOST_BYTES", 10_000)
    with pytest.raises(MachineError, match="damaged"):
        debug_sections(*with_functions([struct_of_all, *pointers], arguments))


def test_arguments_of_functions_are_bounded() -> None:
    """One prototype of 60,000 arguments for 100 functions: some hundred megabytes of entries."""
    arguments = struct.pack("<2I", STRINGS.index(b"member"), 1) * 60_000
    prototype = struct.pack("<3I", 0, 13 << 24 | 60_000, 0) + arguments
    names = [b"f%d" % n for n in range(100)]
    strings = STRINGS + b"\0".join(names) + b"\0"
    made = [struct.pack("<3I", strings.index(name), 12 << 24, 2) for name in names]
    functions = {name.decode(): Function(0x1000 + 16 * n, 16, [16] * 8) for n, name in enumerate(names)}
    btf = of_types(prototype, *made, strings=strings)
    assert debug_sections(btf, {"f1": functions["f1"]})
    with pytest.raises(MachineError, match="damaged"):
        debug_sections(btf, functions)


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
