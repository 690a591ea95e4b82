# SPDX-License-Identifier: GPL-2.0-or-later
"""Commands that run the guest to the end of a call: nexti, finish."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Final

from armprobe.machine import Stop, StopReason
from armprobe.machine.core.core import Core
from armprobe.machine.native.call_frames import has_record

from .declaration import Arg, Arguments, Command, integer
from .errors import CommandError
from .inspect import disassembled_at
from .stops import stopped
from .values import Finished, Returned, Stepped

if TYPE_CHECKING:
    from armprobe.session import Session

GROUP = "Running"
_STACK: Final = 16 << 10  # bytes (THREAD_SIZE): another task's stack is farther away

Arrived = Callable[[Core], bool]


def run_to(session: Session, places: Mapping[int, tuple[Arrived, str]]) -> Stop:
    """Run until the guest comes to one of these addresses and its function says yes, or something else stops it.

    The text that an address has is that of the stop there.
    """
    machine, reached = session.machine, 0

    def asked(arrived: Arrived) -> Arrived:
        def decide(core: Core) -> bool:
            nonlocal reached
            yes = arrived(core)
            reached += yes
            return yes

        return decide

    with contextlib.ExitStack() as stack:
        for address, (arrived, _) in places.items():
            decide = asked(arrived)
            machine.conditional_breakpoints.add(address, decide)
            stack.callback(machine.conditional_breakpoints.remove, address, decide)
        stop = machine.run()
    if stop.reason is not StopReason.BREAKPOINT or stop.address not in places or not reached:
        return stop
    settled = session.breakpoints.settled(stop)
    return settled if settled is not stop else Stop(StopReason.UNTIL, stop.address, places[stop.address][1])


def is_call(word: int) -> bool:
    """Whether an instruction is BL, BLR or BLRA* (Arm ARM, C4.1, "Branches")."""
    return word & 0xFC00_0000 == 0x9400_0000 or word & 0xFEFF_F000 == 0xD63F_0000


def step_over(session: Session) -> Stop:
    """Execute one instruction; a call with all that it does."""
    machine = session.machine
    pc, sp = machine.registers.pc, machine.registers.sp
    data = machine.memory.read_available(pc, 4)
    word = int.from_bytes(session.kprobes.unpatched(pc, data), "little") if len(data) == 4 else 0
    if not is_call(word):
        return machine.step()
    stop = run_to(session, {pc + 4: (lambda core: core.context.sp == sp, "")})
    return Stop(StopReason.INSTRUCTIONS, stop.address) if stop.reason is StopReason.UNTIL else stop


def _next_instruction(session: Session, arguments: Arguments) -> Stepped:
    if arguments.count < 1:
        raise CommandError("nexti takes a count of at least 1")

    def run() -> Stop:
        for _ in range(arguments.count):
            stop = step_over(session)
            if stop.reason is not StopReason.INSTRUCTIONS:
                break
        return stop

    return stepped(session, session.go(run))


def stepped(session: Session, stop: Stop) -> Stepped:
    """Where steps by instruction have ended, with the next one if nothing else has stopped the guest."""
    whole = stop.reason is StopReason.INSTRUCTIONS
    return Stepped(stopped(session, stop), disassembled_at(session, session.machine.registers.pc, 1) if whole else None)


def caller(session: Session) -> tuple[int, Arrived]:
    """Where the function that the guest is in returns to, and whether it has. Raises CommandError if that is unknown.

    Calls deeper down return to that address too if it calls itself. They have a lower stack pointer.
    """
    found = session.kprobes.backtrace(None)
    if len(found.frames) < 2:
        raise CommandError(f"the caller is not known: {found.end or 'this is the outermost function'}")
    machine = session.machine
    registers = machine.registers
    pc, sp, place_now = registers.pc, registers.sp, machine.symbols.at(registers.pc)
    keeps = None
    if place_now is not None:
        symbol, offset = place_now
        code = machine.memory.read_available(symbol.address, symbol.size)
        keeps = has_record(bytes(session.kprobes.unpatched(symbol.address, code)), offset)
    least = sp + 1 if keeps else sp  # with its record still on the stack, it has not returned
    outer = found.frames[1]
    if outer.el0 != found.frames[0].el0:
        return outer.pc, lambda core: True
    return outer.pc, lambda core: least <= core.context.sp < sp + _STACK and core.context.pc != pc


def returned_text(session: Session) -> str:
    """The text of a stop at the end of the function that the guest is in."""
    name = session.machine.symbols.describe(session.machine.registers.pc).partition("+")[0]
    return f"{name} has returned"


def _finish(session: Session, arguments: Arguments) -> Finished:
    address, returned = caller(session)
    text = returned_text(session)
    stop = session.go(lambda: run_to(session, {address: (returned, text)}))
    if stop.reason is not StopReason.UNTIL or stop.address != address:
        return Finished(stopped(session, stop), None)
    result = session.machine.registers.x[0]
    return Finished(stopped(session, stop), Returned(result, result - (1 << 64) if result >> 63 else result))


COMMANDS = (
    Command(
        "nexti",
        "Execute one instruction, or COUNT, and each call with all that it does.",
        (Arg("count", "number of instructions", type=integer, optional=True, default=1),),
        _next_instruction,
        aliases=("ni",),
        group=GROUP,
        gdb=False,
        repeat=True,
    ),
    Command(
        "finish",
        "Run the guest until the function that it is in returns, and show what it returns, x0.",
        (),
        _finish,
        aliases=("fin",),
        group=GROUP,
        gdb=False,
    ),
)
