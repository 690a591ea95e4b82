# SPDX-License-Identifier: GPL-2.0-or-later
"""VMCOREINFO: what a Linux kernel leaves in its memory for tools that read crash dumps.

Lines such as "SYMBOL(prb)=ffff800009a6d3f0" (Documentation/admin-guide/kdump/vmcoreinfo.rst). They also name data that
has no symbol in a kernel without CONFIG_KALLSYMS_ALL.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, Final

from armprobe.machine.errors import MachineError

if TYPE_CHECKING:
    from armprobe.machine import Machine

_START: Final = b"OSRELEASE="
_SIZE: Final = 4096  # bytes: VMCOREINFO_BYTES is a page
_TRIES: Final = 100
_NEEDED: Final = {"SYMBOL(swapper_pg_dir)", "SYMBOL(init_uts_ns)"}
_LINE: Final = re.compile(rb"([A-Z][A-Za-z]*(?:\([\w.]+\))?)=([!-~]*)\n")


def vmcoreinfo(machine: Machine) -> dict[str, str]:
    """The lines of VMCOREINFO by what is before the `=`. Raises MachineError if the guest has none (yet)."""
    return _lines(vmcoreinfo_text(machine))


def vmcoreinfo_text(machine: Machine) -> bytes:
    """VMCOREINFO as it is in memory, less than a page. Raises MachineError as `vmcoreinfo` does."""
    for text in _texts(machine):
        return text
    raise MachineError("the guest has no VMCOREINFO, where a kernel says where its data is: it has not booted so far")


def candidates(machine: Machine) -> Iterator[dict[str, str]]:
    """What may be VMCOREINFO, as `vmcoreinfo` gives it: RAM may have copies, and a guest can make up any number."""
    return map(_lines, _texts(machine))


def _texts(machine: Machine) -> Iterator[bytes]:
    ram, at = machine.ram, -1
    for _ in range(_TRIES):
        at = ram.pages.find(_START, at + 1)
        if at < 0:
            return
        text = bytes(ram.data[at : at + _SIZE]).partition(b"\0")[0]
        if _lines(text).keys() >= _NEEDED:
            yield text


def _lines(text: bytes) -> dict[str, str]:
    return {name.decode(): value.decode() for name, value in _LINE.findall(text)}
