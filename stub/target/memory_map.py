# SPDX-License-Identifier: GPL-2.0-or-later
"""Capability: what is where in memory."""

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

from armprobe.machine.memory.regions import Region


@runtime_checkable
class MemoryMap(Protocol):
    """RAM and devices, by address."""

    @property
    def memory_size(self) -> int:
        """Bytes of RAM."""

    def memory_region(self, address: int) -> Region:
        """What `address` is in, at this moment."""

    def mapped_memory(self) -> Sequence[Region]:
        """RAM and devices that virtual addresses lead to at this moment, in order; of very many some are left out."""

    def untranslated_memory(self) -> Sequence[Region]:
        """All of the address space while the guest's MMU is off, in order; nothing once it is on."""
