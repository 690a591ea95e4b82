# SPDX-License-Identifier: GPL-2.0-or-later
"""The version of a Linux kernel, from the banner in its read-only data."""

from __future__ import annotations

import re
from collections.abc import Iterator
from mmap import mmap
from typing import TYPE_CHECKING, Final

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
    banner = next(_banners(machine.ram.pages), None)
    if banner is None:
        return None
    points = re.findall(rb"(?<![\d.])" + re.escape(banner[1]) + rb"\.(\d{1,4})(?!\d)", banner[0])
    major, minor = map(int, banner[1].split(b"."))
    return major, minor, max(map(int, points), default=0)


def banner_in(data: bytes) -> str:
    """The banner of the Linux kernel in `data`, as /proc/version has it; empty if there is none.

    Since Linux 6.1 a kernel has two: the first was compiled before the number and the time of the build were known, and
    nothing uses it (init/version.c, `__weak`). The other one differs only behind the "#".
    """
    found = b""
    for banner in _banners(data):
        if not found or banner[0].partition(b"#")[0] == found.partition(b"#")[0]:
            found = banner[0]
    return found[:-2].decode("ascii", "backslashreplace")


def _banners(data: bytes | mmap) -> Iterator[re.Match[bytes]]:
    at = -1
    for _ in range(_TRIES):
        at = data.find(_START, at + 1, _WITHIN)
        if at < 0:
            return
        if banner := _BANNER.match(data, at):
            yield banner
