# SPDX-License-Identifier: GPL-2.0-or-later
"""The modules that a Linux guest has loaded, read from its memory, where kernel/module/ keeps them.

`modules` is the head of a list of `struct module`. Each of these leads to the symbols of the module: all of its file's
while it is initialised, afterwards those of what stays in memory (add_kallsyms). The kernel's type information says
where the members are.
"""

from __future__ import annotations

import contextlib
import re
import struct
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Final

from armprobe.machine.errors import MachineError
from armprobe.machine.lazy_dataclass import lazy_dataclass
from armprobe.machine.state import Order
from armprobe.machine.symbols import MAPPING_SYMBOL, Symbols

from .code_references import addresses_formed

if TYPE_CHECKING:
    from .kernel import Kernel
    from .types import Types

# Without CONFIG_KALLSYMS_ALL there is no symbol `modules`. This function goes through the list, and its name is unique,
# unlike those of other such functions in kernel/module/.
_USER: Final = "module_get_kallsym"
_HEAD_WITHIN: Final = 0x100  # bytes: how far into the variable whose address it forms the list may begin
_UNFORMED: Final = 3  # enum module_state (include/linux/module.h): the kernel skips such a module too
_NAME: Final = re.compile(rb"([!-~]{1,55})\0")  # MODULE_NAME_LEN is 56
_NAME_SIZE: Final = 56
_MEMORIES: Final = 7  # MOD_MEM_NUM_TYPES (include/linux/module.h, since 6.4)
_SYMBOL: Final = struct.Struct("<IBBHQQ")  # Elf64_Sym: st_name, st_info, st_other, st_shndx, st_value, st_size
_LONGEST_NAME: Final = 512  # KSYM_NAME_LEN
# The guest's memory can say anything. What exceeds these bounds is ignored.
_MOST_MODULES: Final = 2000
_MOST_SYMBOLS: Final = 300_000  # of all modules together; Linux itself has about 130,000
_MOST_NAMES: Final = 16 << 20  # bytes of all names together
_MOST_STRUCT: Final = 16 << 10  # bytes of a struct module

_END: Final = (1 << 64) - 1

Area = tuple[int, int]


@lazy_dataclass
class _Loaded:
    """What the symbols of a module are made from: its name, its areas of memory and its symbol tables."""

    name: str
    areas: tuple[Area, ...]
    symbols: bytes  # rows of Elf64_Sym
    letters: bytes  # the type of each, as in the output of nm(1)
    names: bytes

    def read(self) -> Symbols:
        """The symbols; each extends to the next one or to the end of its area (find_kallsyms_symbol)."""
        rows = []
        for (at, _, _, section, value, _), letter in zip(_SYMBOL.iter_unpack(self.symbols), self.letters, strict=True):
            name = self.names[at : at + _LONGEST_NAME].partition(b"\0")[0].decode("utf-8", "surrogateescape")
            if section and name and not MAPPING_SYMBOL.match(name):  # SHN_UNDEF: of another module
                rows.append((name, value, chr(letter)))
        return Symbols.from_kallsyms(rows, end=_END, areas=self.areas)


class _Layout:
    """Offsets of the members that are read, in this kernel. Raises MachineError without type information."""

    def __init__(self, types: Types) -> None:
        self.state = types["module"].offset("state")
        self.list = types["module"].offset("list")
        self.name = types["module"].offset("name")
        self.kallsyms = types["module"].offset("kallsyms")
        self.symtab, self.num_symtab, self.strtab, self.typetab = tables = [
            types["mod_kallsyms"].offset(member) for member in ("symtab", "num_symtab", "strtab", "typetab")
        ]
        self.kallsyms_size = max(tables) + 8
        # For each piece of memory the offsets of its base, of its size, and of the size of its code if data follows it.
        self.memories: list[tuple[int, int, int | None]] = []
        try:
            first, each = types["module"].offset("mem"), types["module_memory"].size
        except MachineError:  # before 6.4
            base, size, text = (types["module_layout"].offset(member) for member in ("base", "size", "text_size"))
            for at in (types["module"].offset(part) for part in ("core_layout", "init_layout")):
                self.memories.append((at + base, at + size, at + text))
        else:
            if not each:
                raise MachineError("this kernel's type information does not say how large a struct module_memory is")
            base, size = (types["module_memory"].offset(member) for member in ("base", "size"))
            self.memories += [(first + each * n + base, first + each * n + size, None) for n in range(_MEMORIES)]
        last = self.state, self.list, self.name + _NAME_SIZE, self.kallsyms, *(place for place, _, _ in self.memories)
        self.size = max(*last, *(size for _, size, _ in self.memories)) + 16
        if max(self.size, self.kallsyms_size) > _MOST_STRUCT:
            raise MachineError("this kernel's type information describes a struct module that cannot be right")


class LoadedModules(Mapping[str, Symbols]):
    """The symbols of each loaded module, by its name, as they are in the guest now.

    A module appears just before it is initialised and disappears when it is freed. The guest's memory is read only if
    the guest has executed something since the last time, and symbols are made again only for modules that have changed.
    While the list cannot be read, the result stays as it was: with page table isolation that is so in user space.

    The modules of a kernel without type information are unknown, and `Symbols.why_no_modules` says so.
    """

    def __init__(self, kernel: Kernel) -> None:
        self._kernel = kernel
        self._machine = machine = kernel.machine
        self._layout: _Layout | None = None
        self._head = 0  # the address of `modules`, once that is known
        self._looked: int | None = None  # the count of instructions when the guest's memory was last read
        self._known: dict[_Loaded, Symbols] = {}
        self._modules: dict[str, Symbols] = {}
        machine.state.on_restored(Order.GUEST, self._restored)

    def __getitem__(self, name: str) -> Symbols:
        return self._now()[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._now())

    def __len__(self) -> int:
        return len(self._now())

    def addresses(self) -> list[int]:
        """Where the struct module of each is, the latest first, without those that are not ready yet.

        Raises MachineError if the list cannot be read now.
        """
        self._now()
        layout, head = self._layout, self._head
        if self._machine.symbols.why_no_modules:
            raise MachineError(f"the modules are not known, as {self._machine.symbols.why_no_modules}")
        if layout is None or not head:  # a list without entries is not looked for
            return []
        places, entry = list[int](), self._machine.memory.u64(head)
        for data in self._structs(layout, head):
            if _u32(data, layout.state) != _UNFORMED:
                places.append(entry - layout.list)
            entry = _u64(data, layout.list)
        return places

    def list_head(self) -> int:
        """The address of the variable `modules`. Raises MachineError if it is not found: no module may be loaded."""
        self.addresses()
        if not self._head:
            raise MachineError("the address of modules is found when the guest has loaded one, which it has not")
        return self._head

    def _restored(self) -> None:
        self._looked, self._head, self._modules = None, 0, {}

    def _now(self) -> dict[str, Symbols]:
        executed = self._machine.instructions
        if self._looked != executed:
            self._looked = executed
            with contextlib.suppress(MachineError):
                loaded = self._read()
                self._known = {each: self._known.get(each) or each.read() for each in loaded}
                self._modules = {each.name: symbols for each, symbols in self._known.items()}
        return self._modules

    def _read(self) -> list[_Loaded]:
        """The loaded modules. Raises MachineError when they cannot be read now."""
        layout, room = self._layout, _Room()
        if self._head and layout is not None:
            structs = self._structs(layout, self._head)
        else:
            structs = self._find()
            layout = self._layout
        return [] if layout is None else [found for data in structs if (found := self._loaded(layout, data, room))]

    def _find(self) -> list[bytes]:
        """Each `struct module` of the first candidate that is a list of them; empty if no candidate is."""
        symbols = self._machine.symbols
        heads = [] if symbols.why_no_modules else self._heads()
        if heads and self._layout is None:
            try:
                self._layout = _Layout(self._kernel.types)
            except MachineError as error:
                symbols.why_no_modules = str(error)
        if self._layout is not None:
            for head in heads:
                with contextlib.suppress(MachineError):
                    structs = self._structs(self._layout, head)
                    self._head = head
                    return structs
        return []

    def _heads(self) -> list[int]:
        """Addresses that may be that of `modules`: heads of lists with entries. Raises MachineError if unreadable."""
        symbols, memory = self._machine.symbols, self._machine.memory
        named, user = symbols.in_kernel("modules"), symbols.in_kernel(_USER)
        if named is not None:
            places = [(named.address, 8)]
        elif user is not None:
            places = [(formed, _HEAD_WITHIN) for formed in addresses_formed(memory.u32, user)]
        else:
            return []
        heads = []
        for place, size in places:
            for at, following in _words(memory.read_available(place, size)):
                head = place + at
                if following >> 48 == 0xFFFF and following != head:
                    with contextlib.suppress(MachineError):
                        if memory.u64(following + 8) == head:  # the first entry's `prev`
                            heads.append(head)
        return heads

    def _structs(self, layout: _Layout, head: int) -> list[bytes]:
        """Each `struct module` of the list at `head`. Raises MachineError if it is another list, or damaged."""
        memory = self._machine.memory
        structs: list[bytes] = []
        entry = memory.u64(head)
        while entry != head:
            data = memory.read(entry - layout.list, layout.size)
            if len(structs) == _MOST_MODULES or _u32(data, layout.state) > _UNFORMED or not _name(data, layout):
                raise MachineError("the guest's list of modules is damaged")
            structs.append(data)
            entry = _u64(data, layout.list)
        return structs

    def _loaded(self, layout: _Layout, data: bytes, room: _Room) -> _Loaded | None:
        """The module that a struct describes; None for one that is not ready yet, or no longer."""
        if _u32(data, layout.state) == _UNFORMED:
            return None
        areas = []
        for base_at, size_at, text_at in layout.memories:
            base, size = _u64(data, base_at), _u32(data, size_at)
            text = size if text_at is None else min(_u32(data, text_at), size)
            areas += [(base, base + text), (base + text, base + size)]
        tables = b"", b"", b""
        with contextlib.suppress(MachineError):  # then the module has no symbols
            tables = self._tables(layout, _u64(data, layout.kallsyms), room)
        return _Loaded(_name(data, layout), tuple((start, end) for start, end in areas if start < end), *tables)

    def _tables(self, layout: _Layout, kallsyms: int, room: _Room) -> tuple[bytes, bytes, bytes]:
        """Rows of Elf64_Sym, their letters, and their names. Raises MachineError if they cannot be read."""
        memory = self._machine.memory
        data = memory.read(kallsyms, layout.kallsyms_size)
        count = _u32(data, layout.num_symtab)
        room.take_symbols(count)
        symbols = memory.read(_u64(data, layout.symtab), _SYMBOL.size * count)
        letters = memory.read(_u64(data, layout.typetab), count)
        last = max(memoryview(symbols).cast("I")[:: _SYMBOL.size // 4], default=0)
        room.take_names(last)
        names = memory.read_available(_u64(data, layout.strtab), last + _LONGEST_NAME)
        return symbols, letters, names[: names.find(b"\0", last) + 1 or len(names)]


class _Room:
    """How much may still be read, for all modules together."""

    def __init__(self) -> None:
        self._symbols, self._names = _MOST_SYMBOLS, _MOST_NAMES

    def take_symbols(self, count: int) -> None:
        """Take `count` symbols from the room. Raises MachineError if there is not enough."""
        if count > self._symbols:
            raise MachineError("the guest's modules have too many symbols")
        self._symbols -= count

    def take_names(self, size: int) -> None:
        """Take `size` bytes of names from the room. Raises MachineError if there is not enough."""
        if size > self._names:
            raise MachineError("the names in the guest's modules are too long")
        self._names -= size


def _u32(data: bytes, at: int) -> int:
    return int.from_bytes(data[at : at + 4], "little")


def _u64(data: bytes, at: int) -> int:
    return int.from_bytes(data[at : at + 8], "little")


def _words(data: bytes) -> Iterator[tuple[int, int]]:
    """The doublewords in `data`, each after its offset."""
    return ((at, _u64(data, at)) for at in range(0, len(data) - 7, 8))


def _name(data: bytes, layout: _Layout) -> str:
    """The module's name; empty if what is there is not a name."""
    found = _NAME.match(data, layout.name)
    return found[1].decode("utf-8", "surrogateescape") if found else ""
