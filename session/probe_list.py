# SPDX-License-Identifier: GPL-2.0-or-later
"""The probes that commands have set, by number."""

from armprobe.probes import Probe


class ProbeList(dict[int, Probe]):
    """Probes by number, from 1. Numbers are not reused."""

    def __init__(self) -> None:
        super().__init__()
        self._next = 1

    def add(self, probe: Probe) -> int:
        """Give a registered probe a number, and return the number."""
        number = self.take_number()
        self[number] = probe
        return number

    def take_number(self) -> int:
        """The next number, for what is no probe but is named in commands as they are."""
        number, self._next = self._next, self._next + 1
        return number
