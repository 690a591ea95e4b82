# SPDX-License-Identifier: GPL-2.0-or-later
"""Z0 to Z4, z0 to z4: breakpoints and watchpoints, with conditions and commands (GDB manual, "Packets").

Both kinds of packet are idempotent, as the manual asks: a client that got no answer may send one again, and one with
other conditions or commands replaces those that there are. Conditions and commands are agent expressions, which are
evaluated where the guest runs; gdb gives them to breakpoints, of either kind, and not to watchpoints.
"""

import re
from dataclasses import dataclass
from functools import partial

from armprobe.expressions import AgentExpression
from armprobe.stub.agent import Agent, Breakpoint, parse_expression
from armprobe.stub.connection import Connection
from armprobe.stub.feature import Feature, PacketKind
from armprobe.stub.target import BreakKind, TargetError
from armprobe.stub.wire import MalformedPacket, number, quote, split

_E2BIG = 7
_MOST = 10_000  # breakpoints
_MOST_WATCHED = 100  # watchpoints, which every access of the guest's to memory is compared with
_MOST_OPTIONS = 1 << 20  # bytes, of the conditions and commands of all
_EXPRESSION = re.compile(rb"X([0-9a-fA-F]+),([0-9a-fA-F]*),?")


@dataclass(frozen=True)
class Point:
    """A breakpoint of `length` bytes, which for code is the instruction's size; `options` is what follows that."""

    kind: BreakKind
    address: int
    length: int
    options: bytes
    conditions: tuple[AgentExpression, ...] = ()
    commands: tuple[AgentExpression, ...] = ()
    persistent: bool = False

    @staticmethod
    def parse(kind: BreakKind, fields: bytes) -> "Point":
        place, _, options = fields.removeprefix(b",").partition(b";")
        address, length = split(place, b",", 2)
        conditions, _, commands = options.partition(b"cmds:")
        persistent, comma, commands = commands.partition(b",")
        if comma and number(persistent) > 1:
            raise MalformedPacket("commands are kept, 1, or not, 0")
        if options and kind.value > BreakKind.HARDWARE.value:
            raise MalformedPacket("a watchpoint takes neither conditions nor commands")
        return Point(
            kind,
            number(address),
            number(length),
            options,
            expressions(conditions.replace(b";", b"")),
            expressions(commands),
            persistent == b"1",
        )

    @property
    def key(self) -> tuple[BreakKind, int, int]:
        """What makes it the same as another."""
        return self.kind, self.address, self.length


def expressions(field: bytes) -> tuple[AgentExpression, ...]:
    """Each is X, its length in bytes, a comma and the bytes."""
    found, at = [], 0
    while at < len(field):
        match = _EXPRESSION.match(field, at)
        if match is None:
            raise MalformedPacket(f"no agent expression is where one should be, at {quote(field[at:])}")
        size = number(match[1])
        digits = match[2][: 2 * size]
        found.append(parse_expression(digits, size))
        at = match.start(2) + len(digits)
        at += field[at : at + 1] == b","
    return tuple(found)


def _insert(connection: Connection, point: Point) -> bytes:
    if connection.inserted.get(point.key) == point.options:
        return b"OK"
    if point.key in connection.inserted:
        _remove(connection, point)
    if len(connection.inserted) >= _MOST:
        raise TargetError(_E2BIG, f"there are {_MOST} breakpoints already: delete some")
    watched = sum(kind.value > BreakKind.HARDWARE.value for kind, _, _ in connection.inserted)
    if point.kind.value > BreakKind.HARDWARE.value and watched >= _MOST_WATCHED:
        raise TargetError(_E2BIG, f"there are {_MOST_WATCHED} watchpoints already: delete some")
    if point.options and len(point.options) + sum(map(len, connection.inserted.values())) > _MOST_OPTIONS:
        raise TargetError(_E2BIG, f"the conditions and commands of breakpoints may have {_MOST_OPTIONS} bytes in all")
    if point.conditions or point.commands:
        agent = Agent(connection.registers, connection.experiment.values, connection.show)
        decide = Breakpoint(point.address, point.conditions, point.commands, agent)
        connection.target.insert(*point.key, decide, point.persistent)
    else:
        connection.target.insert(*point.key)
    connection.inserted[point.key] = point.options
    return b"OK"


def _remove(connection: Connection, point: Point) -> bytes:
    if point.key in connection.inserted:
        connection.target.remove(*point.key)
        del connection.inserted[point.key]
    return b"OK"


FEATURE = Feature(
    packets=(
        *(PacketKind(f"Z{kind.value}", partial(Point.parse, kind), _insert) for kind in BreakKind),
        *(PacketKind(f"z{kind.value}", partial(Point.parse, kind), _remove) for kind in BreakKind),
    ),
    words=("swbreak+", "hwbreak+", "ConditionalBreakpoints+", "BreakpointCommands+"),
)
