# SPDX-License-Identifier: GPL-2.0-or-later
"""Packets without end, most of them mutated: whatever is sent, the connection answers what comes next.

On the fake machine, where it is the stub alone that is tried (`test_guest_flood` has the real one).

A few seconds of that here; `make fuzz`, or ARMPROBE_FUZZ and a number of packets, makes it a million.
"""

import os
import random
from collections.abc import Callable

from armprobe.stub import Client, StopEvent
from armprobe.stub.connection import State
from tests.stub.client import RESYNC, framed
from tests.stub.fake import FakeTarget
from tests.stub.in_process import Wire, resident
from tests.stub.mutation import mutated

PACKETS = int(os.environ.get("ARMPROBE_FUZZ", "30000"))
_LIFE = 200  # packets that one connection lives, unless it is ended before
_HELD = 64 << 20  # bytes that may be held more at the end than near the start
_DEFECT = b"a defect in the machine or the stub"


class AtOnce(FakeTarget):
    """Each resumption is over before it returns, and stops within 64 instructions; there are no long commands."""

    def resume(self, step: bool, range: tuple[int, int] | None, done: Callable[[StopEvent], None]) -> None:
        self.interrupt()
        self.stop = self._go(step, range)
        done(self.stop)

    def command(self, client: Client, line: str, out: Callable[[str], None]) -> bool:
        if line.split()[:1] in (["hang"], ["break"]):
            return True
        return super().command(client, line[:100], out) if not line.startswith("lines") else True


def flood(wire: Wire, generator: random.Random) -> int:
    """One connection's life: how many packets it was sent. Each whole packet is answered, and so is the question
    after them all."""
    wire.receive(framed(b"qSupported:error-message+"))
    for sent in range(1, _LIFE + 1):
        answers = wire.receive(mutated(generator))
        defects = [answer for answer in answers if _DEFECT in answer]
        assert not defects, f"packet {sent}: {defects}"
        if wire.connection.state is State.DISCONNECTED:
            return sent
        assert wire.connection.state is State.IDLE, f"packet {sent} never ended"
    wire.receive(RESYNC)  # ends whatever is open
    assert [answer for answer in wire.receive(framed(b"qC")) if answer[:1] == b"$"] == [b"$QC1"]
    return _LIFE


def test_a_flood() -> None:
    sent = lives = before = 0
    while sent < PACKETS:
        target = AtOnce()
        wire = Wire(target)
        sent += flood(wire, random.Random(lives))
        wire.connection.leave()
        assert not target.attached
        lives += 1
        if lives == 100:  # by then all is imported, and what is kept for good is there
            before = resident()
    assert lives > 100
    assert resident() - before < _HELD
