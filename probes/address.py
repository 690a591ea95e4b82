# SPDX-License-Identifier: GPL-2.0-or-later
"""Where a probe is to go, and whether it may (kprobe_addr and check_kprobe_address_safe in kernel/kprobes.c)."""

from __future__ import annotations

import errno

from armprobe.machine import Machine, MachineError, Symbol

from .atomic import load_exclusive_before
from .decode import Decoded, decode
from .era import Bound, Era
from .errors import ProbeError
from .instructions import Verdict
from .kprobe import Kprobe
from .tables import Tables
from .text import Text

_MASK = (1 << 64) - 1


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


class Addresses:
    """Resolves and checks the addresses of probes on one machine."""

    def __init__(self, machine: Machine, text: Text, tables: Tables, era: Era) -> None:
        self._machine = machine
        self._text = text
        self._tables = tables
        self._era = era

    def resolve(self, probe: Kprobe) -> tuple[int, Symbol]:
        """The address that `probe` names and the symbol it is in.

        Raises ProbeError: EINVAL for both of symbol and address, or neither; ENOENT for what no symbol covers.
        """
        if probe.symbol_name is not None and probe.addr is not None:
            raise ProbeError(
                errno.EINVAL,
                f"both a symbol ({probe.symbol_name}) and an address ({probe.addr:#x}) are given: give one. An earlier "
                "registration leaves the address behind: set addr to None to register the probe again",
            )
        if probe.symbol_name is not None:
            name, extra = split_symbol(probe.symbol_name)
            try:
                address = self._machine.symbols[name].address
            except MachineError as error:
                raise ProbeError(errno.ENOENT, str(error)) from None
            probe.symbol_name, probe.offset = name, probe.offset + extra
        elif probe.addr is not None:
            address = probe.addr
        else:
            raise ProbeError(errno.EINVAL, "neither a symbol nor an address is given: say where the probe is to go")
        address = address + probe.offset & _MASK
        found = self._machine.symbols.at(address)
        # Without CONFIG_KALLSYMS_ALL the kernel knows no data, so that _etext seems to cover all of it.
        if found is None or found[0].name == "_etext":
            raise ProbeError(errno.ENOENT, f"{address:#x} is in no function of the guest: no symbol covers it")
        return address, found[0]

    def check(self, address: int, symbol: Symbol) -> None:
        """Raise ProbeError (EINVAL) unless the kernel allows probes at `address`, whatever instruction is there."""
        where = self._machine.symbols.describe(address)
        if self._text.is_ftrace_site(symbol, address):
            raise ProbeError(
                errno.EINVAL,
                f"{where} is where ftrace patches its call in, and arm64 has no kprobes on ftrace: "
                f"probe {symbol.name} itself, or an instruction after this one",
            )
        if not self._text.contains(address):
            raise ProbeError(errno.EINVAL, f"{where} is not in the kernel's text: only kernel code can be probed")
        area = self._tables.forbidden(address)
        if area is not None:
            raise ProbeError(
                errno.EINVAL,
                f"{where} is on the kernel's blacklist ({area.name}): code that handles exceptions or probes, or runs "
                "where no exception can be taken, cannot be probed",
            )
        if self._tables.is_jump_label(address):
            raise ProbeError(errno.EINVAL, f"{where} is a jump label, which the kernel patches itself")

    def instruction(self, address: int) -> int:
        """The instruction at `address`. Raises ProbeError (EINVAL) where there is none."""
        if address & 3:
            raise ProbeError(errno.EINVAL, f"{address:#x} is misaligned: A64 instructions are at multiples of 4")
        try:
            return self._text.read_u32(address)
        except MachineError as error:
            raise ProbeError(errno.EINVAL, f"the instruction at {address:#x} cannot be read: {error}") from None

    def accept(self, address: int, symbol: Symbol, word: int) -> Decoded:
        """The verdict on instruction `word` at `address`. Raises ProbeError (EINVAL) if it is refused."""
        where = self._machine.symbols.describe(address)
        if self._tables.may_fault(address):
            raise ProbeError(
                errno.EINVAL,
                f"{where} has an exception table entry: it is expected to fault, and would do so out of line",
            )
        decoded = decode(word, self._era)
        if decoded.verdict is Verdict.REJECTED:
            reason = f"the instruction at {where} ({word:#010x}) cannot be probed: {decoded.reason}"
            raise ProbeError(errno.EINVAL, reason)
        rules = self._era.atomic
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
            )
        return decoded
