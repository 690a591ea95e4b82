# SPDX-License-Identifier: GPL-2.0-or-later
"""A tracepoint: where, when and what to collect (GDB manual, "Tracepoint Packets": QTDP)."""

import errno
import re
import struct
from collections.abc import Callable
from dataclasses import dataclass, field

from armprobe.expressions import AgentError, AgentExpression
from armprobe.machine import MachineError
from armprobe.machine.lazy_dataclass import lazy_dataclass
from armprobe.stub.agent import Agent, parse_expression
from armprobe.stub.target import GuestView, TargetError
from armprobe.stub.wire import ADDRESS_SPACE, MalformedPacket, number, quote

from .frames import FrameBuilder

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
    """Evaluates the expressions of tracepoints and adds what they trace to `frame`."""

    frame: FrameBuilder

    def collect(self, address: int, length: int) -> None:
        """Record memory. Unreadable memory is left out, and gdb shows it as unavailable."""
        if self.frame.size + length > MOST_FRAME:
            raise AgentError(
                f"a frame of {self.frame.size + length} bytes or more is too large: at most {MOST_FRAME} are allowed"
            )
        try:
            self.frame.memory(address, self.read(address, length) if length else b"")
        except MachineError:
            return

    def collect_variable(self, number: int) -> None:
        self.frame.variable(number, self.variable(number))


Action = Callable[[Collector, GuestView], object]
"""Collects registers, memory or what an expression traces. May raise AgentError."""


def _registers(collector: Collector, view: GuestView) -> None:
    """Collect all registers, whichever were asked for, because a block of the trace file has all."""
    general = [*view.general]
    general[30] = view.register("x30")
    collector.frame.registers(
        _WORDS.pack(*general)
        + view.register("cpsr").to_bytes(4, "little")
        + view.vectors
        + view.register("fpsr").to_bytes(4, "little")
        + view.register("fpcr").to_bytes(4, "little")
    )


@lazy_dataclass
class _Memory:
    base: int
    offset: int
    length: int

    def __call__(self, collector: Collector, view: GuestView) -> None:
        base = 0 if self.base in _ABSOLUTE else collector.register(self.base)
        collector.collect((base + self.offset) % ADDRESS_SPACE, self.length)


@lazy_dataclass
class _Expression:
    expression: AgentExpression

    def __call__(self, collector: Collector, view: GuestView) -> None:
        collector.evaluate(self.expression, view)


def _signed(field: bytes) -> int:
    return -number(field[1:]) if field.startswith(b"-") else number(field)


def _parsed(text: bytes) -> list[Action]:
    """The actions of one packet, in order."""
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
            size = number(match["size"])
            actions.append(_Expression(parse_expression(text[at : at + 2 * size], size)))
            at += 2 * size
    return actions


@dataclass
class Tracepoint:
    """One location of a tracepoint of gdb's. All locations of a tracepoint share its number."""

    number: int
    address: int
    enabled: bool
    steps: int
    """The number of instructions to step through after a hit (while-stepping)."""
    passes: int
    """The number of hits after which the experiment ends; 0 for no limit."""
    fast: int | None
    """The length of the instruction of a "fast" tracepoint, which is no different here; None for others."""
    condition: AgentExpression | None
    texts: list[tuple[bool, bytes]] = field(default_factory=list)
    """Whether each action is for the steps, and its text as it was sent."""
    sources: list[bytes] = field(default_factory=list)
    """The user's source text, in pieces as they were sent."""
    actions: list[Action] = field(default_factory=list)
    step_actions: list[Action] = field(default_factory=list)
    hits: int = 0
    usage: int = 0
    """Bytes of frames."""
    remove: Callable[[], None] | None = None
    """Removes the tracepoint from the guest; None while it is not inserted."""

    def add_actions(self, text: bytes) -> None:
        """Add the actions of a packet. An S begins the actions for the steps."""
        stepping = text.startswith(b"S") or any(stepping for stepping, _ in self.texts)
        text = text.removeprefix(b"S")
        actions = _parsed(text)
        if len(self.actions) + len(self.step_actions) + len(actions) > _MOST_ACTIONS:
            raise TargetError(errno.E2BIG, f"tracepoint {self.number} would have more than {_MOST_ACTIONS} actions")
        (self.step_actions if stepping else self.actions).extend(actions)
        self.texts.append((stepping, text))
