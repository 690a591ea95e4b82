# SPDX-License-Identifier: GPL-2.0-or-later
"""Types and values of a stock kernel, against the DWARF of its -dbg package and drgn: only in `make oracle`.

ARMPROBE_SEED chooses the structs and values; it is printed.
"""

from __future__ import annotations

import os
import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from elftools.dwarf.die import DIE
from elftools.elf.elffile import ELFFile

from armprobe.commands import Session
from armprobe.kernel import typed_memory
from armprobe.machine import MachineError

from ..progress import progress  # noqa: TID252
from ..stock import stock_kernel, stock_snapshot  # noqa: TID252
from .debug_kernel import debug_vmlinux
from .references import EVERYTHING

pytestmark = pytest.mark.skipif(not EVERYTHING, reason="needs a package of 800 MB: run make oracle")

_STRUCTS, _VALUES = 2000, 200
_MEMBERS = ("signal", "sighand", "cred", "mm", "files", "fs", "nsproxy", "sched_class", "thread_pid")
_OF_FILE = ("f_inode", "f_path.dentry", "f_op", "f_path.mnt")


@pytest.fixture(scope="module")
def vmlinux() -> Path:
    return debug_vmlinux(stock_kernel())


@pytest.fixture(scope="module")
def choose() -> random.Random:
    seed = int(os.environ.get("ARMPROBE_SEED") or random.randrange(1 << 32))
    progress(f"types: ARMPROBE_SEED={seed}")
    return random.Random(seed)


@pytest.fixture(scope="module")
def session() -> Iterator[Session]:
    with Session(stock_snapshot()) as session:
        yield session


def _number(die: DIE, attribute: str) -> int:
    return int(die.attributes[attribute].value) if attribute in die.attributes else 0


def _members(die: DIE, start: int, found: dict[str, tuple[int, int | None]]) -> None:
    """The offset in bits of each member, and its size if it is a bit field."""
    for child in die.iter_children():
        if child.tag != "DW_TAG_member":
            continue
        at = start + 8 * _number(child, "DW_AT_data_member_location") + _number(child, "DW_AT_data_bit_offset")
        if "DW_AT_name" in child.attributes:
            bits = _number(child, "DW_AT_bit_size") or None
            found.setdefault(child.attributes["DW_AT_name"].value.decode(), (at, bits))
            continue
        inner = child.get_DIE_from_attribute("DW_AT_type")
        if inner.tag in ("DW_TAG_structure_type", "DW_TAG_union_type"):
            _members(inner, at, found)


def _structs(vmlinux: Path, choose: random.Random) -> Iterator[tuple[str, DIE]]:
    """Random structs and unions by name, a few of each random unit."""
    with vmlinux.open("rb") as file:
        units = list(ELFFile(file).get_dwarf_info(relocate_dwarf_sections=False).iter_CUs())
        choose.shuffle(units)
        seen: set[str] = set()
        for unit in units:
            dies = [
                die
                for die in unit.get_top_DIE().iter_children()
                if die.tag in ("DW_TAG_structure_type", "DW_TAG_union_type")
                and "DW_AT_name" in die.attributes
                and "DW_AT_declaration" not in die.attributes
            ]
            choose.shuffle(dies)
            for die in dies[:60]:
                name = die.attributes["DW_AT_name"].value.decode()
                if name not in seen:
                    seen.add(name)
                    yield name, die
                if len(seen) == _STRUCTS:
                    return


def test_sizes_and_offsets_are_those_of_dwarf(session: Session, vmlinux: Path, choose: random.Random) -> None:
    types, different, count = typed_memory(session.machine).types, [], 0
    for name, die in _structs(vmlinux, choose):
        expected: dict[str, tuple[int, int | None]] = {}
        _members(die, 0, expected)
        struct = types[name]
        found = {each.name: (each.bit_offset, each.bit_field_size) for each in struct.members.values()}
        count += 1
        if (struct.size, found) != (_number(die, "DW_AT_byte_size"), expected):
            different.append(name)
    progress(f"types: {count} structs compared, {len(different)} differ")
    assert count == _STRUCTS
    assert different == []


def _placed(session: Session) -> list[tuple[str, int]]:
    """Structures of the guest: tasks, their files, and what belongs to them."""
    kernel = session.machine.kernel
    assert kernel is not None
    assert kernel.tasks is not None
    found: dict[tuple[str, int], None] = {}
    for task in kernel.tasks():
        value = kernel.read(task.address, "struct task_struct")
        found["struct task_struct", task.address] = None
        pointers = [value.member_(each) for each in _MEMBERS]
        for file in [value.files.fdt.fd[index] for index in range(3)] if task.mm else []:
            if file:
                pointers += [file, *(file.member_(each) for each in _OF_FILE), file.f_inode.i_sb]
        for each in filter(int, pointers):
            kind = str(each.type_).removeprefix("const ").removesuffix(" *")
            found[kind, int(each)] = None
    return list(found)


def test_text_is_that_of_drgn(session: Session, vmlinux: Path, choose: random.Random) -> None:
    drgn = pytest.importorskip("drgn", reason="drgn is not installed: pip install drgn")
    memory, kernel = session.machine.memory, session.machine.kernel
    assert kernel is not None

    def read(address: int, count: int, offset: int, physical: bool) -> bytes:
        try:
            return memory.read(address, count)
        except MachineError as error:
            raise drgn.FaultError(str(error), address) from None

    program = drgn.Program(drgn.Platform(drgn.Architecture.AARCH64))
    program.add_memory_segment(0, (1 << 64) - 1, read, False)
    module: Any = program.extra_module("kernel", create=True)
    (module[0] if isinstance(module, tuple) else module).try_file(vmlinux, force=True)
    placed = _placed(session)
    choose.shuffle(placed)
    shown: Callable[[str, int], str] = lambda kind, address: drgn.Object(program, kind, address=address).format_(  # noqa: E731
        columns=80, symbolize=False
    )
    different = [each for each in placed[:_VALUES] if str(kernel.read(each[1], each[0])) != shown(*each)]
    progress(f"types: {len(placed[:_VALUES])} structures compared with drgn, {len(different)} differ")
    assert len(placed) > 50
    assert different == []
