# SPDX-License-Identifier: GPL-2.0-or-later
"""Checks of the fields of a snapshot file. The file is not trusted: values that fail their check are refused."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from operator import call
from typing import Any

Check = Callable[[Any], bool]
U8, U32, U63, U64 = 1 << 8, 1 << 32, 1 << 63, 1 << 64


def integer(limit: int) -> Check:
    """A whole number from 0 up to, not including, `limit`."""
    return lambda value: type(value) is int and 0 <= value < limit


def boolean(value: Any) -> bool:
    """True or false."""
    return value is True or value is False


def optional(check: Check) -> Check:
    """Null, or a value that `check` accepts."""
    return lambda value: value is None or check(value)


def text(most: int) -> Check:
    """A text of up to `most` characters."""
    return lambda value: isinstance(value, str) and len(value) <= most


def several(check: Check, most: int, least: int = 0) -> Check:
    """A list of `least` to `most` values that `check` accepts."""
    return lambda value: isinstance(value, list) and least <= len(value) <= most and all(map(check, value))


def row(*checks: Check) -> Check:
    """A list of one value for each check."""
    return lambda value: isinstance(value, list) and len(value) == len(checks) and all(map(call, checks, value))


def record(fields: Mapping[str, Check]) -> Check:
    """An object of exactly these fields."""
    return lambda value: not misfit(value, fields)


def misfit(value: Any, fields: Mapping[str, Check]) -> str:
    """The first field of `value` that fails its check in `fields`; "" if none does."""
    if not isinstance(value, dict):
        return "all of it"
    for name, check in fields.items():
        if name not in value or not check(value[name]):
            return name
    return next((str(name) for name in value if name not in fields), "")
