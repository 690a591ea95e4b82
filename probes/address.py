# SPDX-License-Identifier: GPL-2.0-or-later
"""Where a probe is to go, and whether it may (kprobe_addr and check_kprobe_address_safe in kernel/kprobes.c)."""

from __future__ import annotations

import errno
from typing import Final

from armprobe.expressions import program
from armprobe.kernel.code_tables import CodeTables
from armprobe.kernel.text import Text
from armprobe.machine import Machine, MachineError, Symbol

from .blacklist import Blacklist
from .decode import Decoded, decode
from .eras import Era
from .eras.decoder_rows import Verdict
from .eras.era import Bound
from .eras.exclusives import load_exclusive_before
from .errors import ProbeError
from .functions import is_pattern
from .kprobe import Kprobe
from .kretprobe import Kretprobe
from .record import Stage

_ADDRESSES: Final = 1 << 64
_OFFSETS: Final = 1 << 32  # struct kprobe has an unsigned int
_BRK_BUG: Final = 0xD421_0000  # BRK #0x800, BUG_BRK_IMM
_HANDLERS: Final = ("pre_handler", "post_handler", "fault_handler", "handler", "entry_handler", "entry")
_DATA: Final = {"condition": program.Condition, "note": program.Note}
"""Functions too, or data of these classes."""


def split_symbol(text: str) -> tuple[str, int]:
    """ "kfree+0x10" as ("kfree", 16). Raises ProbeError (EINVAL) for an offset that is no number."""
    name, plus, offset = text.partition("+")
    if not plus:
        return text, 0
    try:
        return name, int(offset, 0)
    except ValueError:
        reason = f"'{offset}' in '{text}' is not a number of bytes: write it as 0x10 or 16"
        raise ProbeError(errno.EINVAL, reason) from None


def _refuse_nonsense(probe: Kprobe) -> None:
    """Raise ProbeError (EINVAL) for what a C compiler would have refused."""
    for name, value, limit in (("addr", probe.addr, _ADDRESSES), ("offset", probe.offset, _OFFSETS)):
        if value is None and name == "addr":
            continue
        if not isinstance(value, int) or isinstance(value, bool):
            raise ProbeError(errno.EINVAL, f"{name} is {value!r}: give a number of bytes as an int")
        if not 0 <= value < limit:
            raise ProbeError(errno.EINVAL, f"{name} is {value:#x}: it can be 0 to {limit - 1:#x}")
    symbol: object = probe.symbol_name
    if symbol is not None and not isinstance(symbol, str):
        raise ProbeError(errno.EINVAL, f"symbol_name is {symbol!r}: give the name of a symbol as a str")
    given = probe.owner
    for name in (*_HANDLERS, *_DATA):
        handler = getattr(given, name, None)
        if handler is not None and not callable(handler) and not isinstance(handler, _DATA.get(name, ())):
            raise ProbeError(errno.EINVAL, f"{name} is {handler!r}: give a function, or None")
    if isinstance(given, Kretprobe) and given.condition_at not in given.stages:
        reason = f"condition_at is {given.condition_at!r}: give Stage.ENTRY or Stage.RETURN"
        raise ProbeError(errno.EINVAL, reason)
    strange = [stage for stage in given.stop if stage not in given.stages]
    if strange:
        stages = " or ".join(f"Stage.{stage.name}" for stage in given.stages)
        raise ProbeError(errno.EINVAL, f"stop has {strange[0]!r}, which is no stage of a {given.kind}: give {stages}")
    later = isinstance(given, Kretprobe) and given.condition is not None and given.condition_at is Stage.RETURN
    if later and Stage.ENTRY in given.stop:
        reason = "it is to stop at entry, where its condition is not known yet: stop at return, or ask it at entry"
        raise ProbeError(errno.EINVAL, reason)


class Addresses:
    """Resolves and checks the addresses of probes on one machine."""

    def __init__(self, machine: Machine, text: Text, tables: CodeTables, era: Era) -> None:
        self._machine = machine
        self._text = text
        self._tables = tables
        self._era = era
        self.blacklist = Blacklist(tables, machine.symbols, era)

    def resolve(self, probe: Kprobe) -> tuple[int, Symbol]:
        """The address that `probe` names and the symbol it is in.

        Raises ProbeError: EINVAL for both of symbol and address, or neither; for what no symbol covers, and for symbols
        that there are not, what the era's kernel says, of a kretprobe's probe another thing perhaps.
        """
        era = self._era
        returns = probe.owner.kind == "kretprobe" and era.entry_only  # that is looked at first
        _refuse_nonsense(probe)
        if probe.symbol_name is not None and probe.addr:
            raise ProbeError(
                errno.EINVAL,
                f"both a symbol ({probe.symbol_name}) and an address ({probe.addr:#x}) are given: give one. An earlier "
                "registration leaves the address behind: set addr to None to register the probe again",
            )
        if probe.symbol_name is not None:
            name, extra = split_symbol(probe.symbol_name)
            if not 0 <= probe.offset + extra < _OFFSETS:
                raise ProbeError(
                    errno.EINVAL,
                    f"the offset in '{probe.symbol_name}' is {probe.offset + extra:#x}: it counts bytes forwards, "
                    f"{_OFFSETS - 1:#x} at most",
                )
            address = self._lookup(name, era.not_entry if returns else errno.ENOENT)
            probe.symbol_name, probe.offset = name, probe.offset + extra
        elif probe.addr:
            address = probe.addr
        else:
            raise ProbeError(errno.EINVAL, "neither a symbol nor an address is given: say where the probe is to go")
        address = (address + probe.offset) % _ADDRESSES
        found = self._machine.symbols.at(address)
        # Without CONFIG_KALLSYMS_ALL the kernel knows no data, so that _etext seems to cover all of it.
        if found is None or found[0].name == "_etext":
            rule = "no symbol covers it"
            reason = f"{address:#x} is in no function of the guest: {rule}{self._what_is_there(address)}"
            raise ProbeError(era.not_entry if returns else era.unknown_address, reason, rule)
        self._refuse_departed(address)
        return address, found[0]

    def _lookup(self, name: str, unknown: int) -> int:
        """The address of a symbol, of several the lowest. Raises ProbeError with errno `unknown`."""
        try:
            return self._machine.symbols[name].address
        except MachineError as error:
            if is_pattern(name):
                reason = f"'{name}' is a pattern, and a probe is for one place: register one for each that it matches"
                raise ProbeError(unknown, reason) from None
            if "-" in name:
                reason = f"there is no symbol '{name}': an offset counts forwards, from the symbol before"
                raise ProbeError(unknown, reason) from None
            raise ProbeError(unknown, str(error)) from None

    def _what_is_there(self, address: int) -> str:
        """What can be said of an address that no symbol covers."""
        try:
            mapping = self._machine.memory.translate(address)
        except MachineError:
            return ", and the guest maps nothing there"
        for window in self._machine.bus.windows:
            if window.base <= mapping.physical < window.base + window.size:
                return f"; it is a register of a device ({window.device.name})"
        if mapping.user and self._machine.registers["sctlr_el1"] & 1:
            return "; it is in user space, and kprobes are for the kernel"
        return ""

    def _refuse_departed(self, address: int) -> None:
        """Raise ProbeError (ENOENT) for the text of a module that is going, or that is no longer in memory."""
        module = self._machine.symbols.module_at(address)
        if module is None:
            return
        where = self._machine.symbols.describe(address)
        if not self._text.mapped(address):
            rule = f"the module {module} has been unloaded, or has freed its initialisation code"
            raise ProbeError(errno.ENOENT, f"{where} is no longer there: {rule}", rule)
        if self._tables.is_leaving(address):
            rule = f"the module {module} is being unloaded"
            raise ProbeError(errno.ENOENT, f"{where} cannot be probed any more: {rule}", rule)

    def check(self, address: int, symbol: Symbol) -> None:
        """Raise ProbeError (EINVAL) unless the kernel allows probes at `address`, whatever instruction is there."""
        where = self._machine.symbols.describe(address)
        reserved = self._era.reserved
        if reserved.ftrace_sites and self._text.is_ftrace_site(symbol, address):
            rule = "where ftrace patches its call in, and arm64 has no kprobes on ftrace"
            reason = f"{where} is {rule}: probe {symbol.name} itself, or an instruction after this one"
            raise ProbeError(errno.EINVAL, reason, rule)
        if not self._text.contains(address):
            rule = "not in the kernel's text: only kernel code can be probed"
            raise ProbeError(errno.EINVAL, f"{where} is {rule}", rule)
        if symbol.name.startswith(reserved.cfi_preambles):
            rule = "the preamble of a function, which is data to the checks of calls (kCFI)"
            raise ProbeError(errno.EINVAL, f"{where} is {rule}", rule)
        area = self.blacklist.forbidden(address)
        if area is not None:
            raise ProbeError(
                errno.EINVAL,
                f"{where} is on the kernel's blacklist ({area.name}): code that handles exceptions or probes, or runs "
                "where no exception can be taken, cannot be probed",
                "on the kernel's blacklist",
            )
        if self._tables.is_jump_label(address):
            rule = "a jump label, which the kernel patches itself"
            raise ProbeError(errno.EINVAL, f"{where} is {rule}", rule)

    def instruction(self, address: int) -> int:
        """The instruction at `address`. Raises ProbeError (EINVAL) where there is none."""
        if address & 3:
            rule = "misaligned: A64 instructions are at multiples of 4"
            raise ProbeError(errno.EINVAL, f"{address:#x} is {rule}", rule)
        try:
            return self._text.read_u32(address)
        except MachineError as error:
            rule = "text that is no longer there, or not yet"
            raise ProbeError(errno.EINVAL, f"the instruction at {address:#x} cannot be read: {error}", rule) from None

    def accept(self, address: int, symbol: Symbol, word: int) -> Decoded:
        """The verdict on instruction `word` at `address`. Raises ProbeError (EINVAL) if it is refused."""
        where = self._machine.symbols.describe(address)
        if self._tables.may_fault(address):
            raise ProbeError(
                errno.EINVAL,
                f"{where} has an exception table entry: it is expected to fault, and would do so out of line",
                "an instruction with an exception table entry",
            )
        if self._era.reserved.bug_sites and word == _BRK_BUG:
            rule = "the breakpoint of a BUG() or WARN()"
            raise ProbeError(errno.EINVAL, f"{where} is {rule}, which the kernel finds by its address", rule)
        decoded = decode(word, self._era)
        if decoded.verdict is Verdict.REJECTED:
            reason = f"the instruction at {where} ({word:#010x}) cannot be probed: {decoded.reason}"
            raise ProbeError(errno.EINVAL, reason, f"an instruction that cannot be probed: {decoded.reason}")
        rules = self._era.exclusives
        start = symbol.address if rules.bound is Bound.SYMBOL else self._text.base(address) + 4
        try:
            exclusive = load_exclusive_before(rules, self._text.read_u32, address, start)
        except MachineError as error:
            raise ProbeError(errno.EINVAL, f"the instructions before {where} cannot be read: {error}") from None
        if exclusive is not None:
            raise ProbeError(
                errno.EINVAL,
                f"{where} is behind the load exclusive at {self._machine.symbols.describe(exclusive)}: an exception "
                "between that and its store makes the store fail, and the guest would try again for ever",
                "an instruction behind a load exclusive",
            )
        return decoded
