# SPDX-License-Identifier: GPL-2.0-or-later
"""DWARF 5 made from a kernel's BTF: its types, its variables and the arguments of its functions, for debuggers."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Mapping

from armprobe.kernel.btf import Btf
from armprobe.machine.errors import MachineError
from armprobe.machine.native.entries import Function

from .forms import ABBREVIATIONS, TYPES_HEADER, UNIT_STRINGS, Units
from .functions import Functions
from .types import TypeEntries
from .unit_types import UnitTypes, all_types
from .variables import Variable, Variables

__all__ = ["Function", "Variable", "debug_sections"]


def debug_sections(btf: Btf, functions: Mapping[str, Function], variables: Iterable[Variable] = ()) -> dict[str, bytes]:
    """The contents of sections, by name, with the types in `btf`, `variables` of these types, and those `functions`
    that it has prototypes of.

    Raises MachineError if `btf` is damaged.
    """
    try:
        types = TypeEntries(btf)
        described = UnitTypes(types, all_types(types), TYPES_HEADER)
        known = Variables(types, described, btf, variables)
        code = Functions(types, functions)
    except (struct.error, KeyError, IndexError, ValueError, TypeError):
        raise MachineError("the guest's type information (BTF) is damaged") from None
    units = Units(len(known.strings))
    units.add([described.entries, *known.entries])
    for unit in code.units:
        units.add(unit.entries, unit.spans)
    return {
        ".debug_info": units.info,
        ".debug_abbrev": ABBREVIATIONS,
        ".debug_str": known.strings + UNIT_STRINGS,
        ".debug_loclists": code.locations,
        ".debug_rnglists": units.ranges,
    }
