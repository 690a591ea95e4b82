# SPDX-License-Identifier: GPL-2.0-or-later
"""Loads the C core, and makes ctypes classes of its structures.

The layout of each structure comes from the library itself (native.h), so that it is written down once. What Python
declares of it is compared with that when the class is made.
"""

from __future__ import annotations

import ctypes
import typing
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final, TypeVar

from armprobe.machine.errors import MachineError

from .compile import NAME, digest

S = TypeVar("S", bound=ctypes.Structure)

_SCALARS: Final[dict[str, type[Any]]] = {
    "bool": ctypes.c_bool,
    "int8_t": ctypes.c_int8,
    "uint8_t": ctypes.c_uint8,
    "int16_t": ctypes.c_int16,
    "uint16_t": ctypes.c_uint16,
    "int32_t": ctypes.c_int32,
    "uint32_t": ctypes.c_uint32,
    "int64_t": ctypes.c_int64,
    "uint64_t": ctypes.c_uint64,
}


class LibraryError(MachineError, ImportError):
    """The C core is missing, or is not the one that this Python code belongs to."""

    def __init__(self, what: str) -> None:
        super().__init__(f"{what}: run `make`, or install armprobe again")
        self.name = __package__  # by which face/__main__.py knows it


class _Row(ctypes.Structure):
    """`struct row` of native.h, which describes the others."""

    name: bytes | None
    type: bytes
    count: int
    offset: int
    size: int
    _fields_: typing.ClassVar = [
        ("name", ctypes.c_char_p),
        ("type", ctypes.c_char_p),
        ("count", ctypes.c_uint32),
        ("offset", ctypes.c_uint32),
        ("size", ctypes.c_uint32),
    ]


def load(path: Path) -> ctypes.PyDLL:
    """The library at `path`. Its functions are called with the interpreter's lock held.

    Raises LibraryError: there is none, or it was compiled from other sources than those beside this file.
    """
    try:
        library = ctypes.PyDLL(str(path))
    except OSError as error:
        reason = str(error) if path.exists() else f"there is no {path}"
        raise LibraryError(f"armprobe's C core cannot be loaded ({reason})") from None
    folder = Path(__file__).resolve().parent
    in_checkout = any(folder.glob("*.c"))  # a wheel has no sources
    if in_checkout and sources(library) != digest(folder):
        raise LibraryError(f"armprobe's C core was compiled from other sources than those in {folder}")
    return library


def sources(library: ctypes.PyDLL) -> str:
    """The digest of the sources that `library` was compiled from."""
    try:
        return ctypes.string_at(ctypes.addressof(ctypes.c_char.in_dll(library, "armprobe_sources"))).decode()
    except ValueError:
        raise LibraryError(f"{library._name} is not armprobe's C core") from None


LIBRARY: Final = load(Path(__file__).with_name(NAME))
SOURCES: Final = sources(LIBRARY)


def function(name: str, result: Any, *arguments: Any, library: ctypes.PyDLL = LIBRARY) -> Callable[..., Any]:
    """The exported function `name` with ctypes types of its result (None: void) and arguments."""
    try:
        found = library[name]
    except AttributeError:
        raise LibraryError(f"armprobe's C core has no function {name}") from None
    found.restype = result
    found.argtypes = arguments
    return found


_structures: Final[dict[str, type[ctypes.Structure]]] = {}


def structure(name: str, library: ctypes.PyDLL = LIBRARY) -> Callable[[type[S]], type[S]]:
    """Decorator: gives a subclass of ctypes.Structure all the fields of `struct name`, as the library has them.

    The class declares those that Python uses: integers and pointers as int, bool as bool, an array as ctypes.Array, a
    structure within as its class, in a file that leaves annotations as they are written (PEP 563). Raises LibraryError
    for one that the library does not have so.
    """

    def fill(cls: type[S]) -> type[S]:
        table = function(f"armprobe_rows_{name}", ctypes.POINTER(_Row), library=library)()
        rows: list[_Row] = []
        while table[len(rows)].name is not None:
            rows.append(table[len(rows)])
        fields = {(row.name or b"").decode(): _ctype(row) for row in rows}
        cls._fields_ = list(fields.items())
        # The annotations as they are written (PEP 563): to evaluate them all takes a twentieth of a start.
        differ = [
            field
            for field, written in cls.__annotations__.items()
            if "ClassVar" not in written and written.partition("[")[0] != _annotation(fields.get(field))
        ]
        for row, field in zip(rows, fields, strict=True):
            placed = getattr(cls, field)
            if (placed.offset, placed.size) != (row.offset, row.size):
                differ.append(field)
        if differ or ctypes.sizeof(cls) != table[len(rows)].offset:
            what = f"field {differ[0]}" if differ else "size"
            raise LibraryError(f"struct {name} of armprobe's C core has another {what} than {cls.__name__} in Python")
        _structures[f"struct {name}"] = cls
        return cls

    return fill


def link(structures: Sequence[Any]) -> int:
    """Make a list of these structures, each with the address of the following one as its `next`.

    Gives the address of the first, 0 if there is none.
    """
    following = 0
    for each in reversed(structures):
        each.next, following = following, ctypes.addressof(each)
    return following


def _ctype(row: _Row) -> Any:
    """The ctypes type of a field. A pointer is an integer: no ctypes object has to stand for what it points to."""
    text = row.type.decode()
    if text.endswith("*"):
        kind: Any = ctypes.c_uint64
    else:
        kind = _SCALARS.get(text) or _structures.get(text)
    if kind is None:
        raise LibraryError(f"armprobe's C core has a field {(row.name or b'').decode()} of type {text}, unknown here")
    return kind * row.count if row.count else kind


def _annotation(kind: Any) -> str:
    """What a class says of a field whose ctypes type is `kind`, without what it says in brackets."""
    if kind is None:
        return ""
    if issubclass(kind, ctypes.Structure):
        return str(kind.__name__)
    if issubclass(kind, ctypes.Array):
        return "ctypes.Array"
    return "bool" if kind is ctypes.c_bool else "int"
