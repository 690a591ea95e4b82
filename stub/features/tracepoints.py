# SPDX-License-Identifier: GPL-2.0-or-later
"""Tracepoints and trace state variables: defining and listing them.

QTinit, QTDP, QTDPsrc, QTDV, QTEnable, QTDisable, QTro, qTMinFTPILen; qTfP, qTsP, qTfV, qTsV, qTP, qTV.
GDB manual, "Tracepoint Packets". In the guest a tracepoint is a kprobe, so a "fast" one is no different.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from armprobe.stub.agent import parse_expression
from armprobe.stub.feature import Feature, PacketKind
from armprobe.stub.target import Tracepoints
from armprobe.stub.tracing import Tracepoint
from armprobe.stub.tracing.experiment import Variable
from armprobe.stub.tracing.tracepoint import MOST_STEPS
from armprobe.stub.wire import ADDRESS_SPACE, MalformedPacket, anything, hex_text, nothing, number, quote, split, to_hex

if TYPE_CHECKING:
    from armprobe.stub.connection import Connection

_INSTRUCTION = 4  # bytes


def _place(fields: bytes) -> tuple[int, int, list[bytes]]:
    """The number and address of a tracepoint, and the fields after them."""
    if b":" not in fields:
        raise MalformedPacket("a tracepoint has a number and an address")
    name, address, *rest = fields.split(b":", 2)
    return number(name, 1 << 32), number(address), rest


def _parse_definition(fields: bytes) -> tuple[Tracepoint | tuple[int, int, bytes], bool]:
    """A tracepoint, or more actions for one (a '-' in front), and whether another packet continues it."""
    more = fields.endswith(b"-")
    text = fields.removesuffix(b"-")
    if text.startswith(b"-"):
        name, address, actions = split(text[1:], b":", 3)
        return (number(name, 1 << 32), number(address), actions), more
    name, address, enabled, steps, passes, *options = split(text, b":", 5)[:4] + text.split(b":")[4:]
    if enabled not in (b"E", b"D"):
        raise MalformedPacket("a tracepoint is enabled, E, or disabled, D")
    tracepoint = Tracepoint(
        number(name, 1 << 32),
        number(address),
        enabled == b"E",
        number(steps, MOST_STEPS),
        number(passes),
        None,
        None,
    )
    for option in options:
        if option[:1] == b"F":
            tracepoint.fast = number(option[1:])
        elif option[:1] == b"X":
            size, code = split(option[1:], b",", 2)
            tracepoint.condition = parse_expression(code, number(size))
        else:
            raise MalformedPacket(f"{quote(option)} is no option of a tracepoint")
    return tracepoint, more


def _parse_variable(fields: bytes) -> tuple[int, Variable]:
    name, value, builtin, text = split(fields, b":", 4)
    return number(name, 1 << 16), Variable(number(value), builtin == b"1", hex_text(text))


def _parse_areas(fields: bytes) -> list[tuple[int, int]]:
    pairs = [area.split(b",") for area in fields.split(b":") if area]
    if any(len(pair) != 2 for pair in pairs):
        raise MalformedPacket("an area has a start and an end")
    return [(number(start), number(end, ADDRESS_SPACE + 1)) for start, end in pairs]


# The definitions as a later client downloads them: one piece a packet, and then l.


def _pieces(tracepoint: Tracepoint) -> Iterator[bytes]:
    place = b"%x:%x" % (tracepoint.number, tracepoint.address)
    options = b"" if tracepoint.fast is None else b":F%x" % tracepoint.fast
    if tracepoint.condition is not None:
        code = tracepoint.condition.code
        options += b":X%x,%b" % (len(code), to_hex(code))
    state = b"E" if tracepoint.enabled else b"D"
    yield b"T%b:%b:%x:%x%b" % (place, state, tracepoint.steps, tracepoint.passes, options)
    for stepping, text in tracepoint.texts:
        yield b"%b%b:%b" % (b"S" if stepping else b"A", place, text)
    for source in tracepoint.sources:
        yield b"Z%b:%b" % (place, source)


class TracepointPackets(Feature[Tracepoints]):
    words = (
        *("ConditionalTracepoints+", "TracepointSource+", "EnableDisableTracepoints+", "FastTracepoints+"),
        *("InstallInTrace+", "tracenz+"),
    )

    def __init__(self, connection: Connection, target: Tracepoints) -> None:
        super().__init__(connection, target)
        self._upload: Iterator[bytes] = iter(())  # the pieces that are left to download

    def define(self, definition: tuple[Tracepoint | tuple[int, int, bytes], bool]) -> bytes:
        defined, more = definition
        experiment = self.connection.trace.experiment
        if isinstance(defined, Tracepoint):
            tracepoint = defined
            experiment.add_text(len(tracepoint.condition.code) if tracepoint.condition else 0)
            experiment.define(tracepoint)
        else:
            tracepoint = experiment.find(*defined[:2])
            experiment.add_text(len(defined[2]))
            tracepoint.add_actions(defined[2])
        if experiment.running and not more:
            experiment.put_in(tracepoint)
        return b"OK"

    def add_source(self, fields: bytes) -> bytes:
        number, address, rest = _place(fields)
        if not rest:
            raise MalformedPacket("a source of a tracepoint without any text")
        kind, start, length, text = split(rest[0], b":", 4)
        hex_text(text)
        tracepoint = self.connection.trace.experiment.find(number, address)
        self.connection.trace.experiment.add_text(len(rest[0]))
        tracepoint.sources.append(b"%b:%b:%b:%b" % (kind, start, length, text))
        return b"OK"

    def define_variable(self, definition: tuple[int, Variable]) -> bytes:
        self.connection.trace.experiment.define_variable(*definition)
        return b"OK"

    def _set_enabled(self, fields: bytes, enabled: bool) -> bytes:
        self.connection.trace.experiment.find(*_place(fields)[:2]).enabled = enabled
        return b"OK"

    def set_read_only(self, areas: list[tuple[int, int]]) -> bytes:
        self.connection.trace.experiment.read_only = areas
        return b"OK"

    def initialise(self, _: None) -> bytes:
        self.connection.trace.experiment.clear()
        self.connection.trace.frame = None
        return b"OK"

    def first_definition(self, _: None) -> bytes:
        defined = list(self.connection.trace.experiment.tracepoints.values())
        self._upload = (piece for tracepoint in defined for piece in _pieces(tracepoint))
        return self.next(None)

    def first_variable(self, _: None) -> bytes:
        variables = dict(self.connection.trace.experiment.variables)
        self._upload = (
            b"%x:%x:%d:%b" % (number, each.initial, each.builtin, to_hex(each.name))
            for number, each in variables.items()
        )
        return self.next(None)

    def next(self, _: None) -> bytes:
        return next(self._upload, b"l")

    def hits(self, fields: bytes) -> bytes:
        tracepoint = self.connection.trace.experiment.find(*_place(fields)[:2])
        return b"V%x:%x" % (tracepoint.hits, tracepoint.usage)

    def value(self, number: int) -> bytes:
        """The value now or, in a trace frame, as it was collected."""
        experiment, frame = self.connection.trace.experiment, self.connection.trace.frame
        if frame is None:
            known = number in experiment.variables or number in experiment.values
            value = experiment.values[number] if known else None
        else:
            value = frame.variables.get(number)
        return b"U" if value is None else b"V%x" % value

    def enable(self, fields: bytes) -> bytes:
        return self._set_enabled(fields, True)

    def disable(self, fields: bytes) -> bytes:
        return self._set_enabled(fields, False)

    def min_fast_tracepoint_length(self, _: None) -> bytes:
        return b"%x" % _INSTRUCTION

    packets = (
        PacketKind("QTinit", nothing, initialise, uncontrolled=True),
        PacketKind("QTDP", _parse_definition, define, uncontrolled=True),
        PacketKind("QTDPsrc", anything, add_source, uncontrolled=True),
        PacketKind("QTDV", _parse_variable, define_variable, uncontrolled=True),
        PacketKind("QTEnable", anything, enable, uncontrolled=True),
        PacketKind("QTDisable", anything, disable, uncontrolled=True),
        PacketKind("QTro", _parse_areas, set_read_only, uncontrolled=True),
        PacketKind("qTMinFTPILen", nothing, min_fast_tracepoint_length, reads=True, uncontrolled=True),
        PacketKind("qTfP", nothing, first_definition, reads=True, uncontrolled=True),
        PacketKind("qTsP", nothing, next, reads=True, uncontrolled=True),
        PacketKind("qTfV", nothing, first_variable, reads=True, uncontrolled=True),
        PacketKind("qTsV", nothing, next, reads=True, uncontrolled=True),
        PacketKind("qTP", anything, hits, reads=True, uncontrolled=True),
        PacketKind("qTV", number, value, reads=True, uncontrolled=True),
    )
