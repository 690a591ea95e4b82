# SPDX-License-Identifier: GPL-2.0-or-later
"""The one thread that runs a machine, and how everyone else gets work done on it.

Work is done between slices, so that memory can be read and probes set while the guest runs. While it is stopped, short
work is done on the thread of whoever wants it, under a lock: handing it over and back takes longer than most of it.
"""

from __future__ import annotations

import contextlib
import queue
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from typing import Any, ParamSpec, TypeVar

from .machine import Machine
from .stop import Stop, StopReason

P = ParamSpec("P")
T = TypeVar("T")


class Owner:
    """Runs `machine` on a thread of its own. `running` says whether the guest is being run."""

    def __init__(self, machine: Machine) -> None:
        self.machine = machine
        self.running = False
        self._work: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._lock = threading.Lock()  # who has it uses the machine
        self._user: int | None = None  # the thread that has it
        self._brief = False  # what runs is over at once: others' work can wait for that
        self._interruptible = False  # work is done that may run the guest
        self._ending = threading.Lock()  # an interrupt is meant for what is not yet over
        machine.scheduler.between_slices = self._between_slices
        self._thread = threading.Thread(target=self._loop, name="armprobe machine", daemon=True)
        self._thread.start()

    def submit(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """Have `function` called by the owner's thread, between two slices if the guest runs."""
        future: Future[T] = Future()

        def work() -> None:
            if not future.set_running_or_notify_cancel():
                return
            try:
                future.set_result(function(*args, **kwargs))
            except BaseException as error:  # whatever it is, it belongs to whoever waits
                future.set_exception(error)

        if threading.get_ident() == self._user:
            work()
        else:
            self._work.put(work)
            self.machine.look_up()
        return future

    def call(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """As `submit`, and wait for the result; raises what `function` raises."""
        return self.submit(function, *args, **kwargs).result()

    def call_briefly(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """As `call`, for short work: done on the caller's thread if nobody uses the machine just then."""
        if threading.get_ident() != self._user and self._lock.acquire(blocking=False):
            with self._having_lock():
                return function(*args, **kwargs)
        return self.call(function, *args, **kwargs)

    def run(self, run: Callable[[], Stop], waits: bool = True) -> Stop:
        """Have `run` run the machine, on this thread, which must be the owner's. A guest that idles for good is waited
        with, for console input or an interrupt, if `waits`. Raises RuntimeError when the guest already runs."""
        if self.running:
            raise RuntimeError("the guest is running already")
        self.running = True
        return self._run(run, waits)

    def _run(self, run: Callable[[], Stop], waits: bool = True) -> Stop:
        try:
            while (stop := run()).reason is StopReason.IDLE and waits:
                with contextlib.suppress(queue.Empty):
                    work = self._work.get(timeout=0.02)  # also how often the console is looked at
                    if work is None:
                        self._work.put(None)
                        return stop
                    work()
            return stop
        finally:
            self._over()

    def _over(self) -> None:
        with self._ending:
            self.running = False
            self.machine.forget_interrupt()

    @contextlib.contextmanager
    def interruptible(self) -> Iterator[None]:
        """Around work, on the owner's thread, that may run the guest, as a call of a function does: `interrupt` ends
        that too."""
        outer, self._interruptible = self._interruptible, True
        try:
            yield
        finally:
            with self._ending:
                self._interruptible = outer
                if not outer and not self.running:
                    self.machine.forget_interrupt()

    def resume(self, run: Callable[[], Stop], done: Callable[[Future[Stop]], Any], brief: bool = False) -> None:
        """Start `run` (which runs the machine) and return; `done` is called with its future when it has ended.

        A `brief` one, such as a step, may be run before this returns. Raises RuntimeError when the guest already runs.
        """
        if self.running:
            raise RuntimeError("the guest is running already")
        self.running = True
        future: Future[Stop] = Future()
        future.add_done_callback(done)
        if brief and self._run_briefly(run, future):
            return

        def work() -> None:
            try:
                stop = self._run(run)
            except BaseException as error:  # it belongs to whoever waits
                future.set_exception(error)
            else:
                future.set_result(stop)

        self._work.put(work)

    def _run_briefly(self, run: Callable[[], Stop], future: Future[Stop]) -> bool:
        """On this thread, if nobody uses the machine just then; False also if the guest waits, which may take long."""
        if not self._lock.acquire(blocking=False):
            return False
        with self._having_lock():
            self._brief = True
            try:
                stop = run()
            except BaseException as error:  # it belongs to whoever waits
                result: Stop | BaseException = error
            else:
                if stop.reason is StopReason.IDLE:
                    return False
                result = stop
            finally:
                self._brief = False
            self._over()
        if isinstance(result, Stop):
            future.set_result(result)
        else:
            future.set_exception(result)
        return True

    @contextlib.contextmanager
    def _having_lock(self) -> Iterator[None]:
        self._user = threading.get_ident()
        try:
            yield
        finally:
            self._user = None
            self._lock.release()

    def interrupt(self) -> None:
        """Stop a running guest, be it run by `interruptible` work; nothing happens to a stopped one."""
        with self._ending:
            if self.running or self._interruptible:
                self.machine.interrupt()
                self._work.put(lambda: None)  # wake a machine that waits

    def close(self) -> None:
        """End the thread. The machine must not be used through this owner afterwards."""
        self.interrupt()
        self._work.put(None)
        self._thread.join(timeout=10)

    def _between_slices(self) -> None:
        while not self._brief:
            try:
                work = self._work.get_nowait()
            except queue.Empty:
                return
            if work is None:
                self._work.put(None)
                self.machine.interrupt()
                return
            work()

    def _loop(self) -> None:
        while (work := self._work.get()) is not None:
            self._lock.acquire()
            with self._having_lock():
                work()
