# SPDX-License-Identifier: GPL-2.0-or-later
"""armprobe.stub.connection without sockets or threads."""

from collections.abc import Callable
from itertools import pairwise
from random import Random
from unittest.mock import patch

from hypothesis import given
from hypothesis import strategies as st

from armprobe.stub import StopEvent
from armprobe.stub.connection import Connection, State
from armprobe.stub.features import REGISTRY
from tests.stub.client import RESYNC, framed
from tests.stub.fake import FakeTarget
from tests.stub.mutation import mutated


class AtOnce(FakeTarget):
    """Each resumption is over before it returns, and stops within 64 instructions."""

    def resume(self, step: bool, range: tuple[int, int] | None, done: Callable[[StopEvent], None]) -> None:
        self.interrupt()
        done(self._go(step, range))


class Recorder:
    """The link of a connection to nobody. What is posted to it is delivered at once, like everything else here."""

    def __init__(self, target: AtOnce) -> None:
        self.sent = b""
        self.connection = Connection(target, REGISTRY, self)

    def send(self, data: bytes) -> None:
        self.sent += data

    def wake(self) -> None:
        self.connection.deliver()

    def start(self, work: Callable[[], None]) -> None:
        work()


def replies(*pieces: bytes) -> tuple[bytes, list[str], dict[str, int], bytes]:
    """What is sent in answer to the pieces, and what they do to the machine."""
    target = AtOnce()
    link = Recorder(target)
    for piece in (framed(b"QStartNoAckMode"), *pieces):
        link.connection.receive(piece)
    link.connection.leave()
    assert link.connection.state is State.DISCONNECTED
    assert not target.attached
    return link.sent, target.calls, target.registers, bytes(target.memory)


@given(st.integers(0), st.lists(st.integers(0, 2000), max_size=20))
def test_the_pieces_that_bytes_come_in_change_nothing(seed: int, cuts: list[int]) -> None:
    random = Random(seed)
    stream = b"".join(mutated(random) for _ in range(20)) + RESYNC + framed(b"qC")
    bounds = [0, *sorted(cut for cut in cuts if cut < len(stream)), len(stream)]
    pieces = [stream[start:end] for start, end in pairwise(bounds)]
    with patch("time.time_ns", return_value=1):  # of which the status of a trace tells
        assert replies(*pieces) == replies(stream)


def test_nothing_is_asked_of_a_machine_that_was_left() -> None:
    sent, calls, _, memory = replies(framed(b"D") + framed(b"M40000000,1:ff") + framed(b"qC"))
    assert sent.endswith(framed(b"OK"))
    assert calls == ["attach", "detach"]
    assert memory[0] == 0x1F
