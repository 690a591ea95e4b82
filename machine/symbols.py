# SPDX-License-Identifier: GPL-2.0-or-later
"""A guest's symbols, found by name, by address, or by the start of a name.

A kernel has 130,000 symbols, so they are stored as columns, and a `Symbol` is made on demand.
"""

from __future__ import annotations

import fnmatch
import heapq
import itertools
import re
import struct
from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from operator import attrgetter
from typing import Final, Literal, NamedTuple

from armprobe.machine.lazy_dataclass import lazy_dataclass

from .errors import MachineError
from .similar_names import did_you_mean

Kind = Literal["function", "object", "other"]

_KINDS: Final[tuple[Kind, ...]] = ("function", "object", "other")
_KIND_CODES: Final = {kind: code for code, kind in enumerate(_KINDS)}
FUNCTION, OBJECT, OTHER = range(3)
"""The kinds of symbols in columns."""
_BY_ADDRESS: Final = attrgetter("address")

# The type letters of nm(1), which kallsyms keeps: text and weak are code, data and its relatives are objects.
_LETTERS: Final = {letter: FUNCTION for letter in "tTwW"} | {letter: OBJECT for letter in "dDbBrRgGsSvV"}

_HEADER: Final = struct.Struct("<4sII")  # magic, number of symbols, bytes of names
_MAGIC: Final = b"SYM4"

# Marks where code and data begin; of no use to a user (ELF for the Arm 64-bit Architecture, "Mapping symbols").
MAPPING_SYMBOL: Final = re.compile(r"\$[xd](\.|$)")

_OTHERS_SHOWN: Final = 3  # addresses of other symbols of one name

_SUGGESTIONS_AMONG: Final = 2000  # names compared in full when one is unknown: 20 ms


@lazy_dataclass
class Symbol:
    """A name for `size` bytes at virtual `address`."""

    name: str
    address: int
    size: int
    kind: Kind


class Columns(NamedTuple):
    """Symbols in order of address, as columns that nobody changes. The kinds are FUNCTION, OBJECT or OTHER."""

    names: Sequence[str]
    addresses: Sequence[int]
    sizes: Sequence[int]
    kinds: Sequence[int]


class Symbols:
    """The symbols of a guest, in order of address. Symbols at one address keep the order in which they were given.

    Mapping symbols ($x, $d) are left out. `modules` has the symbols of the loaded kernel modules, by module name, kept
    up to date by `kernel.modules.LoadedModules`. The kernel's own symbols take precedence over a module's, so a name
    found among them needs no search of the modules. A module's symbols are also found as "module:symbol"
    (module_kallsyms_lookup_name in the kernel's kernel/module/kallsyms.c).
    """

    def __init__(
        self, symbols: Iterable[Symbol] = (), *, end: int = 0, areas: Iterable[tuple[int, int]] | None = None
    ) -> None:
        """Take `symbols`. A symbol without a size (0) extends to the next symbol, and the last one to `end`.

        `areas` are the starts and ends of the guest's code and data. With them, a symbol does not extend beyond its
        area, and has no size outside of all areas, such as a linker's symbol for the end of something.
        """
        rows = sorted((s for s in symbols if not MAPPING_SYMBOL.match(s.name)), key=_BY_ADDRESS)
        self._names = [row.name for row in rows]
        self._addresses = array("Q", (row.address for row in rows))
        self._sizes = array("Q", (row.size for row in rows))
        self._kinds = bytes(_KIND_CODES[row.kind] for row in rows)
        self._sized = any(self._sizes)
        self._areas: list[tuple[int, int]] = []
        self._extend(end, sorted(areas) if areas is not None else None)
        self.modules: Mapping[str, Symbols] = {}
        self.why_no_modules = ""
        """Why this guest's modules are not known, a sentence; empty if they are."""

    @classmethod
    def from_kallsyms(
        cls, rows: Iterable[tuple[str, int, str]], *, end: int = 0, areas: Iterable[tuple[int, int]] | None = None
    ) -> Symbols:
        """The symbols of rows without sizes: name, address, and type letter as in nm(1).

        Each symbol extends to the next one, and the last to `end`. With `areas`, those of a module, none extends beyond
        its area. Every address in an area still belongs to the nearest symbol before it (find_kallsyms_symbol).
        """
        ordered = sorted(rows, key=lambda row: row[1])
        areas = sorted(areas) if areas is not None else None
        symbols = cls.from_columns(
            [row[0] for row in ordered],
            array("Q", [row[1] for row in ordered]),
            array("Q", bytes(8 * len(ordered))),
            bytes([_LETTERS.get(row[2], OTHER) for row in ordered]),
            end=end,
            areas=areas,
        )
        symbols._areas = areas or []
        return symbols

    @classmethod
    def from_columns(
        cls,
        names: list[str],
        addresses: array[int],
        sizes: array[int],
        kinds: bytes,
        *,
        end: int = 0,
        areas: Iterable[tuple[int, int]] | None = None,
    ) -> Symbols:
        """Like the constructor, but takes ownership of columns, sorted by address and without mapping symbols. `kinds`
        are FUNCTION, OBJECT or OTHER."""
        symbols = cls()
        symbols._names, symbols._addresses, symbols._sizes, symbols._kinds = names, addresses, sizes, kinds
        symbols._sized = any(sizes)
        symbols._extend(end, sorted(areas) if areas is not None else None)
        return symbols

    def with_more(
        self, names: Sequence[str], addresses: Sequence[int], sizes: Sequence[int], kinds: Sequence[int]
    ) -> Symbols:
        """These symbols, and those of the columns (in any order) whose names are not among these."""
        added = sorted((row for row, name in enumerate(names) if name not in self._index), key=addresses.__getitem__)
        all_names = self._names + [names[row] for row in added]
        all_addresses = self._addresses + array("Q", (addresses[row] for row in added))
        all_sizes = self._sizes + array("Q", (sizes[row] for row in added))
        all_kinds = self._kinds + bytes(kinds[row] for row in added)
        rows = sorted(range(len(all_names)), key=all_addresses.__getitem__)
        together = Symbols.from_columns(
            [all_names[row] for row in rows],
            array("Q", (all_addresses[row] for row in rows)),
            array("Q", (all_sizes[row] for row in rows)),
            bytes(all_kinds[row] for row in rows),
        )
        together._sized, together._areas = self._sized, self._areas
        return together

    def moved(self, slide: int) -> Symbols:
        """These symbols, without those of modules, at addresses higher by `slide`.

        Raises MachineError if that is beyond the address space.
        """
        if self._addresses and self._addresses[-1] + self._sizes[-1] + slide >= 1 << 64:
            raise MachineError(f"the symbols of this guest do not fit into the address space moved by {slide:#x}")
        addresses = array("Q", (address + slide for address in self._addresses))
        symbols = Symbols.from_columns(self._names, addresses, array("Q", self._sizes), self._kinds)
        symbols._sized = self._sized
        symbols._areas = [(start + slide, end + slide) for start, end in self._areas]
        return symbols

    def _extend(self, end: int, areas: list[tuple[int, int]] | None) -> None:
        """Set the sizes of symbols that have none."""
        addresses, sizes, following, here = self._addresses, self._sizes, end, end
        for index in range(len(sizes) - 1, -1, -1):
            address = addresses[index]
            if address != here:
                following, here = here, address
            if not sizes[index]:
                limit = following
                if areas is not None:
                    area = bisect_right(areas, (address, 1 << 64)) - 1
                    limit = min(limit, areas[area][1]) if area >= 0 else address
                sizes[index] = max(limit - address, 0)

    @cached_property
    def _index(self) -> dict[str, int]:
        # If static functions share a name, the lowest address wins, as in kallsyms_lookup_name.
        return dict(zip(reversed(self._names), range(len(self._names) - 1, -1, -1), strict=True))

    @cached_property
    def _repeated(self) -> dict[str, list[int]]:
        """The indices of names that occur at more than one address."""
        indices: dict[str, list[int]] = {}
        if len(self._index) < len(self._names):
            for at, name in enumerate(self._names):
                first = self._index[name]
                if at != first and self._addresses[at] != self._addresses[indices.get(name, [first])[-1]]:
                    indices.setdefault(name, [first]).append(at)
        return indices

    def _indices(self, name: str) -> list[int]:
        first = self._index.get(name)
        return [] if first is None else self._repeated.get(name, [first])

    @cached_property
    def _sorted_names(self) -> list[str]:
        return sorted(self._index)

    def __len__(self) -> int:
        return len(self._names) + sum(map(len, self.modules.values()))

    def __iter__(self) -> Iterator[Symbol]:
        return heapq.merge(self.own(), *self.modules.values(), key=_BY_ADDRESS)

    def own(self) -> Iterator[Symbol]:
        """The symbols that are in no module, in order of address."""
        return map(self._symbol, range(len(self._names)))

    @property
    def columns(self) -> Columns:
        """Those of `own`."""
        return Columns(self._names, self._addresses, self._sizes, self._kinds)

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and self.get(name) is not None

    def __getitem__(self, name: str) -> Symbol:
        """The symbol called `name`, the lowest of several. Raises MachineError, naming similar ones, if unknown."""
        symbol = self.get(name)
        if symbol is None:
            raise MachineError(self._unknown(name))
        return symbol

    def get(self, name: str) -> Symbol | None:
        """The symbol called `name`, or None."""
        own = self.in_kernel(name)
        if own is not None:
            return own
        module, colon, rest = name.partition(":")
        if colon and module in self.modules:
            return self.modules[module].get(rest)
        return next((found for module in self.modules.values() if (found := module.get(name))), None)

    def named(self, name: str) -> list[Symbol]:
        """All symbols called `name`, but only the first of those at one address. The result of `get` comes first."""
        own = [self._symbol(index) for index in self._indices(name)]
        module, colon, rest = name.partition(":")
        if not own and colon and module in self.modules:
            return self.modules[module].named(rest)
        return [*own, *(symbol for module in self.modules.values() for symbol in module.named(name))]

    def ambiguity(self, name: str) -> str:
        """A warning for a user who gave `name` when several symbols have that name; empty if at most one has.

        Kernels from v6.7 refuse such a name in kprobe_events with EADDRNOTAVAIL (b022f0c7e404). register_kprobe and
        earlier kernels take the first (kallsyms_lookup_name).
        """
        named = self.named(name)
        if len(named) < 2:
            return ""
        others = [f"{each.address:#x}{self.in_module(each.address)}" for each in named[1 : 1 + _OTHERS_SHOWN]]
        more = len(named) - 1 - len(others)
        return (
            f"{len(named)} symbols are called {name}: the one at {named[0].address:#x} was taken. To choose another, "
            f"give its address: {', '.join(others)}" + (f" or one of {more} more ('symbols {name}')" if more else "")
        )

    def in_kernel(self, name: str) -> Symbol | None:
        """The symbol called `name` that is in no module, or None."""
        index = self._index.get(name)
        return None if index is None else self._symbol(index)

    def is_own(self, name: str) -> bool:
        """Whether `name` has a single address among the symbols outside modules, which come before a module's."""
        return name in self._index and name not in self._repeated

    def module_at(self, address: int) -> str | None:
        """The name of the module whose symbols cover virtual `address`, or None."""
        if self._in_kernel_image(address):
            return None
        return next((name for name, module in self.modules.items() if module.at(address)), None)

    def at(self, address: int) -> tuple[Symbol, int] | None:
        """The symbol that covers virtual `address` and the offset into it in bytes, or None.

        Among symbols at one address, a function is preferred, then an object, then the first. A function of known size
        is preferred to a label inside it.
        """
        if not self._in_kernel_image(address):
            for module in self.modules.values():
                if found := module.at(address):
                    return found
        after = bisect_right(self._addresses, address)
        if not after:
            return None
        first = bisect_left(self._addresses, self._addresses[after - 1])
        covering = [index for index in range(first, after) if self._covers(index, address)]
        best = min(covering, key=self._kinds.__getitem__, default=None)
        if self._sized and (best is None or self._kinds[best] == OTHER):
            enclosing = next((i for i in range(first - 1, -1, -1) if self._kinds[i] == FUNCTION), None)
            if enclosing is not None and self._covers(enclosing, address):
                best = enclosing
        if best is None and any(start <= address < end for start, end in self._areas):
            best = min(range(first, after), key=self._kinds.__getitem__)
        return None if best is None else (self._symbol(best), address - self._addresses[best])

    def describe(self, address: int) -> str:
        """`address` as "kfree+0x10", as "kfree" at its start, or as "0x40080000" where there is no symbol.

        In a module, as "note+0x10 [oracle]".
        """
        found = self.at(address)
        if found is None:
            return f"{address:#x}"
        symbol, offset = found
        return (f"{symbol.name}+{offset:#x}" if offset else symbol.name) + self.in_module(address)

    def in_module(self, address: int) -> str:
        """The suffix that the kernel prints after the name of a module's symbol (%pS): " [oracle]"; else empty."""
        module = self.module_at(address)
        return f" [{module}]" if module else ""

    def matching(self, prefix: str, limit: int) -> list[str]:
        """Up to `limit` names that start with `prefix`, in alphabetical order. A module's have the prefix "module:"."""
        module, colon, rest = prefix.partition(":")
        if colon:
            among = self.modules.get(module)
            return [] if among is None else [f"{module}:{name}" for name in among.matching(rest, limit)]
        names = self._sorted_names
        first = bisect_left(names, prefix)
        own = itertools.takewhile(lambda name: name.startswith(prefix), names[first : first + limit])
        modules = (module.matching(prefix, limit) for module in self.modules.values())
        return sorted(set(own).union(*modules))[:limit]

    def search(self, pattern: str) -> list[Symbol]:
        """The symbols whose names match a pattern such as "*alloc*" (`fnmatch`), in order of address."""
        matches = re.compile(fnmatch.translate(pattern)).match
        own = [self._symbol(index) for index, name in enumerate(self._names) if matches(name)]
        modules = (module.search(pattern) for module in self.modules.values())
        return list(heapq.merge(own, *modules, key=_BY_ADDRESS))

    def functions(self) -> Iterator[Symbol]:
        """The functions, in order of address."""
        return (symbol for symbol in self if symbol.kind == "function")

    def to_bytes(self) -> bytes:
        """The symbols as bytes for a file, which `from_bytes` reads.

        Those of modules are left out, because the guest's memory has them.
        """
        names = "\0".join(self._names).encode("utf-8", "surrogateescape")
        columns = self._addresses + self._sizes + array("Q", [self._sized])
        return _HEADER.pack(_MAGIC, len(self._names), len(names)) + names + self._kinds + columns.tobytes()

    @classmethod
    def from_bytes(cls, data: bytes) -> Symbols:
        """The symbols that `to_bytes` wrote. Raises MachineError if `data` is something else or is damaged."""
        damaged = MachineError("the table of symbols is damaged: make it again from the guest")
        if len(data) < _HEADER.size:
            raise damaged
        magic, count, names_size = _HEADER.unpack_from(data)
        kinds_at = _HEADER.size + names_size
        columns_at = kinds_at + count
        if magic != _MAGIC or len(data) != columns_at + 16 * count + 8:
            raise damaged
        if data.count(b"\0", _HEADER.size, kinds_at) != max(count - 1, 0):
            raise damaged
        text = data[_HEADER.size : kinds_at].decode("utf-8", "surrogateescape")
        symbols = cls()
        symbols._names = text.split("\0") if count else []
        symbols._kinds = data[kinds_at:columns_at]
        column = array("Q", data[columns_at:])
        symbols._addresses, symbols._sizes, symbols._sized = column[:count], column[count : 2 * count], column[-1] == 1
        addresses = symbols._addresses.tolist()
        if (
            len(symbols._names) != count
            or addresses != sorted(addresses)
            or max(symbols._kinds, default=0) >= len(_KINDS)
        ):
            raise damaged
        return symbols

    def _symbol(self, index: int) -> Symbol:
        return Symbol(self._names[index], self._addresses[index], self._sizes[index], _KINDS[self._kinds[index]])

    def _in_kernel_image(self, address: int) -> bool:
        """Whether `address` is in the range of the symbols outside modules. Modules lie elsewhere."""
        return bool(self._names) and self._addresses[0] <= address <= self._addresses[-1]

    def _covers(self, index: int, address: int) -> bool:
        offset = address - self._addresses[index]
        return not offset or offset < self._sizes[index]

    def _unknown(self, name: str) -> str:
        if not self._names:
            return f"there is no symbol '{name}': this guest has no symbols at all"
        module, colon, rest = name.partition(":")
        if module and colon and rest:
            if self.why_no_modules:
                return f"there is no symbol '{name}': the modules of this guest are not known, as {self.why_no_modules}"
            if module not in self.modules:
                return f"there is no symbol '{name}': no module {module} is loaded"
        # Comparing a name with 130,000 others takes seconds. A mistyped name usually has the right start or end.
        start, end, length = name[:3], name[-4:], len(name)
        similar = (
            candidate
            for candidate in self._index
            if abs(len(candidate) - length) <= 3 and (candidate.startswith(start) or candidate.endswith(end))
        )
        return f"there is no symbol '{name}'" + did_you_mean(
            name, itertools.islice(similar, _SUGGESTIONS_AMONG), least=0.7
        )
