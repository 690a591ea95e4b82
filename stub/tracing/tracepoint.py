# SPDX-License-Identifier: GPL-2.0-or-later
"""A tracepoint: where, when and what to collect (GDB manual, "Tracepoint Packets": QTDP)."""

import re
import struct
from collections.abc import Callable
from dataclasses import dataclass, field

from armprobe.expressions import AgentError, AgentExpression
from armprobe.machine import MachineError
from armprobe.stub.agent import Agent
from armprobe.stub.target import Scene, TargetError
from armprobe.stub.wire import ADDRESS_SPACE, MalformedPacket, hex_data, number, quote

from .frames import FrameBuilder

_E2BIG = 7
_MOST_ACTIONS = 1000
MOST_STEPS = 1 << 16
MOST_FRAME = 1 << 22  # bytes
_ABSOLUTE = (-1, 0xFFFF_FFFF)  # the "base register" of an address that is one
_WORDS = struct.Struct("<33Q")
_ACTION = re.compile(
    rb"R(?P<mask>[0-9a-fA-F]+)|M(?P<base>-?[0-9a-fA-F]+),(?P<offset>-?[0-9a-fA-F]+),(?P<length>[0-9a-fA-F]+)"
    rb"|X(?P<size>[0-9a-fA-F]+),"
)


class Collector(Agent):
    """Evaluates the expressions of tracepoints; what they trace goes into `frame`."""

    frame: FrameBuilder

    def collect(self, address: int, length: int) -> None:
        """What cannot be read is not in the frame: gdb shows it as unavailable."""
        if self.frame.size + length > MOST_FRAME:
            raise AgentError(f"a frame may have {MOST_FRAME} bytes, not {self.frame.size + length} and more")
        try:
            self.frame.memory(address, self.read(address, length) if length else b"")
        except MachineError:
            return

    def collect_variable(self, number: int) -> None:
        self.frame.variable(number, self.variable(number))


Action = Callable[[Collector, Scene], object]
"""Collects something. May raise AgentError."""


def _registers(collector: Collector, scene: Scene) -> None:
    """All of them, whichever were asked for: a block of the trace file has all."""
    general = [*scene.general]
    general[30] = scene.register("x30")
    collector.frame.registers(
        _WORDS.pack(*general)
        + scene.register("cpsr").to_bytes(4, "little")
        + scene.vectors
        + scene.register("fpsr").to_bytes(4, "little")
        + scene.register("fpcr").to_bytes(4, "little")
    )


@dataclass(frozen=True)
class _Memory:
    base: int
    offset: int
    length: int

    def __call__(self, collector: Collector, scene: Scene) -> None:
        base = 0 if self.base in _ABSOLUTE else collector.register(self.base)
        collector.collect((base + self.offset) % ADDRESS_SPACE, self.length)


@dataclass(frozen=True)
class _Expression:
    expression: AgentExpression

    def __call__(self, collector: Collector, scene: Scene) -> None:
        collector.evaluate(self.expression, scene)


def _signed(field: bytes) -> int:
    return -number(field[1:]) if field.startswith(b"-") else number(field)


def _parsed(text: bytes) -> list[Action]:
    """The actions of one packet, one after the other."""
    actions: list[Action] = []
    at = 0
    while at < len(text):
        match = _ACTION.match(text, at)
        if match is None:
            raise MalformedPacket(f"{quote(text[at:])} is no action of a tracepoint")
        at = match.end()
        if match["mask"]:
            actions.append(_registers)
        elif match["base"]:
            actions.append(_Memory(_signed(match["base"]), _signed(match["offset"]), number(match["length"])))
        else:
            digits = 2 * number(match["size"], ADDRESS_SPACE >> 1)
            actions.append(_Expression(expression(text[at : at + digits], digits)))
            at += digits
    return actions


def expression(field: bytes, digits: int) -> AgentExpression:
    """The agent expression in so many hexadecimal digits."""
    if len(field) != digits:
        raise MalformedPacket(f"an expression of {digits // 2} bytes has {len(field)} digits")
    try:
        return AgentExpression(hex_data(field))
    except AgentError as error:
        raise MalformedPacket(str(error)) from None


@dataclass
class Tracepoint:
    """One location of a tracepoint of gdb's; those of one tracepoint share its number."""

    number: int
    address: int
    enabled: bool
    steps: int
    """Instructions to be followed after a hit (while-stepping)."""
    passes: int
    """Hits after which the experiment ends; 0: however many."""
    fast: int | None
    """For a "fast" one, which is any other's equal here: the length of its instruction."""
    condition: AgentExpression | None
    texts: list[tuple[bool, bytes]] = field(default_factory=list)
    """The actions as they were sent, and whether they are for the steps."""
    sources: list[bytes] = field(default_factory=list)
    """How the user wrote it, in pieces as they were sent."""
    actions: list[Action] = field(default_factory=list)
    step_actions: list[Action] = field(default_factory=list)
    hits: int = 0
    usage: int = 0
    """Bytes of frames."""
    remove: Callable[[], None] | None = None
    """Takes it out of the guest, when it is in."""

    def add_actions(self, text: bytes) -> None:
        """Add what a packet says: an S begins the actions for the steps."""
        stepping = text.startswith(b"S") or any(stepping for stepping, _ in self.texts)
        text = text.removeprefix(b"S")
        actions = _parsed(text)
        if len(self.actions) + len(self.step_actions) + len(actions) > _MOST_ACTIONS:
            raise TargetError(_E2BIG, f"tracepoint {self.number} would have more than {_MOST_ACTIONS} actions")
        (self.step_actions if stepping else self.actions).extend(actions)
        self.texts.append((stepping, text))
