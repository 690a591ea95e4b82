# SPDX-License-Identifier: GPL-2.0-or-later
"""What a `GdbSession` gives of gdb's view of the machine: breakpoints, stack frames, registers."""

import re
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Self

from .gdb_records import GdbError, Record

_NAME = re.compile(r"[A-Za-z_]\w*")
# gdb's messages for a name it does not know, with and without a program's symbols (gdb/c-exp.y, classify_name).
_NO_SYMBOL = re.compile(r'^No symbol (?:table is loaded|"(\w+)" in current context)')


class DebuggerBreakpoint:
    """A breakpoint that a debugger has. As a context manager it is deleted at the end."""

    def __init__(self, number: int, location: str, address: int | None) -> None:
        self.number = number
        self.location = location
        self.address = address
        """None if it is pending, or has several locations."""
        self._deleted = False

    def delete(self) -> None:
        """Delete it from the debugger. Does nothing if that was done before."""
        if not self._deleted:
            self._delete()
            self._deleted = True

    def _delete(self) -> None:
        raise NotImplementedError

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        try:
            self.delete()
        except GdbError:
            if kind is None:  # else the first error matters
                raise

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.number} at {self.location}{', deleted' * self._deleted}>"


class GdbBreakpoint(DebuggerBreakpoint):
    """A breakpoint that gdb has."""

    def __init__(self, command: Callable[[str], Record], record: Record) -> None:
        """command: runs an MI command. record: gdb's description of the breakpoint ("bkpt")."""
        address = None if record.get("addr", "<")[0] == "<" else int(record["addr"], 16)
        super().__init__(int(record["number"]), str(record.get("original-location", "")), address)
        self._command = command

    @property
    def hits(self) -> int:
        """How often the machine has stopped here. Raises `GdbError` if gdb no longer has the breakpoint."""
        return int(self._described()["times"])

    @property
    def condition(self) -> str:
        """The condition, in gdb's names; empty if there is none."""
        return str(self._described().get("cond", ""))

    @property
    def pending(self) -> bool:
        """Whether its place is still unknown."""
        return "pending" in self._described()

    @property
    def enabled(self) -> bool:
        """Whether it stops the machine. May be set."""
        return bool(self._described()["enabled"] == "y")

    @enabled.setter
    def enabled(self, value: bool) -> None:
        self._described()
        self._command(f"-break-{'enable' if value else 'disable'} {self.number}")

    def _delete(self) -> None:
        self._command(f"-break-delete {self.number}")

    def _described(self) -> Record:
        rows = [] if self._deleted else self._command(f"-break-info {self.number}")["BreakpointTable"]["body"]
        if not rows:
            raise GdbError(f"gdb has no breakpoint {self.number} ({self.location}) any more")
        record: Record = rows[0]
        return record


@dataclass(frozen=True)
class GdbFrame:
    """A frame of the stack. Level 0 is where the machine is."""

    level: int
    address: int
    """The pc in this frame."""
    function: str
    """Empty if gdb does not know it."""
    file: str
    """The source file as the compiler named it; empty if gdb does not know it."""
    line: int | None
    args: Mapping[str, str] = field(default_factory=dict)
    """The function's arguments, in gdb's format; those of a function without debug information are unknown."""

    @classmethod
    def of(cls, record: Record, args: Mapping[str, str]) -> Self:
        """The frame that an MI record describes."""
        return cls(
            level=int(record["level"]),
            address=int(record["addr"], 16),
            function=record.get("func", "").replace("??", ""),
            file=record.get("file", ""),
            line=int(record["line"]) if "line" in record else None,
            args=args,
        )

    def __repr__(self) -> str:
        place = f" {self.file}:{self.line}" if self.line is not None else ""
        return f"<GdbFrame {self.level} {self.address:#x} {self.function or '??'}{place}>"


class GdbRegisters(Mapping[str, int]):
    """The registers of the selected frame that hold one number, by gdb's names. Each may be assigned to.

    Any of gdb's names is understood, also $w0 and $lr. An iteration gives those that gdb lists itself. A name that gdb
    does not know raises KeyError. One that holds several numbers, such as $v0, raises `GdbError`.
    """

    def __init__(self, command: Callable[[str], Record], read: Callable[[str], int]) -> None:
        """command: runs an MI command. read: gives the value of a register."""
        self._command = command
        self._read = read

    def __getitem__(self, name: str) -> int:
        self._check(name)
        return self._read(name)

    def __setitem__(self, name: str, value: int) -> None:
        self._check(name)
        self._command(f'-data-evaluate-expression "${name} = {value:#x}"')

    def __contains__(self, name: object) -> bool:
        try:
            self._check(name)
        except KeyError:
            return False
        return True

    def __iter__(self) -> Iterator[str]:
        names = self._command("-data-list-register-names")["register-names"]
        values = self._command("-data-list-register-values --skip-unavailable x")["register-values"]
        for each in values:
            if each["value"].startswith("0x"):  # a union or a vector has braces
                yield names[int(each["number"])]

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def _check(self, name: object) -> None:
        """Raise KeyError for a name that gdb has no register for. An assignment would make it a gdb variable."""
        if not isinstance(name, str) or not _NAME.fullmatch(name) or self._is_void(name):
            raise KeyError(f"gdb knows no register {name!r}")

    def _is_void(self, name: str) -> bool:
        return bool(self._command(f'-data-evaluate-expression "${name}"')["value"] == "void")

    def __repr__(self) -> str:
        return "<GdbRegisters>"  # without asking gdb, which refuses while the machine runs


def condition_in_gdb_s_names(condition: str, refusal: str, registers: Collection[str]) -> str | None:
    """`condition` with a `$` before a register's name which gdb refused as an unknown symbol. None if that is not why.

    armprobe's own conditions have `x0`, gdb's have `$x0`. A variable of the program that has such a name stays one.
    """
    refused = _NO_SYMBOL.search(refusal)
    if refused is None:
        return None
    names = [refused[1]] if refused[1] else {*_NAME.findall(condition)}
    wanted = "|".join(name for name in names if name in registers)
    changed = re.sub(rf"(?<![\w$.>])(?:{wanted})\b", r"$\g<0>", condition) if wanted else condition
    return changed if changed != condition else None
