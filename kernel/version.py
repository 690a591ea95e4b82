# SPDX-License-Identifier: GPL-2.0-or-later
"""The version of a Linux kernel, from the banner in its read-only data."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from mmap import mmap
from typing import TYPE_CHECKING, Final

from armprobe.machine.errors import MachineError

if TYPE_CHECKING:
    from armprobe.machine import Machine

Version = tuple[int, int, int]
"""A version of Linux: (6, 1, 192) for 6.1.192."""

_START: Final = b"Linux version "
# linux_banner (init/version.c)
_BANNER: Final = re.compile(rb"Linux version (\d{1,4}\.\d{1,4})[^\d\n\0][^\n\0]{0,500}\n\0")
_WITHIN: Final = 64 << 20  # bytes from the start of RAM that are searched
_TRIES: Final = 100


def linux_version(machine: Machine) -> Version | None:
    """The version of the Linux kernel in the RAM of `machine`, or None if it does not say.

    Some distributions keep the last number at 0 in the output of `uname -r`, and have the true one later in the banner:
    "Linux version 6.1.0-56-cloud-arm64 (...) #1 SMP Debian 6.1.192-2".
    """
    # Read-only data follows the code, which takes a while to search. In old kernels it is before _etext.
    starts = dict.fromkeys((_code_size(machine), 0))
    banner = next((found for start in starts for found in _banners(machine.ram.pages, start)), None)
    if banner is None:
        return None
    points = re.findall(rb"(?<![\d.])" + re.escape(banner[1]) + rb"\.(\d{1,4})(?!\d)", banner[0])
    major, minor = map(int, banner[1].split(b"."))
    return major, minor, max(map(int, points), default=0)


def _code_size(machine: Machine) -> int:
    """The size of the kernel's code in bytes, 0 if it is not known."""
    start, end = (machine.symbols.in_kernel(name) for name in ("_stext", "_etext"))
    return max(end.address - start.address, 0) if start and end else 0


def banner_in(data: bytes) -> str:
    """The banner of the Linux kernel in `data`, as /proc/version has it; empty if there is none.

    Since Linux 6.1 a kernel has two: the first was compiled before the number and the time of the build were known, and
    nothing uses it (init/version.c, `__weak`). The other one differs only behind the "#".
    """
    found = _used(_banners(data))
    return "" if found is None else found[0][:-2].decode("ascii", "backslashreplace")


def linux_banner(machine: Machine) -> tuple[int, int]:
    """The address of the variable linux_banner, and its size in bytes. Raises MachineError if it is not found."""
    code_end, init = (machine.symbols[name].address for name in ("_etext", "_sinittext"))  # between them is other data
    slide = code_end - (machine.memory.translate(code_end).physical - machine.ram.base)
    found = _used(_banners(machine.ram.pages, code_end - slide, init - slide))
    if found is None:
        raise MachineError("the kernel's banner is not found")
    return found.start() + slide, len(found[0])


def _used(banners: Iterable[re.Match[bytes]]) -> re.Match[bytes] | None:
    """That which the kernel uses."""
    found = None
    for banner in banners:
        if found is None or banner[0].partition(b"#")[0] == found[0].partition(b"#")[0]:
            found = banner
    return found


def _banners(data: bytes | mmap, start: int = 0, end: int = _WITHIN) -> Iterator[re.Match[bytes]]:
    at = start - 1
    for _ in range(_TRIES):
        at = data.find(_START, at + 1, end)
        if at < 0:
            return
        if banner := _BANNER.match(data, at):
            yield banner
