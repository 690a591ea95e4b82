# SPDX-License-Identifier: GPL-2.0-or-later
"""Typed values: what drgn prints of the same bytes, and what gcc says of the same types in two formats."""

from __future__ import annotations

import random
import struct
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from armprobe import machine
from armprobe.kernel.btf import Btf
from armprobe.kernel.dwarf import Dwarf
from armprobe.kernel.types import Enum, Pointer, Struct, Type, Types
from armprobe.kernel.value import Value
from armprobe.machine import Machine, MachineError

Tool = Callable[[str, str], str]

SOURCE = (Path(__file__).parent / "values.c").read_text()
DRGN = (Path(__file__).parent / "values.drgn").read_text()
"""What drgn's `Object.format_(columns=80, symbolize=False)` gives for `object` in the program of `values.c`."""


@pytest.fixture(scope="module")
def program(tool: Tool, tmp_path_factory: pytest.TempPathFactory) -> Path:
    compiler, folder = tool("aarch64-linux-gnu-gcc", "gcc-aarch64-linux-gnu"), tmp_path_factory.mktemp("values")
    (folder / "a.c").write_text(SOURCE)
    places = ["-Wl,-Ttext=0x40080000", "-Wl,-Tdata=0x40090000", "-Wl,--build-id=none"]
    options = ["-g", "-O0", "-fno-pie", "-no-pie", "-nostdlib", *places]
    subprocess.run([compiler, *options, "-o", folder / "a.elf", folder / "a.c"], check=True)
    return folder / "a.elf"


@pytest.fixture(scope="module")
def guest(program: Path) -> Machine:
    return machine.load(program, memory="16M")


@pytest.fixture
def value(program: Path, guest: Machine) -> Value:
    types = Dwarf(program)
    return Value(guest.memory, types, types["all"], guest.symbols["object"].address)


def test_text_is_that_of_drgn(value: Value) -> None:
    assert f"{value}\n" == DRGN


def test_member_with_a_name_of_the_kernels(value: Value) -> None:
    """Such as `__state`."""
    assert value.__i == 12
    assert value.member_("__i") == 12


def test_text_of_what_a_pointer_points_to(value: Value) -> None:
    pointer, rest = str(value.address_of_()), DRGN.removeprefix("(struct all)").rstrip("\n")
    assert pointer == f"*(struct all *){value.address_:#x} = {rest}"


def test_numbers(value: Value) -> None:
    """As the initializers in values.c say."""
    assert value.sc == -2
    assert value.uc == 254
    assert (int(value.low), int(value.mid), int(value.wide)) == (5, -3, 0x12_3456_789A)
    assert value.pid > 41
    assert value.pid < 43
    assert value.m.value_() == -3
    assert value.d == 0.1
    assert hex(value.ul) == "0xffffffffffffffff"
    assert [int(each) for each in value.grid[1]] == [4, 5, 6]
    assert len(value.ps) == 3
    assert value.member_("p.y") == -2
    assert value.text.string_() == b"init"
    assert value.cp.string_() == b"hello"


def test_pointers(value: Value) -> None:
    assert value.self.deref_().sc == -2
    assert value.self.sc == -2
    assert value.self[0].p.x == 1
    assert value.ps[1].y.container_of_("struct point", "y").x == 3
    assert value.vp.cast_("struct point *").x == 1
    assert value.p.address_of_() == value.vp
    assert [int(each.x) for each in value.list.list_("struct entry", "node")] == [7, 8]
    assert {"sc", "list"} <= set(dir(value.self))


def test_what_cannot_be_read(value: Value) -> None:
    wild = value.vp.cast_("unsigned long").cast_("struct point *")[1 << 57]
    for read, words in (
        (lambda: int(wild.x), "0x"),
        (lambda: str(wild), "0x"),
        (lambda: value.vp.deref_(), "void has no size"),
        (lambda: int(value), "a struct all is not a number"),
        (lambda: value.member_("p.z"), "a struct point has no member z"),
        (lambda: value.cast_("struct no *"), "no type struct no"),
        (lambda: value.low.address_of_(), "has no address"),
        (lambda: value.p.string_(), "is no string"),
    ):
        with pytest.raises(MachineError, match=words) as refused:
            read()
        assert "\n" not in str(refused.value)
    with pytest.raises(AttributeError, match="a struct all has no member no"):
        value.no  # noqa: B018
    with pytest.raises(IndexError, match="no element 3"):
        value.ps[3]
    assert str(wild.address_of_()) == f"(struct point *){wild.address_:#x}"  # as drgn shows it


def test_a_list_in_a_circle(value: Value, guest: Machine) -> None:
    first = next(value.list.list_("struct entry", "node")).node
    address = first.address_
    assert address is not None
    whole = guest.memory.read(address, 8)
    guest.memory.write(address, address.to_bytes(8, "little"))
    with pytest.raises(MachineError, match=f"comes back to {address:#x}"):
        list(value.list.list_("struct entry", "node"))
    guest.memory.write(address, bytes(8))
    with pytest.raises(MachineError):
        list(value.list.list_("struct entry", "node"))
    guest.memory.write(address, whole)


@pytest.mark.parametrize(
    ("text", "name", "size"),
    [
        ("unsigned", "unsigned int", 4),
        ("long unsigned int", "unsigned long", 8),
        ("const char*", "char *", 8),
        ("struct point [2][3]", "struct point [2][3]", 48),
        ("point", "struct point", 8),
        ("pid_t", "pid_t", 4),
        ("enum color", "enum color", 4),
        ("void **", "void **", 8),
    ],
)
def test_names_of_types(program: Path, text: str, name: str, size: int) -> None:
    found = Dwarf(program).type(text)
    assert (str(found), found.size) == (name, size)


@pytest.mark.parametrize(
    "text", ["", "*", "struct", "struct all all", "no_t", "int[x]", "int" + "*" * 300, "a;b", "int ["]
)
def test_no_names_of_types(program: Path, text: str) -> None:
    with pytest.raises(MachineError) as refused:
        Dwarf(program).type(text)
    assert "\n" not in str(refused.value)


def described(types: Types, name: str) -> list[tuple[str, int, int | None, str]]:
    members = types[name].members.values()
    # gcc 12 writes the dimensions of `grid` into BTF in the wrong order.
    return [(m.name, m.bit_offset, m.bit_field_size, str(m.type)) for m in members if m.name != "grid"]


@pytest.fixture(scope="module")
def btf(tool: Tool, tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """gcc's BTF of the same source."""
    compiler, copy = (tool(f"aarch64-linux-gnu-{name}", package) for name, package in (
        ("gcc", "gcc-aarch64-linux-gnu"), ("objcopy", "binutils-aarch64-linux-gnu")
    ))  # fmt: skip
    folder = tmp_path_factory.mktemp("btf")
    (folder / "a.c").write_text(SOURCE)
    subprocess.run([compiler, "-gbtf", "-c", "-o", folder / "a.o", folder / "a.c"], check=True)
    subprocess.run([copy, "-O", "binary", "--only-section=.BTF", "--set-section-flags", ".BTF=alloc",
                    folder / "a.o", folder / "a.btf"], check=True)  # fmt: skip
    return (folder / "a.btf").read_bytes()


@pytest.mark.parametrize("name", ["all", "point", "list_head", "entry"])
def test_btf_and_dwarf_of_one_source(program: Path, btf: bytes, name: str) -> None:
    ours, theirs = Btf(btf), Dwarf(program)
    assert described(ours, name) == described(theirs, name)
    assert ours[name].size == theirs[name].size


def every_type(types: Btf) -> None:
    """Read all that can be asked of each type."""
    for number in range(200):
        try:
            kind: Type = types.read_type(number)
            str(kind)
            str(Pointer(lambda kind=kind: kind))  # type: ignore[misc]
            kind.size  # noqa: B018
            if isinstance(kind, Struct):
                [str(member.type) for member in kind.members.values()]
            if isinstance(kind, Enum):
                kind.name_of(0)
        except MachineError as error:
            assert "\n" not in str(error)  # noqa: PT017


def test_mutants(btf: bytes) -> None:
    """Damaged type information is refused in a sentence, or has other types. It never takes long."""
    seed = random.randrange(1 << 32)
    print(f"seed {seed}")
    chosen = random.Random(seed)
    for _ in range(100):
        data = bytearray(btf)
        for _ in range(chosen.randrange(1, 20)):
            data[chosen.randrange(24, len(data))] = chosen.choice([0, 1, 2, 255, chosen.randrange(256)])
        start = time.process_time()
        every_type(Btf(bytes(data)))
        assert time.process_time() - start < 5


def made(*types: bytes) -> Btf:
    strings, body = b"\0f\0", b"".join(types)
    return Btf(struct.pack("<HBB5I", 0xEB9F, 1, 0, 24, 0, len(body), len(body), len(strings)) + body + strings)


def test_types_in_circles() -> None:
    typedef, pointer, array, prototype, const = 8 << 24, 2 << 24, 3 << 24, 13 << 24, 10 << 24
    bodies = [
        struct.pack("<3I", 0, pointer, 1),
        struct.pack("<3I", 0, const, 1),
        struct.pack("<6I", 0, array, 0, 1, 1, 1 << 31),
    ]
    for body in bodies:
        kind = made(body).read_type(1)
        with pytest.raises(MachineError, match="nests types more than 32 deep"):
            str(kind)
    for body in [struct.pack("<3I", 1, typedef, 1), *bodies[1:]]:
        kind = made(body).read_type(1)
        with pytest.raises(MachineError, match="nests types more than 32 deep"):
            kind.size  # noqa: B018
    # A function whose ten parameters are such functions, and 30 of which each takes the next one three times.
    with pytest.raises(MachineError, match="nests types more than 32 deep"):
        str(made(struct.pack("<3I", 0, prototype | 10, 0) + struct.pack("<2I", 1, 1) * 10).read_type(1))
    chain = [struct.pack("<3I", 0, prototype | 3, 0) + struct.pack("<2I", 1, number + 1) * 3 for number in range(1, 30)]
    with pytest.raises(MachineError, match="more than 10,000 characters"):
        str(made(*chain, struct.pack("<3I", 0, prototype, 0)).read_type(1))
