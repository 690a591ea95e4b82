# SPDX-License-Identifier: GPL-2.0-or-later
"""A guest made of what is on record of a kernel's memory, which does what the module does.

It has the text and the tables that the engine looks at, at their addresses, and runs the module's functions. What the
kernel would do of an exception is done here: a page comes in, or the functions that lead to the oops are entered.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from pathlib import Path
from typing import Final

from armprobe.machine import Machine, Stop, StopReason, Symbol, board
from armprobe.machine.core.context import Context
from armprobe.machine.core.core import Core
from armprobe.machine.loaders import LoadedGuest, Segment
from armprobe.machine.symbols import Symbols
from tests.linux.shell import NotFinished  # tests have no import name to go by
from tests.oracle.live.guests import Death, OracleGuest
from tests.oracle.live.journal import REGISTERS, Event
from tests.oracle.live.record import Record
from tests.oracle.live.subjects import NOBODY

_PAGE: Final = 4096
_STACK_SIZE: Final = 16384  # THREAD_SIZE
_MEMORY: Final = 8 << 20
_START: Final = board.RAM_BASE + 0x20_0000

# Where things of this guest's own are: above the kernel and its modules, in which there are no symbols of these.
_OWN: Final = 0xFFFF_F000_0000_0000
_STACK, _DATA, _VECTORS, _NOTHING = (_OWN + (i << 20) for i in range(4))
_TABLES_BEHIND: Final = 16 << 20  # bytes behind the kernel's last symbol
_UNBACKED: Final = 0x0B00_0000  # as NOTHING in module/commands.c

# Stage 1 descriptors and TCR_EL1 (Arm ARM, D8): 4 KiB granule, 48 bits in both ranges
_TABLE: Final = 3
_NORMAL: Final = 3 | 3 << 8 | 1 << 10  # page, SH, AF, MAIR_EL1.Attr0
_DEVICE: Final = 3 | 1 << 10 | 1 << 2  # MAIR_EL1.Attr1
_USER, _UXN, _PXN = 1 << 6, 1 << 54, 1 << 53
_TCR: Final = 16 | 16 << 16 | 2 << 30 | 2 << 32
_MAIR: Final = 0x00FF
_SCTLR_M: Final = 1

# Hypercalls of this guest's
_EXCEPTION, _WENT_ON, _FAULTS, _PATCHED = 0x7201, 0x7202, 0x7203, 0x7204
_ERET, _RET = 0xD69F_03E0, 0xD65F_03C0
_SYNCHRONOUS: Final = 0x200  # from the current EL with SP_ELx: bytes from VBAR_EL1
_FAULT_CODE: Final = 0x3F  # DFSC
_EXTERNAL_ABORT: Final = 0x10
_TRANSLATION: Final = range(0x04, 0x08)

_ARGUMENTS: Final = 29  # x0 to x28, then NZCV, the function and what it left: struct call in module/oracle.h
_NZCV: Final = 0x9000_0000
_U64: Final = (1 << 64) - 1


def _hvc(immediate: int) -> int:
    return 0xD400_0002 | immediate << 5


class _Symbols(Symbols):
    """The kernel's, and those of what is put into this guest, which are found by name alone."""

    def __init__(self) -> None:
        super().__init__()
        self.added: dict[str, int] = {}

    def in_kernel(self, name: str) -> Symbol | None:
        if name in self.added:
            return Symbol(name, self.added[name], 8, "object")
        return super().in_kernel(name)


class RecordedGuest(OracleGuest):
    """The machine for `record`."""

    def __init__(self, record: Record) -> None:
        self._memory = memory = record.memory
        self._free = _START
        symbols = _Symbols.from_kallsyms(memory.symbols)
        assert isinstance(symbols, _Symbols)
        self._symbols = symbols
        self.guest = guest = Machine(
            LoadedGuest(
                kind="linux",
                memory=_MEMORY,
                segments=(Segment("nothing", _START, b"", 0),),
                entry=_START,
                symbols=symbols,
                sources=(Path(record.release),),
            )
        )
        guest.symbols.modules = {"oracle": Symbols.from_kallsyms(memory.module, end=_U64, areas=memory.module_areas)}
        self._map_all()
        self._add_tables()
        self._add_code()
        self._call = _DATA
        self._user_page, self._user_entry = self._allocate(), self._map(memory.user, 0)
        registers = guest.registers
        registers["mair_el1"], registers["tcr_el1"] = _MAIR, _TCR
        registers["ttbr1_el1"], registers["ttbr0_el1"] = self._root, self._user_root
        registers["vbar_el1"] = _VECTORS
        registers["mdscr_el1"] = memory.mdscr
        registers["sctlr_el1"] = registers["sctlr_el1"] | _SCTLR_M
        registers.pstate = 5  # EL1h, nothing masked
        self._dying: list[int] = []  # the functions that lead to the oops
        self._death: Death | None = None
        self._user_is_mapped = False

    # Memory

    def _allocate(self) -> int:
        """The physical address of a page of zeros."""
        self._free += _PAGE
        return self._free - _PAGE

    def _map_all(self) -> None:
        memory = self._memory
        text = self._symbols["_stext"].address & -_PAGE
        pages = {int(at, 16) & -_PAGE for at in memory.lines}
        executable = set(memory.executable) | {text}
        # The kernel has its page tables behind its text (see `Text.mapped`).
        places = {text: self._allocate()}
        self._root, self._user_root = self._allocate(), self._allocate()
        for page in sorted(pages | {text}):
            places.setdefault(page, self._allocate())
            self._map(page, places[page] | _NORMAL | _UXN | (0 if page in executable else _PXN))
        for at, data in memory.lines.items():
            address = int(at, 16)
            self._write(places[address & -_PAGE] + address % _PAGE, bytes.fromhex(data))
        for page in (*range(_STACK, _STACK + _STACK_SIZE, _PAGE), _DATA):
            self._map(page, self._allocate() | _NORMAL | _UXN | _PXN)
        self._map(_NOTHING, _UNBACKED | _DEVICE | _UXN | _PXN)

    def _write(self, physical: int, data: bytes) -> None:
        """Before anything runs: there is no translation to be dropped."""
        at = physical - board.RAM_BASE
        self.guest.ram.data[at : at + len(data)] = data

    def _map(self, address: int, descriptor: int) -> int:
        """Have the page at virtual `address` be what `descriptor` says; where that is."""
        table = self._root if address >> 63 else self._user_root
        for shift in (39, 30, 21):
            at = table + (address >> shift & 511) * 8
            entry = int.from_bytes(self.guest.memory.physical.read(at, 8), "little")
            if not entry:
                entry = self._allocate() | _TABLE
                self._write(at, entry.to_bytes(8, "little"))
            table = entry & -_PAGE
        at = table + (address >> 12 & 511) * 8
        self._write(at, descriptor.to_bytes(8, "little"))
        return at

    def _put(self, address: int, data: bytes, attributes: int) -> None:
        """Put data at virtual `address`, the start of a page."""
        for at in range(0, len(data), _PAGE):
            page = self._allocate()
            self._write(page, data[at : at + _PAGE])
            self._map(address + at, page | attributes)

    def _add_tables(self) -> None:
        """The kernel's own tables, with what is on record of them: `CodeTables` finds them by their names."""
        memory, module, added = self._memory, self._symbols.modules["oracle"], self._symbols.added
        start = (max(row[1] for row in memory.symbols) & -_PAGE) + _TABLES_BEHIND  # their entries reach 2 GiB
        data = bytearray()

        def put(name: str, addresses: list[int], layout: str) -> None:
            data.extend(bytes(-len(data) % 16))
            added[f"__start___{name}"] = start + len(data)
            for address in addresses:
                if module.at(address) is None:
                    data.extend(struct.pack(layout, address - (start + len(data)), 0, 0))
            added[f"__stop___{name}"] = start + len(data)

        put("ex_table", memory.may_fault, "<iii")  # insn, fixup, type and data
        put("jump_table", memory.jump_labels, "<iiq")  # code, target, key
        data.extend(bytes(-len(data) % 16))
        head = added["kprobe_blacklist"] = start + len(data)
        entries = [head, *(head + 16 + 32 * index for index in range(len(memory.blacklist)))]
        data += struct.pack("<2Q", [*entries, head][1], entries[-1])
        around = zip(entries, [*entries[2:], head], memory.blacklist, strict=False)
        for before, after, (first, end) in around:
            data += struct.pack("<4Q", after, before, first, end)  # struct list_head, then where the area is
        self._put(start, bytes(data), _NORMAL | _UXN | _PXN)

    def _add_code(self) -> None:
        """The exception vectors, and what the kernel is asked of modules; all of it is answered from outside."""
        guest, added = self.guest, self._symbols.added
        vectors = struct.pack("<2I", _hvc(_EXCEPTION), _ERET).ljust(0x80, b"\0") * 16
        added["search_exception_tables"] = _VECTORS + len(vectors)
        added["jump_label_text_reserved"] = _VECTORS + len(vectors) + 8
        functions = struct.pack("<4I", _hvc(_FAULTS), _RET, _hvc(_PATCHED), _RET)
        self._put(_VECTORS, vectors + functions, _NORMAL | _UXN)
        guest.claim_hvc(_EXCEPTION, self._exception)
        guest.claim_hvc(_WENT_ON, self._went_on)
        for immediate, addresses in ((_FAULTS, self._memory.may_fault), (_PATCHED, self._memory.jump_labels)):
            guest.claim_hvc(immediate, _among(frozenset(addresses)))

    # Exceptions

    def _exception(self, core: Core) -> bool:
        """What the kernel makes of an exception that it is given."""
        context, registers = core.context, self.guest.registers
        code, address = registers["esr_el1"] & _FAULT_CODE, registers["far_el1"]
        if context.pc != _VECTORS + _SYNCHRONOUS + 4:
            raise AssertionError(f"an exception at {registers['elr_el1']:#x} that nobody expects")
        if code in _TRANSLATION and address & -_PAGE == self._memory.user and not self._user_is_mapped:
            self._map_user(True)
            return True
        covering = self._symbols.at(registers["elr_el1"])
        where = f"{covering[0].name}+{covering[1]:#x}" if covering else ""
        self._death = Death(code == _EXTERNAL_ABORT, where, registers["spsr_el1"])
        self._dying = [self._symbols["do_sea"].address] if code == _EXTERNAL_ABORT else []
        self._dying += [self._symbols["die"].address] if "die" in self._symbols else []
        self._enter_next(context)
        return True

    def _enter_next(self, context: Context) -> None:
        """Have the next function on the way to the oops execute its first instruction."""
        function = self._dying[0]
        self.guest.memory.write(function + 4, struct.pack("<I", _hvc(_WENT_ON)))
        context.pc = function

    def _went_on(self, core: Core) -> bool:
        self._dying.pop(0)
        if self._dying:
            self._enter_next(core.context)
        else:
            self.guest.request_stop(Stop(StopReason.UNTIL, core.context.pc, "the guest ends in an oops"))
        return True

    def _map_user(self, there: bool) -> None:
        self._user_is_mapped = there
        descriptor = self._user_page | _NORMAL | _USER | _UXN | _PXN if there else 0
        self.guest.memory.physical.write(self._user_entry, descriptor.to_bytes(8, "little"))

    # The module

    def clear(self) -> None: ...

    def tell(self, command: str, *numbers: int) -> list[Event]:
        if command == "peek":
            return [{"what": "peek", "probe": NOBODY, "word": self.guest.memory.u32(numbers[0])}]
        if command == "user":
            self._map_user(False)
            numbers = *numbers, self._memory.user
        self._prepare(command, *numbers)
        self.guest.call("oracle_call", self._call)
        out = struct.unpack("<34Q", self.guest.memory.read(self._call + 31 * 8, 34 * 8))
        return [{"what": "call", "probe": NOBODY, **dict(zip([*REGISTERS[:33], "nzcv"], out, strict=True))}]

    def _prepare(self, command: str, function: int, *arguments: int) -> None:
        """What the module does before oracle_call(): call() in module/commands.c."""
        known = [0xA0B0_C0D0_E0F0_0000 + i * 0x101 for i in range(_ARGUMENTS)]
        known[: len(arguments)] = arguments
        self.guest.memory.write(self._call, struct.pack("<31Q", *known, _NZCV, function))
        self.guest.registers.sp = _STACK + self._memory.stack[command] % _STACK_SIZE

    def nothing(self) -> int:
        return _NOTHING

    def die(self, function: int, *arguments: int) -> Death:
        self._prepare("call", function, *arguments)
        registers = self.guest.registers
        registers.x[0], registers.pc = self._call, self._symbols["oracle_call"].address
        stop = self.guest.run(instructions=1_000_000)
        if self._death is None or self._dying:
            raise NotFinished(stop)
        return self._death


def _among(addresses: frozenset[int]) -> Callable[[Core], bool]:
    """A hypercall that says whether x0 is among `addresses`."""

    def claim(core: Core) -> bool:
        context = core.context
        context.x[0] = int(context.x[0] in addresses)
        return True

    return claim
