# SPDX-License-Identifier: GPL-2.0-or-later
"""Runs in gdb: what gdb says of the arguments at functions' entries, and what the command `print` says of them.

ARGUMENTS_AT has the addresses of the functions, and ARGUMENTS_WANTED the number of functions that are looked at. The
line that begins with a brace is JSON: for each function the name and both values of each argument that is a number.
"""

import json
import os
import re
from collections.abc import Iterator

import gdb


def arguments(frame: gdb.Frame) -> Iterator[tuple[str, gdb.Value]]:
    block = frame.block()
    while block.function is None or block.function.name != frame.function().name:
        block = block.superblock
    for symbol in block:
        if symbol.is_argument:
            value = frame.read_var(symbol, block)
            code = value.type.strip_typedefs().code
            if not value.is_optimized_out and code not in (gdb.TYPE_CODE_STRUCT, gdb.TYPE_CODE_UNION):
                yield symbol.name, value


def look() -> dict[str, list[tuple[str, int, object]]]:
    found: dict[str, list[tuple[str, int, object]]] = {}
    for place in os.environ["ARGUMENTS_AT"].split():
        gdb.execute(f"tbreak *{place}", to_string=True)
    while len(found) < int(os.environ["ARGUMENTS_WANTED"]):
        gdb.execute("continue", to_string=True)
        frame = gdb.selected_frame()
        while frame.type() == gdb.INLINE_FRAME:  # of a function whose code is at the entry of another
            frame = frame.older()
        if frame.function() is None:
            continue
        rows = found.setdefault(frame.function().name, [])
        for name, value in arguments(frame):
            said = gdb.execute(f"monitor print (u64)({name})", to_string=True).strip()
            number = re.fullmatch(r"\(u64\)(\d+)", said)
            rows.append((name, int(value) % (1 << 64), int(number[1]) if number else said))
    return found


gdb.execute("set pagination off")
gdb.execute("set confirm off")
print(json.dumps(look()))
