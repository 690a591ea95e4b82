# SPDX-License-Identifier: GPL-2.0-or-later
"""The types of fetch arguments (probe_fetch_types in kernel/trace/trace_probe.c)."""

from __future__ import annotations

from typing import Final, NamedTuple

from .numbers import BadNumber, unsigned


class FetchType(NamedTuple):
    """A type of fetch arguments.

    `declaration` is its name in the format file, `form` how that prints a value, and `size` the bytes that a value has
    in the event: of a string, those of its place (`__data_loc`).
    """

    name: str
    size: int
    signed: bool
    is_string: bool
    form: str
    declaration: str


def _string(name: str) -> FetchType:
    return FetchType(name, 4, True, True, r"\"%s\"", "__data_loc char[]")


def _integers() -> dict[str, FetchType]:
    types = {}
    for bits in (8, 16, 32, 64):
        long = "L" * (bits == 64)
        for letter, form in (("u", f"%{long}u"), ("s", f"%{long}d"), ("x", f"0x%{long}x")):
            name, shown = f"{letter}{bits}", f"{'u' if letter == 'x' else letter}{bits}"
            types[name] = FetchType(name, bits // 8, letter == "s", False, form, shown)
    return types


TYPES: Final = {
    **{name: _string(name) for name in ("string", "ustring", "symstr")},
    **_integers(),
    "symbol": FetchType("symbol", 8, False, False, "%pS", "u64"),
}


def find_type(text: str | None) -> FetchType | None:
    """The type that `text` names, of a bit-field the one that has it; x64 for None. None if there is none."""
    if text is None:
        return TYPES["x64"]
    if text.startswith("b"):
        try:
            return TYPES.get(f"u{unsigned(text.partition('/')[2])}")
        except BadNumber:
            return None
    return TYPES.get(text)
