# SPDX-License-Identifier: GPL-2.0-or-later
"""Z0 to Z4, z0 to z4: breakpoints and watchpoints (GDB manual, "Packets").

Both kinds of packet are idempotent, as the manual asks: a client that got no answer may send one again.
"""

from dataclasses import dataclass
from functools import partial

from armprobe.stub.connection import Connection
from armprobe.stub.feature import Feature, PacketKind
from armprobe.stub.target import BreakKind
from armprobe.stub.wire import number, split


@dataclass(frozen=True)
class Point:
    """A breakpoint of `length` bytes, which for code is the instruction's size."""

    kind: BreakKind
    address: int
    length: int

    @staticmethod
    def parse(kind: BreakKind, fields: bytes) -> "Point":
        address, length = split(fields.removeprefix(b","), b",", 2)
        return Point(kind, number(address), number(length))


def _insert(connection: Connection, point: Point) -> bytes:
    key = (point.kind, point.address, point.length)
    if key not in connection.inserted:
        connection.target.insert(*key)
        connection.inserted.add(key)
    return b"OK"


def _remove(connection: Connection, point: Point) -> bytes:
    key = (point.kind, point.address, point.length)
    if key in connection.inserted:
        connection.target.remove(*key)
        connection.inserted.remove(key)
    return b"OK"


FEATURE = Feature(
    packets=(
        *(PacketKind(f"Z{kind.value}", partial(Point.parse, kind), _insert) for kind in BreakKind),
        *(PacketKind(f"z{kind.value}", partial(Point.parse, kind), _remove) for kind in BreakKind),
    ),
    words=("swbreak+", "hwbreak+"),
)
