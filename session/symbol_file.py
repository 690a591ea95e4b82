# SPDX-License-Identifier: GPL-2.0-or-later
"""A guest's symbols as an ELF file, for debuggers, which read symbols from files.

A guest with debug information has such a file already (`LoadedGuest.dwarf`). Other guests, such as a kernel, have only
a table of symbols. It goes into an ELF without code (System V ABI, chapter 4; ELF for the Arm 64-bit Architecture). Its
SHT_NOBITS sections give the places of code and data, whose contents are in the guest's memory. .debug_frame describes
the stack frames that a debugger cannot find without help. A kernel with BTF also gets its types, the variables that
are known, and the arguments of its functions (`armprobe.kernel.btf_dwarf`).
"""

from __future__ import annotations

import struct
from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from itertools import accumulate, pairwise
from typing import TYPE_CHECKING, Final

from armprobe.kernel import Linux
from armprobe.kernel.btf import Btf
from armprobe.kernel.btf_dwarf import Function, Variable, debug_sections
from armprobe.kernel.split_btf import standalone_types
from armprobe.kernel.types import POINTER_SIZE
from armprobe.kernel.variables import NamedVariable
from armprobe.machine.errors import MachineError
from armprobe.machine.lazy_dataclass import lazy_dataclass
from armprobe.machine.native.arguments import ARGUMENTS, argument_ends
from armprobe.machine.native.call_frames import debug_frame
from armprobe.machine.symbols import FUNCTION, OBJECT, OTHER, Columns

if TYPE_CHECKING:
    from armprobe.machine import Machine, Symbols

_IDENTIFICATION: Final = b"\x7fELF\2\1\1".ljust(16, b"\0")  # 64-bit, little-endian, version 1, no OS's ABI
_HEADER: Final = struct.Struct("<16sHHIQQQIHHHHHH")
_SECTION: Final = struct.Struct("<IIQQQQIIQQ")
_SYMBOL: Final = struct.Struct("<IBBHQQ")

_ET_EXEC, _EM_AARCH64 = 2, 183
_SHT_PROGBITS, _SHT_SYMTAB, _SHT_STRTAB, _SHT_NOBITS = 1, 2, 3, 8
_SHF_WRITE, _SHF_ALLOC, _SHF_EXECINSTR = 1, 2, 4
_STB_GLOBAL: Final = 1 << 4
_INFO: Final = {FUNCTION: _STB_GLOBAL | 2, OBJECT: _STB_GLOBAL | 1, OTHER: _STB_GLOBAL}  # STT_FUNC, STT_OBJECT

_LAST: Final = (1 << 64) - 1  # no section can end after this address
_DEBUG: Final = "frame", "info", "abbrev", "str", "loclists", "rnglists"
_SECTION_NAMES: Final = b"\0.text\0.data\0.symtab\0.strtab\0.shstrtab\0" + b"".join(
    b".debug_%s\0" % name.encode() for name in _DEBUG
)
# Linker's symbols for the ends of code (Linux arch/arm64/kernel/vmlinux.lds.S). kallsyms has no sizes, so they would
# extend over the data behind them, of which it has no symbols without CONFIG_KALLSYMS_ALL.
_ENDS: Final = frozenset(("_etext", "_einittext", "__exittext_end", "__idmap_text_end"))
_GAP: Final = 4096  # bytes: a larger gap is not padding between functions
_LARGEST = _MOST_CODE = 32 << 20  # limits in bytes for one symbol and for code, as a table can contain any value
_MOST_REGIONS: Final = 1000  # a kernel has about ten; a table with more than this makes no sense


@dataclass
class _Region:
    """Code or data from `start` up to `end`, virtual addresses."""

    is_code: bool
    start: int
    end: int


@lazy_dataclass
class SymbolSources:
    """What a guest's symbol file is made of."""

    symbols: Columns
    regions: list[_Region]
    indices: list[int]
    """The number, from 1, of each symbol's region."""
    code: list[bytes]
    """The contents of each region; empty for data, and for code that cannot be read now."""
    btf: Btf | None
    why_no_types: str
    """Why the types of a kernel cannot be read, a sentence; empty if they can, or if it has none."""
    table: bytes
    """The symbols again, as bytes."""
    variables: list[Variable]
    """Variables with types in `btf`."""

    @classmethod
    def of(cls, machine: Machine, read: Callable[[int, int], bytes] | None = None) -> SymbolSources:
        """Those of the guest of `machine`, on the thread that owns it. `read` reads its code, by virtual addresses."""
        btf, why = None, ""
        try:
            btf = Btf.of(machine) if machine.kernel is not None else None
        except MachineError as error:
            why = str(error)
        kernel, named = machine.kernel, list[NamedVariable]()
        if btf is not None and isinstance(kernel, Linux) and isinstance(kernel.types, Btf):
            btf, named = kernel.types, kernel.named_variables()
        return cls._of(machine, machine.symbols, read or machine.memory.read_available, btf, why, named)

    @classmethod
    def of_module(cls, machine: Machine, name: str, module: Symbols) -> SymbolSources:
        """Those of the loaded module `name`, with the symbols `module`."""
        btf, why = None, ""
        try:
            btf = standalone_types(machine, name)
        except MachineError as error:
            why = str(error)
        return cls._of(machine, module, machine.memory.read_available, btf, why)

    @classmethod
    def _of(
        cls,
        machine: Machine,
        table: Symbols,
        read: Callable[[int, int], bytes],
        btf: Btf | None,
        why: str,
        named: Sequence[NamedVariable] = (),
    ) -> SymbolSources:
        symbols = _with(table.columns, [each for each in named if each.name not in table])
        regions, indices = _regions(symbols)
        code = [_code(machine, region, read) if region.is_code else b"" for region in regions]
        variables = [Variable(each.name, each.address, each.type) for each in named if each.type is not None]
        return cls(symbols, regions, indices, code, btf, why, table.to_bytes(), variables)

    def digest(self) -> bytes:
        """A digest of all this."""
        types = self.btf.sections if self.btf is not None else ()
        variables = repr([(name, address, str(kind)) for name, address, kind in self.variables])
        parts = self.table, *self.code, *types, variables.encode("utf-8", "surrogateescape")
        return sha256(b"".join(sha256(part).digest() for part in parts)).digest()


def symbol_file(sources: SymbolSources, warn: Callable[[str], None] = lambda reason: None) -> bytes:
    """An ELF with a guest's symbols, and with the types that a kernel has in its memory as BTF.

    Calls `warn` with the reason if those types cannot be read. Takes about a second for a kernel of 45,000
    functions.
    """
    symbols = sources.symbols._replace(sizes=_sizes(sources.symbols))
    starts = sorted(
        {address for address, kind in zip(symbols.addresses, symbols.kinds, strict=True) if kind == FUNCTION}
    )
    frames = [
        _frames(region, code, starts)
        for region, code in zip(sources.regions, sources.code, strict=True)
        if region.is_code
    ]
    debug = {".debug_frame": b"".join(frames)}
    reason = sources.why_no_types
    try:
        if sources.btf is not None:
            debug |= debug_sections(sources.btf, _functions(symbols, sources), sources.variables)
    except MachineError as error:
        reason = str(error)
    if reason:
        warn(reason)
    return _elf(symbols, sources.regions, sources.indices, debug)


def _size(variable: NamedVariable) -> int:
    """Bytes of a variable, as many as a pointer has where that is not known."""
    try:
        return max(variable.type.size, 1) if variable.type is not None else POINTER_SIZE
    except MachineError:
        return POINTER_SIZE


def _with(symbols: Columns, variables: Sequence[NamedVariable]) -> Columns:
    """`symbols` and `variables`."""
    names = [*symbols.names, *(each.name for each in variables)]
    addresses = [*symbols.addresses, *(each.address for each in variables)]
    sizes = [*symbols.sizes, *map(_size, variables)]
    kinds = [*symbols.kinds, *(OBJECT for _ in variables)]
    rows = sorted(range(len(names)), key=addresses.__getitem__)
    return Columns(
        *(list(map(names.__getitem__, rows)), list(map(addresses.__getitem__, rows))),
        *(list(map(sizes.__getitem__, rows)), list(map(kinds.__getitem__, rows))),
    )


def _sizes(symbols: Columns) -> Sequence[int]:
    """The sizes of `symbols`. Nothing is said to belong to the end of code; 0 would mean an unknown size to gdb."""
    sizes = list(symbols.sizes)
    ends = {symbols.addresses[row]: row for row, name in enumerate(symbols.names) if name in _ENDS}
    for name, address in zip(symbols.names, symbols.addresses, strict=True):
        if address in ends and name not in _ENDS:
            del ends[address]  # something begins there
    for row in ends.values():
        sizes[row] = 1
    return sizes


def _functions(symbols: Columns, sources: SymbolSources) -> dict[str, Function]:
    """The functions whose code is known, by name.

    BTF has functions by name only, so a name that several functions have says nothing of any of them.
    """
    rows = zip(symbols.names, symbols.addresses, symbols.sizes, symbols.kinds, strict=True)
    named = [(name, address, size) for name, address, size, kind in rows if kind == FUNCTION and address % 4 == 0]
    count = Counter(name for name, _, _ in named)
    functions: dict[str, Function] = {}
    for region, code in zip(sources.regions, sources.code, strict=True):
        if region.start % 4 or not code:
            continue
        end = region.start + len(code) // 4 * 4
        here = [row for row in named if region.start <= row[1] < end]
        starts = sorted({address - region.start for _, address, _ in here})
        index = {start: number for number, start in enumerate(starts)}
        ends = argument_ends(code, starts)
        for name, address, size in here:
            if count[name] == 1:
                at = index[address - region.start] * ARGUMENTS
                functions[name] = Function(address, min(size, end - address), ends[at : at + ARGUMENTS])
    return functions


def _frames(region: _Region, code: bytes, functions: list[int]) -> bytes:
    """The call frame information for a region of code. `functions` are the start addresses of all functions."""
    begin = region.start // 4 * 4
    starts = functions[bisect_left(functions, region.start) : bisect_left(functions, region.end)]
    return debug_frame(pairwise([*starts, region.end]), code, begin)


def _code(machine: Machine, region: _Region, read: Callable[[int, int], bytes]) -> bytes:
    """Code from the guest's file or, for a machine resumed from a snapshot, from memory. b"" if neither has it yet."""
    begin, end = region.start // 4 * 4, region.end
    for segment in machine.guest.segments:
        if segment.virtual is not None and 0 <= (offset := begin - segment.virtual) < len(segment.data):
            return segment.data[offset : offset + end - begin]
    try:
        return read(begin, min(end - begin, _MOST_CODE))
    except MachineError:
        return b""


def _elf(symbols: Columns, regions: list[_Region], indices: list[int], debug: Mapping[str, bytes]) -> bytes:
    """An executable with `symbols` and the sections `debug` by their names."""
    names = [name.encode("utf-8", "surrogateescape") + b"\0" for name in symbols.names]
    offsets = accumulate(map(len, names), initial=1)
    entries = [
        _SYMBOL.pack(offset, _INFO[kind], 0, index, address, size)
        for offset, index, _, address, size, kind in zip(
            offsets, indices, *symbols, strict=False
        )  # one offset is the end's
    ]
    table = bytes(_SYMBOL.size) + b"".join(entries)
    strings = b"\0" + b"".join(names)
    table_at = _HEADER.size
    strings_at = table_at + len(table)
    section_names_at = strings_at + len(strings)
    debug_at = list(accumulate(map(len, debug.values()), initial=section_names_at + len(_SECTION_NAMES)))
    headers_at = -(-debug_at[-1] // 8) * 8
    sections = [
        bytes(_SECTION.size),
        *(_nobits(region) for region in regions),
        # No symbol is local, so the first global one is number 1.
        _section(b".symtab", _SHT_SYMTAB, 0, 0, table_at, len(table), len(regions) + 2, 1, 8, _SYMBOL.size),
        _section(b".strtab", _SHT_STRTAB, 0, 0, strings_at, len(strings), 0, 0, 1, 0),
        *(
            _section(name.encode(), _SHT_PROGBITS, 0, 0, at, len(data), 0, 0, 1, 0)
            for (name, data), at in zip(debug.items(), debug_at, strict=False)  # the last offset is the end's
        ),
        _section(b".shstrtab", _SHT_STRTAB, 0, 0, section_names_at, len(_SECTION_NAMES), 0, 0, 1, 0),
    ]
    # gdb makes functions that it calls return to the entry point. gdb 18 calls none if no section contains that.
    code = (region for region in regions if region.is_code)
    entry = max(code, key=lambda region: region.end - region.start, default=_Region(True, 0, 0)).start
    header = _HEADER.pack(
        *(_IDENTIFICATION, _ET_EXEC, _EM_AARCH64, 1, entry, 0, headers_at, 0, _HEADER.size),
        *(0, 0, _SECTION.size, len(sections), len(sections) - 1),
    )
    content = b"".join([header, table, strings, _SECTION_NAMES, *debug.values()])
    return content.ljust(headers_at, b"\0") + b"".join(sections)


def _section(name: bytes, *fields: int) -> bytes:
    return _SECTION.pack(_SECTION_NAMES.index(name + b"\0"), *fields)


def _nobits(region: _Region) -> bytes:
    name, flags = (b".text", _SHF_EXECINSTR) if region.is_code else (b".data", _SHF_WRITE)
    size = region.end - region.start
    return _section(name, _SHT_NOBITS, _SHF_ALLOC | flags, region.start, _HEADER.size, size, 0, 0, 1, 0)


def _regions(symbols: Columns) -> tuple[list[_Region], list[int]]:
    """Divide the address space into regions of code and data, with the number, from 1, of each symbol's region.

    gdb takes a symbol for code or data by its section. Sections must not overlap. Large gaps belong to no region.
    """
    regions: list[_Region] = []
    indices = []
    region, is_code = None, True
    for address, size, kind in zip(symbols.addresses, symbols.sizes, symbols.kinds, strict=True):
        if kind != OTHER:  # a label is of the kind around it
            is_code = kind == FUNCTION
        if region is None or region.is_code is not is_code or address - region.end >= _GAP:
            if region is not None:
                region.end = min(region.end, address)
            region = _Region(is_code, address, address)
            regions.append(region)
        end = address + size if size <= _LARGEST else address  # a larger size only says that nothing follows soon
        region.end = max(region.end, min(end, _LAST))
        indices.append(len(regions))
    if len(regions) > _MOST_REGIONS:
        return [_Region(True, symbols.addresses[0], max(region.end for region in regions))], [1] * len(indices)
    return regions, indices
