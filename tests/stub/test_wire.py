# SPDX-License-Identifier: GPL-2.0-or-later
"""Random clients that keep to the rules, and break them in the ways that lines do, against a model of the machine.

The model knows x0, 256 bytes of memory, the breakpoint and where the machine stands; what it expects is what the GDB
manual says of each packet and of acknowledgments.
"""

from itertools import pairwise

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from armprobe.stub import Server, StopEvent
from armprobe.stub.connection import State
from tests.stub.client import Client, escaped, framed
from tests.stub.fake import BASE, FakeTarget
from tests.stub.in_process import Wire
from tests.stub.test_flood import AtOnce

WINDOW = 0x8000  # of the target's memory, where the model's is
BYTES = st.binary(min_size=1, max_size=24)
SPECIAL = st.sampled_from([b"#$}*", b"\x03", b"}", b"$g#67", b"+-", b"*~", b"\x00\x04\x1b"])


class Conversation(RuleBasedStateMachine):
    """One connection, from its handshake on."""

    def __init__(self) -> None:
        super().__init__()
        self.target = AtOnce()
        self.wire = Wire(self.target)
        self.wire.receive(framed(b"?"))
        self.acknowledging = True
        self.memory = bytearray(self.target.memory[WINDOW : WINDOW + 256])
        self.x0 = self.target.registers["x0"]
        self.pc = BASE
        self.last: bytes | None = None
        self.resent = 0
        self.open = False  # a packet was begun

    def ask(self, payload: bytes, expected: bytes, cuts: list[int]) -> None:
        """Send a packet in pieces; it is acknowledged, if at all, and answered."""
        data = framed(payload)
        bounds = [0, *sorted(cut % len(data) for cut in cuts), len(data)]
        answers = []
        for start, end in pairwise(bounds):
            answers += self.wire.receive(data[start:end])
        self.open = False
        assert answers == [b"+"] * self.acknowledging + [b"$" + expected]
        self.last, self.resent = expected, 0

    cuts = st.lists(st.integers(0, 1000), max_size=4)

    @rule(at=st.integers(0, 255), size=st.integers(1, 64), cuts=cuts)
    def read_in_hexadecimal(self, at: int, size: int, cuts: list[int]) -> None:
        data = self.memory[at : at + size]
        if at + size <= 256:
            self.ask(b"m%x,%x" % (BASE + WINDOW + at, size), data.hex().encode(), cuts)

    @rule(at=st.integers(0, 191), size=st.integers(0, 64), cuts=cuts)
    def read_in_binary(self, at: int, size: int, cuts: list[int]) -> None:
        self.ask(b"x%x,%x" % (BASE + WINDOW + at, size), b"b" + bytes(self.memory[at : at + size]), cuts)

    @rule(at=st.integers(0, 200), data=st.one_of(BYTES, SPECIAL), binary=st.booleans(), cuts=cuts)
    def write(self, at: int, data: bytes, binary: bool, cuts: list[int]) -> None:
        head = b"%b%x,%x:" % (b"X" if binary else b"M", BASE + WINDOW + at, len(data))
        self.ask(head + (escaped(data) if binary else data.hex().encode()), b"OK", cuts)
        self.memory[at : at + len(data)] = data

    @rule(value=st.integers(0, (1 << 64) - 1), cuts=cuts)
    def write_a_register(self, value: int, cuts: list[int]) -> None:
        self.ask(b"P0=" + value.to_bytes(8, "little").hex().encode(), b"OK", cuts)
        self.x0 = value

    @rule(cuts=cuts)
    def read_a_register(self, cuts: list[int]) -> None:
        self.ask(b"p0", self.x0.to_bytes(8, "little").hex().encode(), cuts)

    @rule(cuts=cuts)
    def step(self, cuts: list[int]) -> None:
        data = framed(b"vCont;s:1")
        answers = self.wire.receive(data)
        self.pc += 4
        assert answers[:-1] == [b"+"] * self.acknowledging
        assert b"20:%b;" % self.pc.to_bytes(8, "little").hex().encode() in answers[-1]
        assert answers[-1].startswith(b"$T05")
        self.last, self.resent, self.open = answers[-1][1:], 0, False

    @rule()
    def pipeline(self) -> None:
        """Several at once, the machine running between them."""
        answers = self.wire.receive(framed(b"qC") + framed(b"vCont;s:1") + framed(b"p0") + b"\x03" + framed(b"qC"))
        self.pc += 4
        self.open = False
        payloads = [answer for answer in answers if answer[:1] == b"$"]
        value = self.x0.to_bytes(8, "little").hex().encode()
        assert [payload[1:4] for payload in payloads] == [b"QC1", b"T05", value[:3], b"QC1"]
        assert answers.count(b"+") == (4 if self.acknowledging else 0)
        self.last, self.resent = b"QC1", 0

    @rule(payload=st.binary(max_size=10).filter(lambda data: not set(data) & set(b"#$")), wrong=st.integers(1, 255))
    def damage(self, payload: bytes, wrong: int) -> None:
        """A wrong checksum is asked for again where there are acknowledgments, and ignored where there are none."""
        data = b"$" + payload + b"#%02x" % ((sum(payload) + wrong) % 256)
        assert self.wire.receive(data) == [b"-"] * self.acknowledging
        self.open = False

    @rule(data=st.sampled_from([b"$m4000", b"$", b"$X0,4:}"]))
    def give_up(self, data: bytes) -> None:
        """A packet that is never finished: the next one begins."""
        assert self.wire.receive(data) == []
        self.open = True

    @precondition(lambda self: not self.open and self.last is not None)
    @rule(count=st.integers(1, 5))
    def ask_again(self, count: int) -> None:
        """A '-' has the last packet sent again, three times at most."""
        expected = []
        for _ in range(count):
            if self.acknowledging and self.resent < 3:
                expected.append(b"$" + (self.last or b""))
                self.resent += 1
        assert self.wire.receive(b"-" * count) == expected

    @precondition(lambda self: not self.open and self.last is not None)
    @rule(noise=st.sampled_from([b"+", b"+++", b"\x03", b"\x03+\x03", b"%Stop:S05#00"]))
    def say_nothing(self, noise: bytes) -> None:
        assert self.wire.receive(noise) == []

    @precondition(lambda self: self.acknowledging)
    @rule(cuts=cuts)
    def end_acknowledgments(self, cuts: list[int]) -> None:
        self.ask(b"QStartNoAckMode", b"OK", cuts)
        self.acknowledging = False

    @rule(payload=st.sampled_from([b"m", b"m0", b"mx,1", b"M40000000,2:00", b"P0=00", b"Z0,1", b"vCont;q", b"qCRC:1"]))
    def send_nonsense(self, payload: bytes) -> None:
        self.ask(payload, b"E01", [])

    @rule(payload=st.sampled_from([b"qUnknown:1", b"vUnknown;1", b"QUnknown", b"b", b"t1", b""]))
    def send_what_is_not_known(self, payload: bytes) -> None:
        self.ask(payload, b"", [])

    @invariant()
    def is_there(self) -> None:
        assert self.wire.connection.state is State.IDLE
        assert bytes(self.target.memory[WINDOW : WINDOW + 256]) == self.memory
        assert self.target.registers["pc"] == self.pc

    def teardown(self) -> None:
        self.wire.connection.leave()


TestConversation = Conversation.TestCase
TestConversation.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)


def test_a_guest_that_ends_while_the_client_waits(server: Server, target: FakeTarget) -> None:
    target.powers_off_at = BASE + 0x40
    with Client(server.address) as client:
        assert client.ask(b"vCont;c") == b"W00"
        assert client.ask(b"?") == b"W00"
        assert client.ask(b"vCont;c") == b"W00"


def test_a_stop_event_is_told_to_the_client_that_waits_for_it(server: Server, target: FakeTarget) -> None:
    """Not to the one after it."""
    with Client(server.address) as client:
        client.send(framed(b"vCont;c"))
        client.byte()
    with Client(server.address) as client:
        assert client.ask(b"qC") == b"QC1"
    assert isinstance(target.stop, StopEvent)
