# SPDX-License-Identifier: GPL-2.0-or-later
"""The types of a loaded module: split BTF, which continues the kernel's (Linux Documentation/bpf/btf.rst).

The kernel keeps a copy for each module in a list, `btf_modules` (kernel/bpf/btf.c, since 5.11). The copy that
`struct module` points to is freed once the module is initialised.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from functools import lru_cache
from typing import TYPE_CHECKING, Final

from armprobe.machine.errors import MachineError

from .btf import Btf
from .btf_kinds import ARRAY, ENUM, ENUM64, FORWARD, MAGIC, PROTOTYPE, SECTION, STRUCT, UNION
from .code_references import addresses_formed
from .modules import LoadedModules

if TYPE_CHECKING:
    from armprobe.machine import Machine

    from .types import Types

_USER: Final = "btf_try_get_module"  # goes through the list, which has a symbol only with CONFIG_KALLSYMS_ALL
_HEAD_WITHIN: Final = 0x100  # bytes: how far into the variable whose address it forms the list may begin
_MOST: Final = 2000  # modules
_LARGEST: Final = 16 << 20  # bytes of a module's types
_MOST_TYPES: Final = 200_000  # of a module's own and those of the kernel that it needs
_HEADER: Final = struct.Struct("<8s4I")
_REFERRING: Final = frozenset((2, 8, 9, 10, 11, 12, 14, 17, 18))  # to one type: pointers, typedefs, functions, ...
# By kind, the words of each member: how many, and which are the number of a type. The first is a name.
_MEMBERS: Final = {STRUCT: (3, 1), UNION: (3, 1), ENUM: (2, None), PROTOTYPE: (2, 1), ENUM64: (3, None)}


def module_types(machine: Machine, name: str, base: Btf | None = None) -> Btf | None:
    """The types of the module `name`, which continue those of the kernel; None if it has none.

    `base` is the kernel's types, where they are known. Raises MachineError if the list or the types are damaged or
    cannot be read now.
    """
    return _made(machine, name, base or Btf.of(machine), _continued)


def standalone_types(machine: Machine, name: str) -> Btf | None:
    """The same as BTF that does not continue another one.

    Structs and unions of the kernel's that have a name are declared there, and not described.
    """
    return _made(machine, name, Btf.of(machine), lambda base, data: Btf(standalone(base, data)))


def why_no_module_types(types: Types, name: str) -> str:
    """Why a module has no types, in a kernel with `types`: a sentence."""
    if "btf_module" not in types:
        return f"the module {name} has no types: Linux keeps them since v5.11, with CONFIG_DEBUG_INFO_BTF_MODULES"
    return (
        f"the module {name} has no types (BTF): kbuild makes them if the kernel's vmlinux is in the folder that the "
        "module is built against (a copy of the guest's /sys/kernel/btf/vmlinux will do), and pahole is installed"
    )


@lru_cache(maxsize=4)  # each probe of a pattern asks for those of the same module
def _continued(base: Btf, data: bytes) -> Btf:
    return Btf(data, base)


def _made(machine: Machine, name: str, base: Btf | None, make: Callable[[Btf, bytes], Btf]) -> Btf | None:
    if base is None or "btf_module" not in base:
        return None
    for found, at, size in _lists(machine, base):
        if found == name:
            try:
                return make(base, machine.memory.read(at, size))
            except (struct.error, IndexError, ValueError):
                raise MachineError(f"the type information (BTF) of the module {name} is damaged") from None
    return None


def _lists(machine: Machine, types: Types) -> Iterator[tuple[str, int, int]]:
    """The names of the modules with types, and the addresses and sizes of these."""
    memory, symbols = machine.memory, machine.symbols
    entry, btf, module = types["btf_module"], types["btf"], types["module"]
    place, of, where = entry.offset("list"), entry.offset("module"), entry.offset("btf")
    data_at, size_at, name_at = btf.offset("data"), btf.offset("data_size"), module.offset("name")
    head, user = symbols.in_kernel("btf_modules"), symbols.in_kernel(_USER)
    if head is not None:
        candidates = [head.address]
    elif user is not None:
        formed = addresses_formed(memory.u32, user)
        candidates = [start + at for start in formed for at in range(0, _HEAD_WITHIN, 8)]
    else:
        return
    loaded = machine.kernel.modules if machine.kernel is not None else None
    modules = set(loaded.addresses()) if isinstance(loaded, LoadedModules) else set()
    for list_head in candidates:
        try:
            first = memory.u64(list_head)
            if memory.u64(first + 8) != list_head or memory.u64(first - place + of) not in modules:
                continue
        except MachineError:
            continue
        following = first
        for _ in range(_MOST):
            if following == list_head:
                return
            each = following - place
            size = memory.u32(memory.u64(each + where) + size_at)
            if size <= _LARGEST:
                name = memory.read(memory.u64(each + of) + name_at, 56).partition(b"\0")[0]
                yield name.decode("utf-8", "replace"), memory.u64(memory.u64(each + where) + data_at), size
            following = memory.u64(following)
        return


def standalone(base: Btf, data: bytes) -> bytes:
    """The split BTF `data` of a module, as BTF that does not continue another one.

    Its types come first, then those of the kernel's that they need. A named struct of the kernel's is declared.
    """
    own = Btf(data)
    first, strings, base_strings = len(base.offsets), own.sections[1], base.sections[1]
    numbers = {0: 0}
    wanted: list[int] = []
    names = {b"": 0}
    text = bytearray(b"\0")

    def number(old: int) -> int:
        if old not in numbers:
            numbers[old] = len(numbers)
            wanted.append(old)
            if len(wanted) > _MOST_TYPES:
                raise ValueError("too many types")
        return numbers[old]

    def name(old: int) -> int:
        section, at = (base_strings, old) if old < len(base_strings) else (strings, old - len(base_strings))
        chars = bytes(section[at : at + 512]).partition(b"\0")[0]
        if chars not in names:
            names[chars] = len(text)
            text.extend(chars + b"\0")
        return names[chars]

    for old in range(first, first + len(own.offsets) - 1):
        number(old)
    made = []
    for old in wanted:  # which grows
        part = base.part(old) if old < first else own.part(old - first + 1)
        made.append(_renumbered(list(struct.unpack(f"<{len(part) // 4}I", part)), old < first, number, name))
    body = b"".join(made)
    return _HEADER.pack(MAGIC, 0, len(body), len(body), len(text)) + body + bytes(text)


def _renumbered(words: list[int], of_kernel: bool, number: Callable[[int], int], name: Callable[[int], int]) -> bytes:
    """A type with other numbers of types and other places of names."""
    kind = words[1] >> 24 & 31
    words[0] = name(words[0])
    if of_kernel and kind in (STRUCT, UNION) and words[0]:
        return struct.pack("<3I", words[0], FORWARD << 24 | (kind == UNION) << 31, 0)
    if kind == SECTION:  # of no use here
        return struct.pack("<3I", words[0], SECTION << 24, 0)
    if kind in _REFERRING:
        words[2] = number(words[2])
    elif kind == ARRAY:
        words[3:5] = number(words[3]), number(words[4])
    elif kind in _MEMBERS:
        each, refers = _MEMBERS[kind]
        if kind == PROTOTYPE:
            words[2] = number(words[2])
        for at in range(3, len(words), each):
            words[at] = name(words[at])
            if refers is not None:
                words[at + refers] = number(words[at + refers])
    return struct.pack(f"<{len(words)}I", *words)
