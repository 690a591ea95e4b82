# SPDX-License-Identifier: GPL-2.0-or-later
"""Ways of getting a guest from one position to another that must not make a difference to it."""

from __future__ import annotations

import contextlib
import hashlib
import random
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, NamedTuple

from armprobe import machine
from armprobe.machine import Machine, MachineError, StopReason
from armprobe.machine.core import cpu_state
from armprobe.machine.core.core import Core
from armprobe.probes import Kprobe, ProbeError, PtRegs, Stage
from tests.memories import digest  # tests have no import name to go by

_PIECES: Final = 3
_STEPS: Final = 50

Way = Callable[[Machine, int, random.Random, Path], Machine]
"""Gets a guest to a position. Returns the machine that it is in then. The folder is for files."""


def state(guest: Machine) -> str:
    """A digest of all registers, the time, and RAM."""
    registers = sorted(cpu_state.read(guest.core).items()), guest.instructions, guest.clock.now
    return hashlib.sha256(repr((registers, digest(guest.ram.data))).encode()).hexdigest()


def straight(guest: Machine, position: int, chance: random.Random, folder: Path) -> Machine:
    """Run at once."""
    run_to(guest, position)
    return guest


def run_to(guest: Machine, position: int) -> int:
    """Run to a position, however often something stops the guest on the way. Returns how often."""
    stops = 0
    while guest.instructions < position:
        stop = guest.run(instructions=position - guest.instructions)
        stops += stop.reason is not StopReason.INSTRUCTIONS
    return stops


def interrupted(guest: Machine, position: int, chance: random.Random, folder: Path) -> Machine:
    """Interrupted by another thread, again and again."""
    done = threading.Event()

    def interrupt() -> None:
        while not done.wait(chance.random() / 100):
            guest.interrupt()

    thread = threading.Thread(target=interrupt)
    thread.start()
    try:
        run_to(guest, position)
    finally:
        done.set()
        thread.join()
    guest.forget_interrupt()
    return guest


def in_pieces(guest: Machine, position: int, chance: random.Random, folder: Path) -> Machine:
    """Instruction by instruction here and there. A debugger's steps take no interrupts: they end before one is due."""
    for _ in range(_PIECES):
        run_to(guest, chance.randrange(guest.instructions, position + 1))
        for _ in range(min(position - guest.instructions, chance.randrange(_STEPS))):
            guest.run(instructions=1)
        if not guest.gic.signal() and not guest.core.run_loop.waiting:
            due = min(guest.core.run_loop.deadlines(), default=guest.clock.now + _STEPS) - guest.clock.now
            guest.step(max(0, min(position - guest.instructions, due - 1, chance.randrange(_STEPS))))
    run_to(guest, position)
    return guest


def checkpointed(guest: Machine, position: int, chance: random.Random, folder: Path) -> Machine:
    """With checkpoints and snapshots on the way, and looks at the past and ways back from there."""
    run_to(guest, chance.randrange(guest.instructions, position + 1))
    here = guest.instructions
    guest.timeline.take()
    guest.timeline.reverse_step(chance.randrange(1, 50_000))
    with contextlib.suppress(MachineError):  # there is no stack yet
        guest.timeline.last_write(guest.registers.sp - 512 & ~7, 8)
    guest.timeline.go(here)
    assert guest.timeline.live
    guest.restore(guest.snapshot())
    run_to(guest, position)
    return guest


def resumed(guest: Machine, position: int, chance: random.Random, folder: Path) -> Machine:
    """Saved to a file half way, and resumed in another machine."""
    run_to(guest, guest.instructions + chance.randrange(position - guest.instructions))
    guest.save(folder / "half-way", force=True)
    guest = machine.load(folder / "half-way")
    run_to(guest, position)
    return guest


def probed(guest: Machine, position: int, chance: random.Random, folder: Path) -> Machine:
    """With probes, some that C handles and some in Python, with breakpoints, and with watched memory.

    No kretprobes, which put the address of their trampoline in the place of return addresses (see test_position.py).
    """
    with _probes(guest, chance):
        run_to(guest, position)
    return guest


_OFTEN: Final = (
    "vfs_read", "vfs_write", "kfree", "do_filp_open", "path_openat", "n_tty_read", "schedule", "handle_mm_fault",
    "kmalloc", "strlen", "cmp_u32", "workload_round",
)  # fmt: skip
"""Functions of the guests that are called a lot."""
_MORE: Final = 40


@contextlib.contextmanager
def _probes(guest: Machine, chance: random.Random) -> Iterator[None]:
    """Functions of the guest are probed, and some of its memory is watched."""
    kprobes, called = guest.kprobes, 0

    def handler(probe: Kprobe, regs: PtRegs) -> None:
        nonlocal called
        called += 1

    def decide(core: Core) -> bool:
        return core.context.x[0] == 1

    names = [name for name in _OFTEN if guest.symbols.get(name)]
    names += [symbol.name for symbol in chance.sample(kprobes.functions(), _MORE)]
    stopping = {Stage.PRE} if chance.random() < 0.1 else set()
    for name in names:
        with contextlib.suppress(ProbeError):  # not every function can be probed
            kprobes.register_kprobe(Kprobe(name, pre_handler=chance.choice((None, handler)), stop=stopping))
    at, watched = guest.symbols[chance.choice(names)].address + 8, ("write", guest.registers.sp - 512 & ~7, 8)
    with contextlib.ExitStack() as stack:
        guest.conditional_breakpoints.add(at, decide)
        stack.callback(guest.conditional_breakpoints.remove, at, decide)
        with contextlib.suppress(MachineError):
            guest.watchpoints.add(*watched)
            stack.callback(guest.watchpoints.remove, *watched)
        yield
    for probe in kprobes.list():
        kprobes.unregister(probe)


WAYS: Final = straight, interrupted, in_pieces, checkpointed, resumed, probed


@dataclass(frozen=True)
class Stretch:
    """A part of a journey: its length in instructions, and what is typed before it."""

    instructions: int
    typed: bytes = b""


class Place(NamedTuple):
    """What there is at the end of a stretch: the state, and all that the guest has printed."""

    position: int
    state: str
    console: bytes


def journey(
    guest: Machine, stretches: Sequence[Stretch], ways: Sequence[Way], chance: random.Random, folder: Path
) -> Iterator[Place]:
    """Take a guest through the stretches, through each in its way."""
    printed = b""
    for stretch, way in zip(stretches, ways, strict=True):
        guest.console.write(stretch.typed)
        position = guest.instructions + stretch.instructions
        before = guest
        guest = way(guest, position, chance, folder)
        printed += before.console.read() + (guest.console.read() if guest is not before else b"")
        assert guest.instructions == position
        yield Place(position, state(guest), printed)
