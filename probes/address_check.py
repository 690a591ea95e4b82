# SPDX-License-Identifier: GPL-2.0-or-later
"""Checks that a probe is allowed at an address (check_kprobe_address_safe in kernel/kprobes.c, arch_prepare_kprobe)."""

from __future__ import annotations

import errno
from typing import Final, NamedTuple

from armprobe.kernel.code_tables import CodeTables
from armprobe.kernel.text import Text
from armprobe.machine import Machine, MachineError, Symbol
from armprobe.machine.core.instruction_words import brk

from .blacklist import Blacklist
from .decoder import Decoded, decode
from .eras import Era
from .eras.decoder_rows import Verdict
from .eras.era import Bound
from .eras.exclusives import refuse_in_exclusive_sequence
from .errors import ProbeError
from .guest_kprobes import GuestKprobes
from .stepping import KPROBES_BRK_WORD

_BRK_BUG: Final = brk(0x800)  # BUG_BRK_IMM
_UNKNOWN: Final = Decoded(
    Verdict.GOOD,
    warning="the guest has a BRK #4 of its own here that is none of its kprobes: it gets that after the pre-handlers, "
    "and post-handlers do not run",
)


class Judged(NamedTuple):
    """The word in the text at an address, the instruction proper, and the verdict on the instruction.

    `word` and `original` differ where the guest has a breakpoint of its own.
    """

    word: int
    original: int
    decoded: Decoded


class AddressCheck:
    """Checks addresses on one machine, by the rules of `era`."""

    def __init__(self, machine: Machine, text: Text, tables: CodeTables, era: Era, guest: GuestKprobes) -> None:
        self._machine = machine
        self._text = text
        self._tables = tables
        self._era = era
        self._guest = guest
        self.blacklist = Blacklist(tables, machine.symbols, era)

    def judge(self, address: int, symbol: Symbol) -> Judged:
        """Judge the code at `address`, which `symbol` covers. Raises ProbeError if it is refused."""
        word = self._instruction(address)
        self._check_place(address, symbol)
        original = self._guest.original(address, word)
        if original == KPROBES_BRK_WORD:
            return Judged(word, original, _UNKNOWN)
        return Judged(word, original, self._accept(address, symbol, original))

    def _check_place(self, address: int, symbol: Symbol) -> None:
        """Raise ProbeError (EINVAL) unless the kernel allows probes at `address`, for any instruction there."""
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

    def _instruction(self, address: int) -> int:
        """The instruction at `address`. Raises ProbeError (EINVAL) if it is misaligned or unreadable."""
        if address & 3:
            rule = "misaligned: A64 instructions are at multiples of 4"
            raise ProbeError(errno.EINVAL, f"{address:#x} is {rule}", rule)
        try:
            return self._text.read_u32(address)
        except MachineError as error:
            rule = "text that is no longer there, or not yet"
            raise ProbeError(errno.EINVAL, f"the instruction at {address:#x} cannot be read: {error}", rule) from None

    def _accept(self, address: int, symbol: Symbol, word: int) -> Decoded:
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
        refuse_in_exclusive_sequence(rules, self._text.read_u32, address, start, self._machine.symbols.describe)
        return decoded
