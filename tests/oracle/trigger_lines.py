# SPDX-License-Identifier: GPL-2.0-or-later
"""Random texts for the files `filter` and `trigger` of an event, by the kernel's grammar, many of them damaged."""

from __future__ import annotations

import random
from typing import Final

# Functions that nothing calls while the texts are written, so that no count of a trigger is used up.
DEFINITIONS: Final = (
    "p:ev vfs_fallocate a=%x2:u64 b=%x1:s32 s=+0(%x0):string u=%x2:u8 w=+0(%x0):u32[3] q=+0(%x0):u32[2] h=%x1:s16"
    " nr=%x2:u32 st=+0(%x0):string[2]",
    "p:two vfs_fsync_range a=%x2:u64",
)
_NUMBERS: Final = ("a", "b", "u", "q", "h", "nr", "w", "cpu", "common_pid", "common_type", "common_cpu", "__probe_ip")
_STRINGS: Final = ("s", "st", "comm", "COMM")
_UNKNOWN: Final = ("nofield", "0a", "_x")
_LITERALS: Final = (
    "0",
    "1",
    "-1",
    "0x10",
    "-0x64",
    "017",
    "08",
    "4294967295",
    "18446744073709551615",
    "1x",
    "--1",
    "x",
)
_LITERALS_TOO_LONG: Final = ("99999999999999999999", "0x123456789012345678901234", "+1", "")
_TEXTS: Final = ('"*x*"', '"a*"', '"*b"', '"a[bc]d"', "'q'", '""', '"!z*"', '"1*"', '"a\\\\*"', '"é"')
_PIECES: Final = (*"()&|!=<>~\"' -09ax.:,$+*/#\t", "if ", "&&", "||", ".hex", "keys=", "\xa0")
_MODIFIERS: Final = (".hex", ".sym", ".sym-offset", ".log2", ".execname", ".syscall", ".buckets=10", ".bucket=0x20")
_WRONG_MODIFIERS: Final = (".bucket=0", ".buckets", ".usecs", ".percent", ".graph", ".bad")
_SIZES: Final = ("65", "64", "100", "128", "4096", "200000", "0", "x", "0x80")


class Lines:
    """Makes the texts of one seed."""

    def __init__(self, seed: int) -> None:
        self._rng = random.Random(seed)
        self._variables = 0  # each histogram has names of its own

    def line(self) -> tuple[str, str]:
        """The name of the file, and a text for it."""
        kind, text = ("filter", self._filter()) if self._chance(0.5) else ("trigger", self._trigger())
        return kind, self._damaged(text) if self._chance(0.4) else text

    def _chance(self, probability: float) -> bool:
        return self._rng.random() < probability

    def _damaged(self, text: str) -> str:
        for _ in range(self._rng.randint(1, 2)):
            at = self._rng.randint(0, len(text))
            piece = "" if self._chance(0.4) else self._rng.choice(_PIECES)
            text = text[:at] + piece + text[at + self._rng.randint(0, 1) :]
        return text

    def _filter(self, depth: int = 2) -> str:
        kind = self._rng.random()
        if depth == 0 or kind < 0.5:
            return self._rng.choice(("", "", "", "!", " !")) + self._predicate()
        if kind < 0.65:
            return self._rng.choice(("", "!")) + f"({self._filter(depth - 1)})"
        operator = self._rng.choice((" && ", " || ", "&&", "||"))
        return self._filter(depth - 1) + operator + self._filter(depth - 1)

    def _predicate(self) -> str:
        choose = self._rng.choice
        of_strings = self._chance(0.4)
        name = choose(_UNKNOWN) if self._chance(0.05) else choose(_STRINGS if of_strings else _NUMBERS)
        if self._chance(0.1):
            of_strings = not of_strings
        operators: tuple[str, ...] = ("==", "!=", "~") if of_strings else ("==", "!=", "<", "<=", ">", ">=", "&")
        operand = choose(_TEXTS if of_strings else _LITERALS_TOO_LONG if self._chance(0.1) else _LITERALS[:9])
        if self._chance(0.1):
            operators, operand = ("~", "<", "&", "=", "=~"), choose((*_LITERALS, *_TEXTS))
        space = choose(("", " ", "  "))
        return f"{name}{'.ustring' if self._chance(0.03) else ''}{space}{choose(operators)}{space}{operand}"

    def _trigger(self) -> str:
        choose = self._rng.choice
        kind = self._rng.random()
        if kind < 0.65:
            text = self._hist()
        elif kind < 0.85:
            counts = ("", "", ":5", ":0", ":x", ":3:4", ": 3", ":-1", ":18446744073709551615")
            text = choose(("traceon", "traceoff", "snapshot", "stacktrace")) + choose(counts)
        else:
            events = (":kprobes:two", ":kprobes:ev", ":kprobes:two:3", ":kprobes:none", ":two", ":kprobes:two:", "")
            text = choose(("enable_event", "disable_event", "enable_hist", "disable_hist")) + choose(events)
        if self._chance(0.3):
            text += choose((" if ", " if  ", "  if\t", " If ", "if ")) + self._filter()
        return f"!{text}" if self._chance(0.3) else text

    def _hist(self) -> str:
        self._variables += 1
        parts = ["keys=" + self._expressions((1, 1, 1, 2, 3, 4))]
        if self._chance(0.4):
            parts.append(self._rng.choice(("vals=", "val=", "values=")) + self._expressions((1, 1, 2, 3)))
        if self._chance(0.4):
            sorts = (
                self._rng.choice(("hitcount", "a", "b", "u", "")) + self._rng.choice(("", "", ".descending", ".x"))
                for _ in range(self._rng.choice((1, 1, 2, 3)))
            )
            parts.append("sort=" + ",".join(sorts))
        for chance, name, values in (
            (0.15, "size=", _SIZES),
            (0.15, "name=", ("foo", "bar")),
            (0.05, "clock=", ("global", "mono", "nope")),
            (0.15, "", ("pause", "cont", "continue", "clear", "paus")),
        ):
            if self._chance(chance):
                parts.append(name + self._rng.choice(values))
        if self._chance(0.1):
            parts.append(f"x{self._variables}={self._expression()}")
        return "hist:" + ":".join(parts)

    def _expressions(self, counts: tuple[int, ...]) -> str:
        return ",".join(self._expression() for _ in range(self._rng.choice(counts)))

    def _expression(self) -> str:
        choose = self._rng.choice
        kind = self._rng.random()
        if kind < 0.7:
            names = ("a", "b", "u", "h", "nr", "common_pid", "cpu", "common_timestamp", "__probe_ip", "stacktrace", "s")
            name = choose(("hitcount", "nofield", "w", "st", "q")) if self._chance(0.15) else choose(names)
            if self._chance(0.6):
                return name
            return name + choose(_WRONG_MODIFIERS if self._chance(0.2) else _MODIFIERS)
        if kind < 0.8:
            return choose(("0", "1", "7", "0x10", "1x", f"$x{self._variables}"))
        if kind < 0.85:
            return f"-({self._expression()})"
        return self._expression() + choose("+-*/") + self._expression()
