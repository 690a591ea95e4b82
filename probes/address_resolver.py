# SPDX-License-Identifier: GPL-2.0-or-later
"""Finds a probe's address from its symbol and offset (kprobe_addr in kernel/kprobes.c)."""

from __future__ import annotations

import errno
from typing import Final

from armprobe.kernel.code_tables import CodeTables
from armprobe.kernel.text import Text
from armprobe.machine import Machine, MachineError, Symbol

from .eras import Era
from .errors import ModuleNotLoaded, ProbeError
from .functions import is_pattern
from .probe import OFFSETS, Probe
from .symbol_text import kernel_symbol_at

_ADDRESSES: Final = 1 << 64


def split_symbol(text: str) -> tuple[str, int]:
    """Split "kfree+0x10" into ("kfree", 16). Raises ProbeError (EINVAL) if the offset is not a number."""
    name, plus, offset = text.partition("+")
    if not plus:
        return text, 0
    try:
        return name, int(offset, 0)
    except ValueError:
        reason = f"'{offset}' in '{text}' is not a number of bytes: write it as 0x10 or 16"
        raise ProbeError(errno.EINVAL, reason) from None


class AddressResolver:
    """Resolves probe addresses on one machine, as a kernel of `era` does."""

    def __init__(self, machine: Machine, text: Text, tables: CodeTables, era: Era) -> None:
        self._machine = machine
        self._text = text
        self._tables = tables
        self._era = era

    def resolve(self, probe: Probe) -> tuple[int, Symbol]:
        """The address that `probe` names and the symbol that covers it.

        Raises ProbeError: EINVAL if both symbol and address are given, or neither. The era defines the errno for an
        address that no symbol covers and for an unknown symbol. It can differ for a kretprobe.
        """
        era, kp = self._era, probe.kp
        returns = probe.kind == "kretprobe" and era.entry_only  # the kernel checks that first
        probe.validate()
        if probe.symbol_name is not None and probe.addr:
            raise ProbeError(
                errno.EINVAL,
                f"both a symbol ({probe.symbol_name}) and an address ({probe.addr:#x}) are given: give one. An earlier "
                "registration leaves the address behind: set addr to None to register the probe again",
            )
        if probe.symbol_name is not None:
            name, extra = split_symbol(probe.symbol_name)
            if not 0 <= kp.offset + extra < OFFSETS:
                raise ProbeError(
                    errno.EINVAL,
                    f"the offset in '{probe.symbol_name}' is {kp.offset + extra:#x}: it counts bytes forwards, "
                    f"{OFFSETS - 1:#x} at most",
                )
            address = self._lookup(name, era.not_entry if returns else errno.ENOENT)
            kp.symbol_name, kp.offset = name, kp.offset + extra
        elif probe.addr:
            address = probe.addr
        else:
            raise ProbeError(errno.EINVAL, "neither a symbol nor an address is given: say where the probe is to go")
        address = (address + kp.offset) % _ADDRESSES
        found = kernel_symbol_at(self._machine.symbols, address)
        if found is None:
            rule = "no symbol covers it"
            reason = f"{address:#x} is in no function of the guest: {rule}{self._what_is_there(address)}"
            raise ProbeError(era.not_entry if returns else era.unknown_address, reason, rule)
        self._refuse_departed(address)
        return address, found[0]

    def _lookup(self, name: str, unknown: int) -> int:
        """The address of a symbol, the lowest if several share the name. Raises ProbeError with errno `unknown`."""
        try:
            return self._machine.symbols[name].address
        except MachineError as error:
            if is_pattern(name):
                reason = f"'{name}' is a pattern, and a probe is for one place: register one for each that it matches"
                raise ProbeError(unknown, reason) from None
            if "-" in name:
                reason = f"there is no symbol '{name}': an offset counts forwards, from the symbol before"
                raise ProbeError(unknown, reason) from None
            module, colon, _ = name.partition(":")
            symbols = self._machine.symbols
            if colon and not symbols.why_no_modules and module not in symbols.modules:
                raise ModuleNotLoaded(unknown, str(error), module) from None
            raise ProbeError(unknown, str(error)) from None

    def _what_is_there(self, address: int) -> str:
        """Describe an address that no symbol covers."""
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
        """Raise ProbeError (ENOENT) for the text of a module that is being removed or is no longer in memory."""
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
