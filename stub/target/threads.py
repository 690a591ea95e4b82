# SPDX-License-Identifier: GPL-2.0-or-later
"""Capability: the tasks of a guest's kernel as threads. The CPU executes one of them."""

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

from armprobe.machine.lazy_dataclass import lazy_dataclass


@lazy_dataclass
class Thread:
    """A thread. `number` is positive, and `state` is a word or two for people."""

    number: int
    name: str
    state: str


@runtime_checkable
class Threads(Protocol):
    """The threads. Without them, or while `has_threads` is false, the CPU is the only thread."""

    @property
    def has_threads(self) -> bool:
        """Whether threads are to be seen."""

    def running_thread(self) -> int:
        """The number of the thread that the CPU executes."""

    def threads(self) -> Sequence[Thread]:
        """All threads."""

    def read_thread_registers(self, thread: int, names: Sequence[str]) -> list[int | None]:
        """Registers of a thread that does not run, None for those that are not kept."""
