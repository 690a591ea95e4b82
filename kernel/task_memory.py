# SPDX-License-Identifier: GPL-2.0-or-later
"""What a task of a Linux guest has: its open files, and the areas of its memory, as /proc/PID/fd and maps have them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from .paths import FilePaths
from .structs import Structs, explained
from .trees import maple_tree

if TYPE_CHECKING:
    from collections.abc import Iterator

    from armprobe.machine import Symbols

_CLOEXEC: Final = 0o2000000  # O_CLOEXEC, which is not in f_flags (fs/proc/fd.c, seq_show)
_LONGEST_NAME: Final = 255  # bytes
_PAGE_SHIFT: Final = 12
_MINOR_BITS: Final = 20  # MINORBITS (include/linux/kdev_t.h)
_FLAGS: Final = ((1, "r"), (2, "w"), (4, "x"))  # VM_READ, VM_WRITE, VM_EXEC (include/linux/mm.h)
_MAY_SHARE: Final = 0x80  # VM_MAYSHARE


class OpenFile(NamedTuple):
    """An open file: its descriptor, its path as /proc/PID/fd has it, and what /proc/PID/fdinfo says of it.

    `flags` are those of open(2) (include/uapi/asm-generic/fcntl.h), `file` is the address of its struct file.
    """

    descriptor: int
    path: str
    flags: int
    position: int
    inode: int
    file: int


class MemoryArea(NamedTuple):
    """An area of a process's memory, from `start` up to `end`, as a line of /proc/PID/maps.

    `offset` is that in the file in bytes. `name` is the file's path, a name in brackets, or empty. `area` is the
    address of the struct vm_area_struct.
    """

    start: int
    end: int
    permissions: str
    offset: int
    major: int
    minor: int
    inode: int
    name: str
    area: int


def open_files(structs: Structs, symbols: Symbols, task: int) -> list[OpenFile]:
    """The open files of the task whose task_struct is at `task`. Raises MachineError, saying why."""
    with explained("the task's open files"):
        return list(_files(structs, FilePaths(structs, symbols), task))


def _files(structs: Structs, paths: FilePaths, task: int) -> Iterator[OpenFile]:
    files = structs.number(task, "task_struct", "files")
    if not files:
        return
    table = structs.number(files, "files_struct", "fdt")
    count, entries, opened, closing = (
        structs.number(table, "fdtable", name) for name in ("max_fds", "fd", "open_fds", "close_on_exec")
    )
    for word in range((count + 63) // 64):
        bits = structs.u64(opened + 8 * word)
        for bit in (bit for bit in range(64) if bits >> bit & 1):
            number = 64 * word + bit
            file = structs.u64(entries + 8 * number) & ~3  # a file that is being opened has none yet
            if not file:
                continue
            flags = structs.number(file, "file", "f_flags") & ~_CLOEXEC
            flags |= _CLOEXEC if structs.u64(closing + 8 * word) >> bit & 1 else 0
            inode = structs.number(file, "file", "f_inode")
            position = structs.number(file, "file", "f_pos")
            yield OpenFile(number, paths.of(file), flags, position, structs.number(inode, "inode", "i_ino"), file)


def memory_areas(structs: Structs, symbols: Symbols, task: int) -> list[MemoryArea]:
    """The areas of the task's memory, by address; none for a kernel thread. Raises MachineError, saying why."""
    with explained("the task's memory areas"):
        mm = structs.number(task, "task_struct", "mm")
        if not mm:
            return []
        paths = FilePaths(structs, symbols)
        heap, stack = (
            (structs.number(mm, "mm_struct", "start_brk"), structs.number(mm, "mm_struct", "brk")),
            structs.number(mm, "mm_struct", "start_stack"),
        )
        return [_area(structs, paths, symbols, area, heap, stack) for area in _areas(structs, mm)]


def _areas(structs: Structs, mm: int) -> Iterator[int]:
    """The addresses of the vm_area_structs: a maple tree since 6.1, a list before."""
    if structs.has("mm_struct", "mm_mt"):
        yield from maple_tree(structs, mm + structs.offset("mm_struct", "mm_mt"))
        return
    area, seen = structs.number(mm, "mm_struct", "mmap"), set[int]()
    while area and area not in seen:
        seen.add(area)
        yield area
        area = structs.number(area, "vm_area_struct", "vm_next")


def _area(
    structs: Structs, paths: FilePaths, symbols: Symbols, area: int, heap: tuple[int, int], stack: int
) -> MemoryArea:
    """What show_map_vma() prints (fs/proc/task_mmu.c)."""
    start, end, flags, file = (
        structs.number(area, "vm_area_struct", name) for name in ("vm_start", "vm_end", "vm_flags", "vm_file")
    )
    offset = device = inode = 0
    if file:
        of_file = structs.number(file, "file", "f_inode")
        device = structs.number(structs.number(of_file, "inode", "i_sb"), "super_block", "s_dev")
        inode = structs.number(of_file, "inode", "i_ino")
        offset = structs.number(area, "vm_area_struct", "vm_pgoff") << _PAGE_SHIFT
        name = paths.of(file)
    elif special := _special_name(structs, symbols, area):
        name = special
    elif start <= heap[1] and end >= heap[0]:
        name = "[heap]"
    elif start <= stack <= end:
        name = "[stack]"
    else:
        name = _given_name(structs, area)
    permissions = "".join(letter if flags & bit else "-" for bit, letter in _FLAGS)
    permissions += "s" if flags & _MAY_SHARE else "p"
    return MemoryArea(
        start,
        end,
        permissions,
        offset & (1 << 64) - 1,
        device >> _MINOR_BITS,
        device & (1 << _MINOR_BITS) - 1,
        inode,
        name,
        area,
    )


def _special_name(structs: Structs, symbols: Symbols, area: int) -> str:
    """[vdso] and others that special_mapping_name() names (mm/mmap.c)."""
    operations = structs.number(area, "vm_area_struct", "vm_ops")
    function = structs.number(operations, "vm_operations_struct", "name") if operations else 0
    named = symbols.at(function) if function else None
    if named is None or named[0].name != "special_mapping_name":
        return ""
    mapping = structs.number(area, "vm_area_struct", "vm_private_data")
    return structs.string(structs.number(mapping, "vm_special_mapping", "name"), _LONGEST_NAME)


def _given_name(structs: Structs, area: int) -> str:
    """A name that the program has given it (PR_SET_VMA_ANON_NAME, since 5.17)."""
    if not structs.has("vm_area_struct", "anon_name"):
        return ""
    given = structs.number(area, "vm_area_struct", "anon_name")
    return f"[anon:{structs.string(given + structs.offset('anon_vma_name', 'name'), _LONGEST_NAME)}]" if given else ""
