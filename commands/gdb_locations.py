# SPDX-License-Identifier: GPL-2.0-or-later
"""Loaded into gdb by `gdb_proxy.py`: places of probes as gdb's own linespecs. Standard library only."""

import json
import re
from collections.abc import Callable
from typing import Any

import gdb

# FILE:LINE and FILE:FUNCTION, where the file has a dot or a slash, unlike a module; *EXPRESSION, unlike a pattern such
# as *_read; $EXPRESSION. Everything else is the machine's own to read.
_LINESPEC = re.compile(r"[^\s:*]*[./][^\s:]*:\S+|\*(?:[0-9$(&]\S*|\w+[+-]\w+)|\$\S+")
_WORD = re.compile(r"\s*(\S+)")


def resolved(argument: str, place: Callable[[str], str | None]) -> str:
    """The argument of a probe's command with a linespec that it begins with replaced by its address.

    place: the machine's description of an address, JSON. Raises `gdb.GdbError` if gdb does not find one place.
    """
    word = _WORD.match(argument)
    if word is None or _LINESPEC.fullmatch(word[1]) is None:
        return argument
    return argument[: word.start(1)] + f"{_address(word[1], place):#x}" + argument[word.end(1) :]


def _address(spec: str, place: Callable[[str], str | None]) -> int:
    if spec[0] == "$":  # of the frame that is selected
        return _evaluated(spec)
    try:
        found = gdb.decode_line(spec)[1] or ()
    except gdb.error as error:
        raise gdb.GdbError(str(error)) from None
    addresses = sorted({each.pc for each in found if each.pc})
    if len(addresses) != 1:
        places = ", ".join(f"*{address:#x}" for address in addresses)
        raise gdb.GdbError(
            f"{spec} is at {len(addresses)} addresses: name one of them: {places}" if places else f"{spec} has no code"
        )
    if spec[0] == "*" or spec.rpartition(":")[2].isdecimal():
        return int(addresses[0])
    # gdb's place of a function is behind its prologue. A probe is at its first instruction.
    described: Any = json.loads(place(f"{addresses[0]:#x}") or "null")
    return int(described["start"] if described else addresses[0])


def _evaluated(expression: str) -> int:
    try:
        return int(gdb.parse_and_eval(f"(unsigned long) ({expression})"))
    except gdb.error as error:
        raise gdb.GdbError(str(error)) from None


def is_file(text: str) -> bool:
    """Whether the text to complete is the beginning of a linespec with a file, which gdb completes."""
    return re.fullmatch(r"[^\s:*$]*[./][^\s:]*(?::\S*)?", text) is not None
