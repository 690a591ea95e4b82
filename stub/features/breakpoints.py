# SPDX-License-Identifier: GPL-2.0-or-later
"""Z0, Z1, z0, z1: breakpoints, with conditions and commands (GDB manual, "Packets").

Both kinds of packet are idempotent, as the manual asks: a client that got no answer may send one again. Other
conditions or commands replace the earlier ones. Conditions and commands are agent expressions, which are
evaluated where the guest runs.
"""

from __future__ import annotations

import errno
import re
from functools import partial
from typing import TYPE_CHECKING

from armprobe.expressions import AgentExpression
from armprobe.machine.lazy_dataclass import lazy_dataclass
from armprobe.stub.agent import Agent, Breakpoint, parse_expression
from armprobe.stub.feature import Feature, PacketKind
from armprobe.stub.target import BreakKind, Breakpoints, ConditionalBreakpoints, TargetError
from armprobe.stub.wire import MalformedPacket, number, quote, split

if TYPE_CHECKING:
    from armprobe.stub.connection import Connection

_MOST = 10_000  # breakpoints
_MOST_OPTIONS = 1 << 20  # bytes, of the conditions and commands of all
_EXPRESSION = re.compile(rb"X([0-9a-fA-F]+),([0-9a-fA-F]*),?")


@lazy_dataclass
class Point:
    """A breakpoint on an instruction of `length` bytes; `options` is what follows that."""

    kind: BreakKind
    address: int
    length: int
    options: bytes
    conditions: tuple[AgentExpression, ...] = ()
    commands: tuple[AgentExpression, ...] = ()
    persistent: bool = False

    @staticmethod
    def parse(kind: BreakKind, fields: bytes) -> Point:
        place, _, options = fields.removeprefix(b",").partition(b";")
        address, length = split(place, b",", 2)
        conditions, _, commands = options.partition(b"cmds:")
        persistent, comma, commands = commands.partition(b",")
        if comma and number(persistent) > 1:
            raise MalformedPacket("commands are kept, 1, or not, 0")
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
        """The same for equal breakpoints with other options."""
        return self.kind, self.address, self.length


def expressions(field: bytes) -> tuple[AgentExpression, ...]:
    """The expressions of a field. Each is X, its length in bytes, a comma and the bytes."""
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


class BreakpointPackets(Feature[Breakpoints]):
    words = ("swbreak+", "hwbreak+")

    def __init__(self, connection: Connection, target: Breakpoints) -> None:
        super().__init__(connection, target)
        self._inserted: dict[tuple[BreakKind, int, int], bytes] = {}  # with the options that they came with

    def released(self) -> None:
        self._inserted.clear()

    def insert(self, point: Point) -> bytes:
        inserted, target, key = self._inserted, self.target, point.key
        before = inserted.get(key)
        if before == point.options:
            return b"OK"
        if before is not None:
            self.remove(point)
        if len(inserted) >= _MOST:
            raise TargetError(errno.E2BIG, f"there are {_MOST} breakpoints already: delete some")
        if point.options and len(point.options) + sum(map(len, inserted.values())) > _MOST_OPTIONS:
            raise TargetError(
                errno.E2BIG, f"the conditions and commands of breakpoints may have {_MOST_OPTIONS} bytes in all"
            )
        if not point.conditions and not point.commands:
            target.insert_breakpoint(*key)
        elif isinstance(target, ConditionalBreakpoints):
            target.insert_conditional_breakpoint(*key, self._decide(point), point.persistent)
        else:
            raise MalformedPacket("breakpoints have neither conditions nor commands here")
        inserted[key] = point.options
        return b"OK"

    def remove(self, point: Point) -> bytes:
        key = point.key
        if key in self._inserted:
            self.target.remove_breakpoint(*key)
            del self._inserted[key]
        return b"OK"

    def _decide(self, point: Point) -> Breakpoint:
        connection = self.connection
        agent = Agent(connection.registers, connection.trace.experiment.values, connection.show)
        return Breakpoint(point.address, point.conditions, point.commands, agent)

    packets = (
        PacketKind("Z0", partial(Point.parse, BreakKind.SOFTWARE), insert),
        PacketKind("Z1", partial(Point.parse, BreakKind.HARDWARE), insert),
        PacketKind("z0", partial(Point.parse, BreakKind.SOFTWARE), remove, uncontrolled=True),
        PacketKind("z1", partial(Point.parse, BreakKind.HARDWARE), remove, uncontrolled=True),
    )


class BreakpointConditions(Feature[ConditionalBreakpoints]):
    """Tells clients that breakpoints may have conditions and commands."""

    words = ("ConditionalBreakpoints+", "BreakpointCommands+")
