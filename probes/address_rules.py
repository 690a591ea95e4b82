# SPDX-License-Identifier: GPL-2.0-or-later
"""The rules of each era for the place of a probe: what a name stands for, and which addresses are refused."""

from __future__ import annotations

from armprobe.kernel.code_tables import CodeTables
from armprobe.kernel.text import Text
from armprobe.machine import Machine

from .address_check import AddressCheck
from .address_resolver import AddressResolver
from .eras import Era
from .guest_kprobes import GuestKprobes


class AddressRules:
    """Those of a machine, made once for an era."""

    def __init__(self, machine: Machine, text: Text, tables: CodeTables, guest: GuestKprobes) -> None:
        self._machine, self._text, self._tables, self._guest = machine, text, tables, guest
        self._known: dict[str, tuple[AddressResolver, AddressCheck]] = {}

    def of(self, era: Era) -> tuple[AddressResolver, AddressCheck]:
        """The resolver and the checker of addresses for a kernel of `era`."""
        if era.name not in self._known:
            self._known[era.name] = (
                AddressResolver(self._machine, self._text, self._tables, era),
                AddressCheck(self._machine, self._text, self._tables, era, self._guest),
            )
        return self._known[era.name]
