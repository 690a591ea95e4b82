# SPDX-License-Identifier: GPL-2.0-or-later
"""Loaded into gdb by `gdb_proxy.py`: gdb's variables for a stop of the machine. Standard library only."""

import json
from typing import Any

import gdb

# A result of these types that fits into x0 is there (AAPCS64, "Result return").
SCALARS = gdb.TYPE_CODE_INT, gdb.TYPE_CODE_PTR, gdb.TYPE_CODE_ENUM, gdb.TYPE_CODE_BOOL, gdb.TYPE_CODE_CHAR
VARIABLES = ("_kprobe", "_stage", "_hit", "_retval", "_position")


def set_variables(said: str | None) -> None:
    """Set the variables of a stop: $_position, the count of instructions, and of a probe's $_kprobe, $_stage, $_hit.

    At its return there is also $_retval. Those of a probe are void if the machine has stopped for another reason.
    said: the answer to qArmprobe.stop.
    """
    probe = json.loads(said or "null") or {}
    values = (probe.get("name"), probe.get("stage"), probe.get("hit"), returned(probe), probe.get("position"))
    for name, value in zip(VARIABLES, values, strict=True):
        gdb.set_convenience_variable(name, value)


def set_position(said: str | None) -> None:
    """Set $_position, also where the machine was moved without a stop. said: the answer to qArmprobe.stop."""
    gdb.set_convenience_variable("_position", json.loads(said or "{}").get("position"))


def returned(probe: dict[str, Any]) -> Any:
    """The function's result at the stage return, with its type if known. None if the result is not in x0."""
    if probe.get("stage") != "return":
        return None
    value = gdb.newest_frame().read_register("x0")
    name = probe["function"]
    symbol = (gdb.lookup_global_symbol(name) or gdb.lookup_static_symbol(name)) if name else None
    if symbol is None or symbol.type is None or symbol.type.code != gdb.TYPE_CODE_FUNC:
        return value
    kind = symbol.type.target()
    scalar = kind.strip_typedefs().code in SCALARS
    return value.cast(kind) if scalar and kind.sizeof <= value.type.sizeof else None
