# SPDX-License-Identifier: GPL-2.0-or-later
"""Calls of functions that may sleep, made by threads of the guest's kernel: work in its workqueues.

`Machine.call` borrows the stack of the code that it interrupts, which may be the idle task, or hold a lock. Such code
must not sleep. A work item is executed by a kernel thread (kworker) that may (Linux
Documentation/core-api/workqueue.rst).

The function of a work item is code in the machine's own memory. An HVC in it asks a Python generator, the steps of the
job, for the next function to call. The generator yields a function and its arguments, and receives x0 when the function
has returned. So a job needs no program in the guest.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Callable, Generator
from functools import cached_property
from typing import TYPE_CHECKING, Final, TypeAlias, TypeVar

from armprobe.machine import Machine, MachineError, Stop, StopReason, board
from armprobe.machine.core.hypercalls import KWORKER
from armprobe.machine.core.instruction_words import WFI, hvc
from armprobe.machine.input import InputKind
from armprobe.machine.state import Order

from .guest_call import call_uninterrupted

if TYPE_CHECKING:
    from armprobe.machine.core.core import Core

    from .kernel import Linux

T = TypeVar("T")
Calls: TypeAlias = Generator[tuple[str | int, tuple[int, ...]], int, T]
"""Steps that call functions of the guest: they yield (function, arguments), receive x0, and return a T."""
Steps: TypeAlias = Callable[["Job"], Calls[T]]

OUT_SIZE: Final = 512
"""Bytes at `Job.out`."""
GFP_KERNEL: Final = 0xCC0  # __GFP_RECLAIM, __GFP_IO, __GFP_FS: include/linux/gfp_types.h
_GFP_NOWAIT: Final = 0
_UMH_NO_WAIT: Final = 0  # include/linux/umh.h
_GICD_SGIR: Final = 0xF00  # Arm IHI 0048B, 4.3.15
_RESCHEDULE: Final = 1 << 16  # to CPU 0, SGI 0: IPI_RESCHEDULE (arch/arm64/kernel/smp.c)
_HANDLER: Final = "ipi_handler"  # of SGIs (arch/arm64/kernel/smp.c)
_INTERRUPT_WITHIN: Final = 200_000_000  # instructions in which a kernel takes an interrupt
_IDLE_WITHIN: Final = 20_000_000  # instructions in which a guest that was idle is idle again
_SLICE: Final = 20_000_000  # instructions between two looks at the time
_CANCELLED: Final = -125 & (1 << 64) - 1  # -ECANCELED
_CODE: Final = struct.pack(
    "<10I",
    0xA9BF_7BFD,  # stp x29, x30, [sp, #-16]!
    0x9100_03FD,  # mov x29, sp
    0xD100_03FF | OUT_SIZE << 10,  # sub sp, sp, #OUT_SIZE
    hvc(KWORKER),  # next: the machine puts arguments into x0 to x7, and the function into x16
    0xB400_0070,  # cbz x16, done
    0xD63F_0200,  # blr x16
    0x17FF_FFFD,  # b next
    0x9100_03FF | OUT_SIZE << 10,  # done: add sp, sp, #OUT_SIZE
    0xA8C1_7BFD,  # ldp x29, x30, [sp], #16
    0xD65F_03C0,  # ret
)
_AFTER_HVC: Final = 16  # bytes from the start of the code to the instruction after the HVC


class Stopped(MachineError):
    """Something else stopped the guest, by `stop`, before a job was done. The job goes on when the guest does."""

    def __init__(self, stop: Stop) -> None:
        super().__init__(f"the guest was stopped first, {stop}; what it was asked to do goes on when it does")
        self.stop = stop


class Job:
    """Steps that one thread of the guest's kernel executes.

    out: address of OUT_SIZE bytes on that thread's stack, for results that functions write to memory.
    """

    def __init__(self, machine: Machine, steps: Steps[int]) -> None:
        self._machine = machine
        self._steps = steps(self)
        self._pieces: list[tuple[int, int]] = []
        self.code = self.write(_CODE)
        self.info = 0  # the struct subprocess_info with the work item
        self.out = 0
        self.done = False
        self.error: BaseException | None = None
        self.ends_run = False  # whether the machine's run ends with the job

    def write(self, data: bytes) -> int:
        """The address of a copy of `data`, which the guest can read until the job is done."""
        size = max(64, 1 << (len(data) - 1).bit_length()) if data else 64  # few sizes: pieces are reused by size
        scratch = self._machine.scratch
        address = scratch.allocate(size)
        self._pieces.append((address, size))
        scratch.write(address, data)
        self._machine.input.entered(InputKind.OWN, address, data)
        return address

    def text(self, text: bytes) -> int:
        """The address of a C string, as `write`."""
        return self.write(text + b"\0")

    def advance(self, core: Core) -> None:
        """Prepare the next call, given the result of the last one; at the end the return of the function."""
        context = core.context
        first, self.out = not self.out, context.sp
        try:
            function, arguments = self._steps.send(None if first else context.x[0])  # type: ignore[arg-type]
            context.x[16] = find_function(self._machine, function)
            for number, argument in enumerate(arguments):
                context.x[number] = argument & (1 << 64) - 1
            return
        except StopIteration as end:
            result = end.value & (1 << 64) - 1
        except Exception as error:  # raised again by `Kworkers.run`
            self.error, result = error, _CANCELLED
        context.x[0], context.x[16] = result, 0
        self.done = True
        for address, size in self._pieces:
            self._machine.scratch.free(address, size)
        if self.ends_run:
            core.request_stop(Stop(StopReason.RETURNED, context.pc))


class _Registers:
    """The core's registers at an HVC, as handlers get them."""

    def __init__(self, core: Core) -> None:
        self.core = core

    @property
    def words(self) -> memoryview[int]:
        return self.core.context.x

    regs = words

    @property
    def pstate(self) -> int:
        return self.core.context.pstate

    def content(self) -> bytes:
        return self.core.context.content()

    def decoded(self, content: bytes) -> tuple[memoryview[int], int]:
        return self.core.context.decoded(content)


def _answer(kworkers: Kworkers, registers: _Registers) -> None:
    """Answer an HVC. A function of its own, as the timeline finds a handler again by its identity."""
    kworkers.answer(registers.core)


class Kworkers:
    """Has jobs done by the kworkers of one Linux guest.

    Jobs that are not done when another state is restored are forgotten: their threads make no more calls for them.
    """

    def __init__(self, kernel: Linux) -> None:
        self._kernel = kernel
        self._machine = machine = kernel.machine
        self._jobs: dict[int, Job] = {}  # by the address of the instruction after the HVC
        machine.claim_hvc(KWORKER, self._asked)
        machine.state.on_restored(Order.GUEST, self._jobs.clear)

    def call(
        self,
        function: str | int,
        *arguments: int,
        seconds: float = 60,
        through: Callable[[Callable[[], Stop]], Stop] = lambda run: run(),
    ) -> int:
        """Call `function`, which may sleep, and return x0. See `run`."""

        def steps(job: Job) -> Calls[int]:
            return (yield function, arguments)

        return self.run(steps, seconds, through)

    def run(
        self, steps: Steps[T], seconds: float, through: Callable[[Callable[[], Stop]], Stop] = lambda run: run()
    ) -> T:
        """Run the guest until a kworker has executed `steps`; return what they return.

        The guest goes on from where it is stopped, and its tasks go on too. A guest that was idle is idle again at the
        end. Raises what the steps raise, Stopped when something else stops the guest first, and MachineError when the
        kernel cannot do it, or not within `seconds` of the guest's time. `through` is called with a function that runs
        the machine, for each run.
        """
        machine = self._machine
        results: list[T] = []

        def whole(job: Job) -> Calls[int]:
            results.append((yield from steps(job)))
            return 0

        idle_at = self._idle_at()
        end = machine.clock.seconds + seconds
        self._run_to_interrupt(through)
        job = self._new(whole, works=True)
        job.ends_run = True
        self._queue(job)
        while not job.done:
            stop = through(lambda: machine.run(instructions=_SLICE))
            if stop.reason not in (StopReason.INSTRUCTIONS, StopReason.IDLE, StopReason.RETURNED):
                job.ends_run = False
                raise Stopped(stop)
            if not job.done and (machine.clock.seconds > end or stop.reason is StopReason.IDLE):
                job.ends_run = False
                raise MachineError(f"the guest's kernel did not do this within {seconds:g} s of its time")
        scratch = machine.scratch.base or 0
        stop = machine.step_out_of(scratch, scratch + board.SCRATCH_SIZE)
        if idle_at is not None and stop.reason is StopReason.INSTRUCTIONS:
            machine.run(until=idle_at, instructions=_IDLE_WITHIN)
        if job.error is not None:
            raise job.error
        return results[0]

    def start(self, steps: Steps[int]) -> Calls[Job]:
        """Steps that have another kworker execute `steps` at the same time. They return that job."""
        job = self._new(steps, works=True)
        info = self._prepared(job, (yield self._setup(job, GFP_KERNEL)))
        self._check((yield "call_usermodehelper_exec", (info, _UMH_NO_WAIT)))
        return job

    def function(self, steps: Steps[int]) -> Job:
        """A function that executes `steps` when it is called, once, and returns what they return: the job's `code`."""
        return self._new(steps)

    def _new(self, steps: Steps[int], *, works: bool = False) -> Job:
        job = Job(self._machine, _freeing(steps) if works else steps)
        self._jobs[job.code + _AFTER_HVC] = job
        return job

    def _asked(self, core: Core) -> bool:
        if core.context.pc not in self._machine.scratch:
            return False
        self._machine.input.call(_answer, self, _Registers(core))
        return True

    def answer(self, core: Core) -> None:
        """Have the job whose HVC was executed go on."""
        job = self._jobs.get(core.context.pc)
        if job is None:
            core.context.x[0], core.context.x[16] = _CANCELLED, 0  # of a job that was forgotten
            return
        job.advance(core)
        if job.done:
            del self._jobs[core.context.pc]

    def _run_to_interrupt(self, through: Callable[[Callable[[], Stop]], Stop]) -> None:
        """Run to where the kernel handles an interrupt: work can be queued there, wherever the guest was stopped."""
        machine = self._machine
        machine.memory.physical.write(board.GIC_DIST.base + _GICD_SGIR, _RESCHEDULE.to_bytes(4, "little"))
        handler = find_function(machine, _HANDLER)
        stop = through(lambda: machine.run(until=handler, instructions=_INTERRUPT_WITHIN))
        if stop.reason is StopReason.INSTRUCTIONS:
            raise MachineError("the guest's kernel takes no interrupts here: let it run on first")
        if stop.reason is not StopReason.UNTIL:
            raise Stopped(stop)

    def _queue(self, job: Job) -> None:
        """Queue a work item from outside: its memory is that of a call_usermodehelper() that waits for nothing.

        Such a call may be made from anywhere (kernel/umh.c). So no workqueue's address has to be known.
        """
        function, arguments = self._setup(job, _GFP_NOWAIT)
        info = self._prepared(job, call_uninterrupted(self._machine, function, *arguments))
        self._check(call_uninterrupted(self._machine, "call_usermodehelper_exec", info, _UMH_NO_WAIT))

    def _setup(self, job: Job, gfp: int) -> tuple[str, tuple[int, ...]]:
        path = job.text(b"/")  # not empty, and not used
        return "call_usermodehelper_setup", (path, 0, 0, gfp, 0, 0, 0)

    def _prepared(self, job: Job, info: int) -> int:
        """Put the function of a job into a `struct subprocess_info`, and return its address."""
        if not info:
            raise MachineError("the guest's kernel has no memory left")
        job.info = info
        self._machine.memory.write(info + self._function_at, job.code.to_bytes(8, "little"))
        return info

    @cached_property
    def _function_at(self) -> int:
        """The offset of the work item's function in `struct subprocess_info`."""
        types = self._kernel.types
        return types["subprocess_info"].offset("work") + types["work_struct"].offset("func")

    def _check(self, result: int) -> None:
        if error := errno_of(result):
            raise MachineError(f"the guest's kernel cannot queue work now: {error_text(error)}")

    def _idle_at(self) -> int | None:
        """The PC of a guest that waits in the idle task; None for another."""
        machine = self._machine
        pc = machine.registers.pc
        try:
            idle = WFI in (machine.memory.u32(pc), machine.memory.u32(pc - 4))
        except MachineError:
            idle = False
        return pc if idle else None


def find_function(machine: Machine, function: str | int) -> int:
    """The address of a function of the kernel. Raises MachineError if it has none of that name."""
    if isinstance(function, int):
        return function
    symbol = machine.symbols.in_kernel(function)
    if symbol is None:
        raise MachineError(f"this kernel has no function {function}")
    return symbol.address


def errno_of(result: int) -> int:
    """The errno in the result of a function of the kernel, 0 if it is none (IS_ERR_VALUE, include/linux/err.h)."""
    return (1 << 64) - result if result > (1 << 64) - 4096 else 0


def error_text(errno: int) -> str:
    """What an errno means, to go on a sentence with."""
    text = os.strerror(errno)
    return text[:1].lower() + text[1:]


def _freeing(steps: Steps[int]) -> Steps[int]:
    """Steps that free the work item at their end, as its function may (process_one_work in kernel/workqueue.c)."""

    def all_steps(job: Job) -> Calls[int]:
        result, error = 0, None
        try:
            result = yield from steps(job)
        except MachineError as raised:
            error = raised
        yield "kfree", (job.info,)
        if error is not None:
            raise error
        return result

    return all_steps
