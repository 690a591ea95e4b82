# SPDX-License-Identifier: GPL-2.0-or-later
"""DWARF 5 made from a kernel's BTF: its types, its variables and the arguments of its functions, for debuggers."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Mapping

from armprobe.kernel.btf import Btf
from armprobe.machine.errors import MachineError

from .forms import ABBREVIATIONS, UNIT_HEADER, unit
from .functions import Function, Functions
from .types import TypeEntries
from .variables import Variable, Variables

__all__ = ["Function", "Variable", "debug_sections"]


def debug_sections(btf: Btf, functions: Mapping[str, Function], variables: Iterable[Variable] = ()) -> dict[str, bytes]:
    """The contents of sections, by name, with the types in `btf`, `variables` of these types, and those `functions`
    that it has prototypes of.

    Raises MachineError if `btf` is damaged.
    """
    try:
        types = TypeEntries(btf, UNIT_HEADER)
        described = Functions(types, functions)
        entries = types.entries + described.entries
        known = Variables(types, btf, variables, UNIT_HEADER + sum(map(len, entries)))
    except (struct.error, IndexError, ValueError, TypeError):
        raise MachineError("the guest's type information (BTF) is damaged") from None
    info, strings = unit(entries + known.entries, known.strings, described.ranges_at)
    return {
        ".debug_info": info,
        ".debug_abbrev": ABBREVIATIONS,
        ".debug_str": strings,
        ".debug_loclists": described.locations,
        ".debug_rnglists": described.ranges,
    }
