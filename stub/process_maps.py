# SPDX-License-Identifier: GPL-2.0-or-later
"""/proc/1/maps and /proc/1/smaps: the guest's mappings in the form that gdb reads of a Linux process (proc(5)).

gdb takes the machine for a process of GNU/Linux's, by its default OS ABI, and asks for these files by vFile: `gcore`
writes the memory that smaps lists, and `info proc mappings` shows maps. Without smaps gdb 13 writes the sections of the
program and, as the stack, all memory from address 0 to sp.
"""

from collections.abc import Callable

from armprobe.machine.memory.regions import Region

from .target import MemoryMap, display_of
from .wire import ADDRESS_SPACE

_RAM = "RAM"
_PAGE = 4096
# A guest may map the same memory any number of times: Linux maps nearly all of it once, and the kernel once more.
_MOST_TIMES = 2


def _line(region: Region, note: str) -> str:
    access = "".join(letter if letter in region.access else "-" for letter in "rwx")
    return f"{region.start:016x}-{_end(region):016x} {access}p 00000000 00:00 0{note}\n"


def _end(region: Region) -> int:
    """gdb takes no number of more than 64 bits."""
    return min(region.end, ADDRESS_SPACE - _PAGE)


def _maps(target: MemoryMap) -> str:
    return "".join(_line(each, f" [{each.name}]") for each in target.mapped_memory() if each.start < _end(each))


def _smaps(target: MemoryMap) -> str:
    """RAM only, as reading a device may change it, and no more than a core file may have, the kernel's half first."""
    regions = [each for each in target.mapped_memory() if each.name == _RAM and each.start < _end(each)]
    left = _MOST_TIMES * target.memory_size
    kept: list[Region] = []
    for region in sorted(regions, key=lambda each: each.start < ADDRESS_SPACE >> 1):
        size = _end(region) - region.start
        if size <= left:
            left -= size
            kept.append(region)
    if len(kept) < len(regions):
        display_of(target)(
            f"a core file gets {len(kept):,} of the {len(regions):,} regions of memory that the guest maps: all would "
            f"have more than {_MOST_TIMES} times the size of its memory\n"
        )
    return "".join(_line(each, "") for each in sorted(kept, key=lambda each: each.start))


FILES: dict[str, Callable[[MemoryMap], str]] = {"/proc/1/maps": _maps, "/proc/1/smaps": _smaps}
"""The function that makes each file. 1 is the number of the process whose thread is the CPU."""
