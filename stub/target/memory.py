# SPDX-License-Identifier: GPL-2.0-or-later
"""Capability: reading and writing memory. Every target has it."""

from typing import Protocol


class Memory(Protocol):
    """Virtual memory."""

    def read_memory(self, address: int, length: int) -> bytes:
        """1 to `length` bytes from `address`: as many as can be read. Raises `TargetError` if the first cannot."""

    def write_memory(self, address: int, data: bytes) -> None:
        """Write all of `data`, or raise `TargetError`."""
