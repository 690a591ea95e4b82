# SPDX-License-Identifier: GPL-2.0-or-later
"""JSON of what commands answer with (RFC 8259); docs/json.md has its form."""

from __future__ import annotations

import json
from dataclasses import fields, is_dataclass
from functools import cache
from typing import Any, Final, get_args, get_type_hints

from armprobe.commands.values import Hex

VERSION: Final = 1
"""Of the form; docs/json.md says what may change in it."""
_HEX_ENDING = "_hex"


def as_json_line(command: str, value: object, error: str) -> str:
    """The line for a command that has been run: what came of it, and `error`, empty if it succeeded.

    It is ASCII without control characters, so that it can be shown on a terminal.
    """
    line: dict[str, Any] = {"command": command, "ok": not error}
    if error:
        line["error"] = error
    if value is not None or not error:
        line["value"] = as_json(value)
    return json.dumps(line).replace("\x7f", "\\u007f") + "\n"


def as_json(value: object) -> Any:
    """A value as what `json` writes: objects, arrays, numbers, strings, truth values and null.

    A field that people read in hexadecimal has another beside it, its name ending in "_hex", which is a string.
    Bytes are strings of hexadecimal digits. Raises TypeError for what is no value.
    """
    if is_dataclass(value) and not isinstance(value, type):
        found: dict[str, Any] = {}
        hexadecimal = _hexadecimal(type(value))
        for field in fields(value):
            content = getattr(value, field.name)
            found[field.name] = as_json(content)
            if field.name in hexadecimal:
                found[field.name + _HEX_ENDING] = _hex(content)
        return found
    if isinstance(value, tuple):
        return [as_json(each) for each in value]
    if isinstance(value, bytes):
        return value.hex()
    if value is None or isinstance(value, bool | int | float | str):
        return value
    raise TypeError(f"there is no JSON for {type(value).__name__}")


def _hex(content: int | tuple[int, ...] | None) -> Any:
    if content is None:
        return None
    return [f"{each:#x}" for each in content] if isinstance(content, tuple) else f"{content:#x}"


@cache
def _hexadecimal(record: type) -> frozenset[str]:
    """The names of the fields that people read in hexadecimal."""
    hints = get_type_hints(record, include_extras=True)
    return frozenset(name for name, hint in hints.items() if hint == Hex or Hex in get_args(hint))
