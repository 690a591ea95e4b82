# SPDX-License-Identifier: GPL-2.0-or-later
"""armprobe.stub.framing: bytes in, events out."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from armprobe.stub.framing import (
    PACKET_SIZE,
    Acknowledgment,
    Damaged,
    Deframer,
    Event,
    Ignored,
    Interrupt,
    Noise,
    Oversized,
    Packet,
    enframe,
)
from tests.stub.client import RESYNC, framed

# Pieces that mean something, so that random streams are not all noise.
PIECES = st.sampled_from(
    [b"$", b"#", b"}", b"*", b"+", b"-", b"\x03", b"g", b"00", b"$g#67", b"$#00", b"$X1,1:}\x03#a0"]
)
STREAMS = st.lists(st.one_of(PIECES, st.binary(max_size=8)), max_size=30).map(b"".join)


def events(*pieces: bytes) -> list[Event]:
    deframer = Deframer()
    return [event for piece in pieces for event in deframer.feed(piece)]


@pytest.mark.parametrize(
    ("stream", "expected"),
    [
        (b"$g#67", [Packet(b"g")]),
        (b"$#00", [Packet(b"")]),
        (b"$O#4F", [Packet(b"O")]),  # either case of the checksum's digits
        (b"+$g#67-", [Acknowledgment(True), Packet(b"g"), Acknowledgment(False)]),
        (b"$g#68", [Damaged()]),
        (b"$g#6g", [Damaged()]),
        (b"$g# 67", [Damaged(), Noise(ord("7"))]),
        (b"\x03$g#67\x03", [Interrupt(), Packet(b"g"), Interrupt()]),
        (b"$X0,1:\x03#22", [Packet(b"X0,1:\x03")]),  # no interrupt: data
        (b"$m1$g#67", [Ignored(), Packet(b"g")]),  # the sender gave up on its first packet
        (b"%Stop:T05#00$g#67", [Ignored(), Packet(b"g")]),  # a notification, which nobody acknowledges
        (b"%Stop$g#67", [Ignored(), Packet(b"g")]),
        (b"GET", [Noise(byte) for byte in b"GET"]),
        (b"$g#6", []),
        # GDB manual, "Overview": 0x7d 0x5d stands for 0x7d, 0x03 for '#', 0x04 for '$', 0x0a for '*'
        (framed(b"X0,4:}\x5d}\x03}\x04}\x0a"), [Packet(b"X0,4:}#$*")]),
        (framed(b"}"), [Packet(b"}")]),  # half an escape: for whoever reads the payload to refuse
    ],
)
def test_stream(stream: bytes, expected: list[Event]) -> None:
    assert events(stream) == expected


@pytest.mark.parametrize("size", [1, 255, 1023, 1024, 1025, 65_535, PACKET_SIZE])
@pytest.mark.parametrize("byte", [b"\0", b"f", b"\xff"])
def test_the_checksum_is_the_sum_of_all_bytes(byte: bytes, size: int) -> None:
    frame = enframe(byte * size)
    assert int(frame[-2:], 16) == byte[0] * size % 256
    assert events(frame) == [Packet(byte * size)]


@given(st.binary(max_size=100))
def test_what_is_framed_comes_out_again(payload: bytes) -> None:
    frame = enframe(payload)
    assert events(frame) == [Packet(payload)]
    assert not set(frame[1:-3]) & set(b"$#*")


@given(STREAMS, st.data())
def test_fragments_change_nothing(stream: bytes, data: st.DataObject) -> None:
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=8)))
    assert events(*(stream[a:b] for a, b in pairwise([0, *cuts, len(stream)]))) == events(stream)
    assert events(*(bytes([byte]) for byte in stream)) == events(stream)


@given(STREAMS)
def test_a_packet_is_understood_after_anything(stream: bytes) -> None:
    """After an empty packet at the latest, which ends whatever may have been open."""
    assert events(stream, RESYNC, b"$g#67")[-1] == Packet(b"g")


@given(st.lists(st.binary(max_size=20), max_size=10))
def test_pipelining(payloads: list[bytes]) -> None:
    assert events(b"".join(map(enframe, payloads))) == [Packet(payload) for payload in payloads]


@given(st.binary(min_size=1, max_size=20), st.data())
def test_a_changed_digit_is_noticed(payload: bytes, data: st.DataObject) -> None:
    frame = bytearray(enframe(payload))
    wrong = data.draw(st.sampled_from(sorted(set(b"0123456789abcdef") - {frame[-1]})))
    frame[-1] = wrong
    assert events(bytes(frame)) == [Damaged()]


@pytest.mark.parametrize("piece", [1 << 30, 1 << 16, 1000])
def test_size_limit(piece: int) -> None:
    def sent(size: int) -> list[Event]:
        stream = framed(b"x" * size) + framed(b"g")
        return events(*(stream[start : start + piece] for start in range(0, len(stream), piece)))

    assert sent(PACKET_SIZE) == [Packet(b"x" * PACKET_SIZE), Packet(b"g")]
    assert sent(PACKET_SIZE + 1) == [Oversized(), Packet(b"g")]
    assert sent(10 * PACKET_SIZE) == [Oversized(), Packet(b"g")]


def test_an_endless_packet_is_not_kept() -> None:
    deframer = Deframer()
    assert list(deframer.feed(b"$")) == []
    for _ in range(100):
        assert list(deframer.feed(b"x" * PACKET_SIZE)) == []
        assert len(deframer.begun) <= 2 * PACKET_SIZE
