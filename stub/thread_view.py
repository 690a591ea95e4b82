# SPDX-License-Identifier: GPL-2.0-or-later
"""The threads that a client sees, and the one whose registers and memory it looks at."""

from __future__ import annotations

import errno
from collections.abc import Callable, Sequence
from typing import Any

from .target import TargetError, Thread, Threads
from .wire import ALL_THREADS, ANY_THREAD, CPU_THREAD, thread_id

_GDB = "qRelocInsn"  # gdb says in qSupported that it has this, whatever the target; LLDB does not have it
_CPU = Thread(CPU_THREAD, "CPU 0", "")


class ThreadView:
    """The guest's tasks for gdb, if the target has them, else the CPU as thread 1, as for other clients."""

    def __init__(self, target: Any, client_words: Callable[[], frozenset[str]]) -> None:
        self._threads: Threads | None = target if hasattr(target, "has_threads") else None  # the protocol takes 12 us
        self._words = client_words
        self._selected: int | None = None  # None for the one that runs

    @property
    def _tasks(self) -> Threads | None:
        threads = self._threads
        return threads if threads is not None and threads.has_threads and _GDB in self._words() else None

    @property
    def running(self) -> int:
        """The thread that the CPU executes."""
        return CPU_THREAD if (tasks := self._tasks) is None else tasks.running_thread()

    def all(self) -> Sequence[Thread]:
        """All threads."""
        return [_CPU] if (tasks := self._tasks) is None else tasks.threads()

    def find(self, thread: int) -> Thread:
        """A thread by its number; the running one for "any" and "all". Raises TargetError if there is none."""
        number = self.running if thread in (ALL_THREADS, ANY_THREAD) else thread
        found = next((each for each in self.all() if each.number == number), None)
        if found is None:
            raise TargetError(errno.ESRCH, f"there is no thread {number}")
        return found

    def check(self, thread: int) -> None:
        """Raise TargetError if there is no such thread. The list is not read for the one that runs."""
        if thread not in (ALL_THREADS, ANY_THREAD, self.running):
            self.find(thread)

    def select(self, thread: int) -> None:
        """Look at this thread from now on. Raises TargetError if there is none."""
        self.check(thread)
        self._selected = None if thread in (ALL_THREADS, ANY_THREAD, self.running) else thread

    def resumed(self) -> None:
        """The guest goes on. The client looks at the thread that runs when it stops."""
        self._selected = None

    @property
    def blocked(self) -> int | None:
        """The thread that the client looks at, if the CPU does not execute it."""
        return self._selected if self._selected is not None and self._tasks is not None else None

    def read_blocked(self, names: Sequence[str]) -> list[int | None]:
        """Registers of that thread; None for those that are not kept. Raises TargetError."""
        tasks, thread = self._tasks, self._selected
        assert tasks is not None
        assert thread is not None
        return tasks.read_thread_registers(thread, names)

    def refuse_change(self) -> None:
        """Raise TargetError while the client looks at a thread that does not run."""
        if (thread := self.blocked) is not None:
            raise TargetError(errno.EPERM, f"task {thread} does not run, so its registers cannot be changed")

    @property
    def running_id(self) -> bytes:
        """The id of the thread that runs, in the form that the client expects."""
        return thread_id(self._words(), self.running)

    def id(self, thread: int) -> bytes:
        """The id of a thread, in the form that the client expects."""
        return thread_id(self._words(), thread)
