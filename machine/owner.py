# SPDX-License-Identifier: GPL-2.0-or-later
"""The thread that owns and runs a machine, and does the work that other threads submit.

It works between slices, so that memory can be read and probes set while the guest runs. While the guest is stopped, the
caller's thread does short work itself, under a lock: handing such work over and back usually takes longer.
"""

from __future__ import annotations

import contextlib
import queue
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, wait
from typing import Any, Final, ParamSpec, TypeVar

from .machine import Machine
from .stop import Stop, StopReason

P = ParamSpec("P")
T = TypeVar("T")
BETWEEN_WAITS: Final = 0.2
"""Seconds. A signal that comes just before a thread goes to sleep does not wake it: Python calls the handler later."""

_ENDS_SOON: Final = 2.0  # seconds to wait for interrupted work
_MORE: Final = StopReason.IDLE, StopReason.UNFINISHED
"""How a run ends that is to go on."""


def result_of(future: Future[T]) -> T:
    """What `Future.result` gives, but no Ctrl-C during the wait is missed."""
    while True:
        try:
            return future.result(BETWEEN_WAITS)
        except TimeoutError:
            if future.done():  # meanwhile, or it is the function's own error
                return future.result()


class Owner:
    """Runs `machine` on a thread of its own. `running` is true while the guest is being run."""

    def __init__(self, machine: Machine) -> None:
        self.machine = machine
        self.running = False
        self._work: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._lock = threading.Lock()  # held by the thread that uses the machine
        self._user: int | None = None  # the thread that holds the lock
        self._brief = False  # the present run is short: other threads' work can wait for its end
        self._interruptible = False  # the present work may run the guest
        self._ending = threading.Lock()  # keeps an interrupt from reaching a later run than it was meant for
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
            except BaseException as error:  # re-raised in the waiting thread
                future.set_exception(error)

        if threading.get_ident() == self._user:
            work()
        else:
            self._work.put(work)
            self.machine.look_up()
        return future

    def call(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Like `submit`, but waits for the result. Raises what `function` raises."""
        return result_of(self.submit(function, *args, **kwargs))

    def call_interruptibly(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Like `call`, for `interruptible` work. Ctrl-C, or anything else that a signal handler raises during the wait,
        stops the guest that the work runs."""
        work = self.submit(function, *args, **kwargs)
        try:
            return result_of(work)
        except BaseException:
            if not work.done():  # this thread was interrupted
                self.interrupt()
                wait([work], _ENDS_SOON)
            raise

    async def call_async(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Like `call_interruptibly`, for coroutines: the event loop goes on meanwhile. Cancelling stops the guest."""
        import asyncio  # 15 ms of each start, and the caller has it

        work = asyncio.wrap_future(self.submit(function, *args, **kwargs))
        try:
            return await asyncio.shield(work)
        except asyncio.CancelledError:
            self.interrupt()
            await asyncio.wait([work], timeout=_ENDS_SOON)
            raise

    def call_briefly(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Like `call`, for short work: runs on the caller's thread if no other thread is using the machine."""
        thread = threading.get_ident()
        if thread == self._user or not self._lock.acquire(blocking=False):
            return self.call(function, *args, **kwargs)
        self._user = thread
        try:
            return function(*args, **kwargs)
        finally:
            self._user = None
            self._lock.release()

    def run(self, run: Callable[[], Stop], waits: bool = True) -> Stop:
        """Run the machine with `run` on this thread, which must be the owner's. If `waits`, a guest that idles without
        a timer waits for console input or an interrupt. Raises RuntimeError when the guest already runs."""
        if self.running:
            raise RuntimeError("the guest is running already")
        self.running = True
        return self._run(run, waits)

    def _run(self, run: Callable[[], Stop], waits: bool = True) -> Stop:
        try:
            while True:
                stop = run()
                if stop.reason is StopReason.IDLE and waits:
                    with contextlib.suppress(queue.Empty):
                        work = self._work.get(timeout=0.02)  # also how often the console is polled
                        if work is None:
                            self._work.put(None)
                            return stop
                        work()
                elif stop.reason is not StopReason.UNFINISHED:
                    return stop
        finally:
            self._over()

    def _over(self) -> None:
        with self._ending:
            self.running = False
            self.machine.forget_interrupt()

    @contextlib.contextmanager
    def interruptible(self) -> Iterator[None]:
        """A context for work on the owner's thread that may run the guest, such as a function call. `interrupt` ends
        such work too."""
        outer, self._interruptible = self._interruptible, True
        try:
            yield
        finally:
            with self._ending:
                self._interruptible = outer
                if not outer and not self.running:
                    self.machine.forget_interrupt()

    def resume(self, run: Callable[[], Stop], done: Callable[[Stop | BaseException], Any], brief: bool = False) -> None:
        """Start `run`, which runs the machine, and return. `done` is given its stop, or what it raised.

        The beginning of a `brief` run is made on this thread. It may end before this returns; after IDLE or UNFINISHED
        the owner's thread calls `run` again. Raises RuntimeError when the guest already runs.
        """
        if self.running:
            raise RuntimeError("the guest is running already")
        self.running = True
        ended = self._run_briefly(run) if brief and self._lock.acquire(blocking=False) else None
        if ended is not None:
            done(ended)
            return

        def work() -> None:
            try:
                ended: Stop | BaseException = self._run(run)
            except BaseException as error:
                ended = error
            done(ended)

        self._work.put(work)

    def _run_briefly(self, run: Callable[[], Stop]) -> Stop | BaseException | None:
        """Run on this thread, which has acquired the lock, and release it. None if there is more to do."""
        self._user, self._brief = threading.get_ident(), True
        try:
            ended: Stop | BaseException = (stop := run())
            if stop.reason in _MORE:
                return None
        except BaseException as error:
            ended = error
        finally:
            self._brief, self._user = False, None
            self._lock.release()
        self._over()
        return ended

    def interrupt(self) -> None:
        """Stop a running guest, also one run by `interruptible` work. Does nothing to a stopped guest."""
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
        thread = threading.get_ident()
        while (work := self._work.get()) is not None:
            with self._lock:
                self._user = thread
                try:
                    work()
                finally:
                    self._user = None
