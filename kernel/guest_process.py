# SPDX-License-Identifier: GPL-2.0-or-later
"""Runs a program in a Linux guest as its kernel runs helpers (call_usermodehelper), with its output in pipes.

The program is in a session of its own, without a terminal. Its standard input is at its end. It is root's, and a child
of a kernel thread.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping, Sequence
from enum import Enum
from errno import EAGAIN, ENOMEM
from typing import TYPE_CHECKING, Final

from armprobe.machine import MachineError

from .guest_files import GuestFiles
from .kworker import GFP_KERNEL, Calls, Job, Kworkers, errno_of, error_text

if TYPE_CHECKING:
    from .kernel import Linux

_O_NONBLOCK: Final = 0o4000
_UMH_WAIT_PROC: Final = 2  # include/linux/umh.h
_SIGKILL: Final = 9
_PIPE: Final = 64 << 10  # bytes in a pipe
_MOST_TEXT: Final = 128 << 10  # bytes of one argument: MAX_ARG_STRLEN in include/uapi/linux/binfmts.h
_GRACE: Final = 1.0  # seconds of guest time in which a killed program ends


class Ending(Enum):
    """The reason why a program was killed."""

    TIMEOUT = "timeout"
    OUTPUT = "output"
    CANCELLED = "cancelled"


class GuestProgram:
    """One run of a program. `steps` are for `Kworkers.run`.

    take: called with 1 or 2, the stream, and bytes that the program has written there. seconds: of the guest's time,
    after which it is killed. most: bytes of output, after which it is killed. The program and all processes of its
    session's first group are killed.
    """

    def __init__(
        self,
        kernel: Linux,
        arguments: Sequence[bytes],
        environment: Mapping[bytes, bytes],
        take: Callable[[int, bytes], object],
        *,
        seconds: float,
        most: int,
    ) -> None:
        if any(len(each) >= _MOST_TEXT for each in arguments):
            raise MachineError(f"the command is too long: a program's argument has less than {_MOST_TEXT:,} bytes")
        self._kernel, self._machine = kernel, kernel.machine
        self._kworkers: Kworkers = kernel.kworkers
        self._arguments = arguments
        self._environment = [name + b"=" + value for name, value in environment.items()]
        self._take = take
        self._left = most
        self._seconds = seconds
        self._status: int | None = None  # as wait(2) has it, or an errno less than 0
        self._group = 0  # the number of the process, its group and its session
        self._streams: dict[int, int] = {}  # of the program: descriptor, struct file
        self._ours: dict[int, int] = {}
        self.killed: Ending | None = None

    def cancel(self) -> None:
        """Have the program killed when the guest goes on."""
        self._end(Ending.CANCELLED)

    def steps(self, job: Job) -> Calls[int]:
        """Run it, and return its status: its exit code, or 128 and the number of the signal that ended it.

        Raises MachineError when the program cannot be started, and when it does not end although it is killed.
        """
        for descriptor in range(3):
            yield from self._pipe(job, descriptor)
        yield "fput", (self._ours.pop(0),)  # the program's input ends here
        buffer = yield from GuestFiles(self._kernel).allocate(_PIPE)
        yield from self._kworkers.start(self._execute)
        error = None
        try:
            yield from self._follow(job, buffer)
        except MachineError as raised:
            error = raised
        yield "vfree", (buffer,)
        for file in (*self._ours.values(), *self._streams.values()):
            yield "fput", (file,)
        if error is not None:
            raise error
        assert self._status is not None
        if self._status >> 63:
            raise MachineError(
                f"{self._arguments[0].decode()} cannot be executed in the guest: {error_text(errno_of(self._status))}"
            )
        return 128 + (self._status & 127) if self._status & 127 else self._status >> 8 & 255

    def _pipe(self, job: Job, descriptor: int) -> Calls[None]:
        memory = self._machine.memory
        result = yield "create_pipe_files", (job.out, 0)
        if errno_of(result):
            raise MachineError(f"no pipe can be made in the guest: {error_text(errno_of(result))}")
        reads, writes = (memory.u64(job.out + at) for at in (0, 8))
        self._streams[descriptor], self._ours[descriptor] = (reads, writes) if descriptor == 0 else (writes, reads)
        if descriptor:
            at = reads + self._kernel.types["file"].offset("f_flags")
            flags = int.from_bytes(memory.read(at, 4), "little")
            memory.write(at, (flags | _O_NONBLOCK).to_bytes(4, "little"))

    def _execute(self, job: Job) -> Calls[int]:
        """Steps of another kworker, which waits for the program."""

        def vector(texts: Sequence[bytes]) -> int:
            return job.write(struct.pack(f"<{len(texts) + 1}Q", *map(job.text, texts), 0))

        arguments, environment = vector(self._arguments), vector(self._environment)
        child = self._kworkers.function(self._become)
        path = job.text(self._arguments[0])
        info = yield "call_usermodehelper_setup", (path, arguments, environment, GFP_KERNEL, child.code, 0, 0)
        if info:
            self._status = yield "call_usermodehelper_exec", (info, _UMH_WAIT_PROC)
        else:
            self._status = -ENOMEM & (1 << 64) - 1
        return 0

    def _become(self, job: Job) -> Calls[int]:
        """Steps of the new process before it executes the program."""
        self._group = yield "ksys_setsid", ()
        for descriptor, file in self._streams.items():
            result = yield "replace_fd", (descriptor, file, 0)
            if errno_of(result):
                return result
        while self._streams:
            yield "fput", (self._streams.popitem()[1],)
        return 0

    def _follow(self, job: Job, buffer: int) -> Calls[None]:
        """Take the output until the program has ended."""
        clock, memory = self._machine.clock, self._machine.memory
        memory.write(job.out, bytes(8))  # a position, which pipes do not use
        deadline = clock.seconds + self._seconds
        killed = False
        while True:
            ended, idle = self._status is not None, True
            for descriptor, file in [*self._ours.items()]:
                count = yield "kernel_read", (file, buffer, _PIPE, job.out)
                if 0 < count <= _PIPE:
                    idle = False
                    self._took(descriptor, memory.read(buffer, count))
                elif errno_of(count) != EAGAIN:
                    yield "fput", (self._ours.pop(descriptor),)
            if ended and (idle or self.killed):  # what it has started may write on
                return
            if not ended and clock.seconds > deadline:
                if killed:
                    raise MachineError("the command did not end in the guest, although it was killed")
                self._end(Ending.TIMEOUT)
            if self.killed and not killed and self._group:
                killed, deadline = True, clock.seconds + _GRACE
                yield from self._kill()
            if idle:
                yield "msleep", (1,)

    def _took(self, descriptor: int, data: bytes) -> None:
        if len(data) > self._left:
            self._end(Ending.OUTPUT)
        data = data[: self._left]
        self._left -= len(data)
        if data and self.killed is not Ending.CANCELLED:
            self._take(descriptor, data)

    def _end(self, why: Ending) -> None:
        self.killed = self.killed or why

    def _kill(self) -> Calls[None]:
        pid = yield "find_get_pid", (self._group,)
        if pid:
            yield "kill_pgrp", (pid, _SIGKILL, 1)
            yield "put_pid", (pid,)
