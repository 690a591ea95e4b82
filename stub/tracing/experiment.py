# SPDX-License-Identifier: GPL-2.0-or-later
"""A trace experiment: its tracepoints, trace state variables, state and collected frames.

It outlasts the client that started it, if the client asks for that (QTDisconnected).
"""

import errno
import time
from collections.abc import Sequence

from armprobe.expressions import AgentError
from armprobe.machine.lazy_dataclass import lazy_dataclass
from armprobe.stub.aarch64 import register_table
from armprobe.stub.target import GuestView, SystemRegisters, TargetError, Tracepoints, display_of
from armprobe.stub.trace_variables import TIMESTAMP, TraceVariables

from .frames import FrameBuilder, TraceBuffer
from .tracepoint import Action, Collector, Tracepoint

_MOST_TRACEPOINTS = 1000
_MOST_VARIABLES = 10_000
_MOST_TEXT = 1 << 22  # bytes


@lazy_dataclass
class Variable:
    """A trace state variable as gdb defined it."""

    initial: int
    builtin: bool
    name: str


_BUILTIN = {TIMESTAMP: Variable(0, True, "trace_timestamp")}


class Experiment:
    """The one experiment of a target."""

    def __init__(self, target: object) -> None:
        self._target = target
        self.tracepoints: dict[tuple[int, int], Tracepoint] = {}
        """By number and address."""
        self.variables: dict[int, Variable] = dict(_BUILTIN)
        self.values = TraceVariables()
        self.buffer = TraceBuffer()
        self.read_only: list[tuple[int, int]] = []
        """Starts and ends of constant memory, which is read from the guest while a client looks at a frame."""
        self.running = False
        self.outlasts_client = False
        self.reason: tuple[str, str, int] = ("tnotrun", "", 0)
        """Why it does not run: the reason's name in qTStatus, a text, and the number of a tracepoint."""
        self.started = self.stopped = 0
        """Microseconds since the epoch."""
        self.notes = {"user": "", "notes": "", "tstop": ""}
        table = register_table(target.system_registers if isinstance(target, SystemRegisters) else ())
        self._text = 0  # bytes of actions, conditions and sources
        self._collector = Collector(table, self.values, display_of(target))

    # Setting up

    def clear(self) -> None:
        """Forget tracepoints, variables and frames."""
        self.stop("tnotrun")
        self.tracepoints.clear()
        self.variables = dict(_BUILTIN)
        self.values.clear()
        self.buffer.clear()
        self.read_only = []
        self._text = 0

    def add_text(self, size: int) -> None:
        """Count `size` bytes of actions, conditions and sources. Raises TargetError if there are too many."""
        if self._text + size > _MOST_TEXT:
            raise TargetError(errno.E2BIG, f"there are {_MOST_TEXT} bytes of actions and sources already: delete some")
        self._text += size

    def define(self, tracepoint: Tracepoint) -> None:
        """Add a tracepoint. It replaces one with the same number and address."""
        key = tracepoint.number, tracepoint.address
        if len(self.tracepoints) >= _MOST_TRACEPOINTS:
            raise TargetError(errno.E2BIG, f"there are {_MOST_TRACEPOINTS} tracepoints already: delete some")
        old = self.tracepoints.get(key)
        if old is not None and old.remove is not None:
            old.remove()
        self.tracepoints[key] = tracepoint

    def find(self, number: int, address: int) -> Tracepoint:
        """A defined tracepoint. Raises TargetError if there is none."""
        tracepoint = self.tracepoints.get((number, address))
        if tracepoint is None:
            raise TargetError(errno.ENOENT, f"there is no tracepoint {number} at 0x{address:x}")
        return tracepoint

    def define_variable(self, number: int, variable: Variable) -> None:
        """Add a trace state variable, or change one."""
        if len(self.variables) >= _MOST_VARIABLES:
            raise TargetError(errno.E2BIG, f"there are {_MOST_VARIABLES} trace state variables already: delete some")
        if number != TIMESTAMP:
            self.variables[number] = variable
            self.values[number] = variable.initial

    # Running

    def start(self) -> None:
        """Insert the tracepoints and collect from now on. Raises TargetError if one cannot be inserted."""
        if self.running:
            raise TargetError(errno.EBUSY, "the experiment runs already: tstop ends it")
        self._take_out()
        self.buffer.clear()
        for number, variable in self.variables.items():
            self.values[number] = variable.initial
        try:
            for tracepoint in self.tracepoints.values():
                tracepoint.hits = tracepoint.usage = 0
                self.put_in(tracepoint)
        except TargetError:
            self._take_out()
            raise
        self.running, self.reason = True, ("tunknown", "", 0)
        self.started, self.stopped = time.time_ns() // 1000, 0

    def put_in(self, tracepoint: Tracepoint) -> None:
        """Insert one tracepoint in the guest, unless it is in already."""

        if tracepoint.remove is not None:
            return

        def stepped(view: GuestView) -> None:
            if self.running:
                self._collect(tracepoint, tracepoint.step_actions, view)

        condition = tracepoint.condition
        programs = None if condition is None else self._collector.compiled([condition])
        assert isinstance(self._target, Tracepoints), "no client is served tracepoints where there can be none"
        tracepoint.remove = self._target.trace(
            tracepoint.address,
            lambda view: self._hit(tracepoint, view),
            stepped,
            bool(tracepoint.steps),
            programs[0] if programs else None,
        )

    def stop(self, reason: str = "tstop", text: str = "", number: int = 0) -> None:
        """Stop collecting. The frames stay."""
        self._end(reason, text, number)
        self._take_out()

    def client_left(self) -> None:
        """Stop, unless the experiment outlasts its client."""
        if self.running and not self.outlasts_client:
            self.stop("tdisconnected")

    def _end(self, reason: str, text: str = "", number: int = 0) -> None:
        """As `stop`, from inside a hit: the tracepoints stay in the guest and do nothing."""
        if self.running:
            self.running, self.reason = False, (reason, text, number)
            self.stopped = time.time_ns() // 1000

    def _take_out(self) -> None:
        for tracepoint in self.tracepoints.values():
            if tracepoint.remove is not None:
                tracepoint.remove()
                tracepoint.remove = None

    # A hit

    def _hit(self, tracepoint: Tracepoint, view: GuestView) -> int:
        """Collect what the tracepoint asks for at `view`. Returns the number of instructions to step through."""
        if not self.running or not tracepoint.enabled:
            return 0
        self.values.view = view
        if tracepoint.condition is not None:
            try:
                if not self._collector.evaluate(tracepoint.condition, view):
                    return 0
            except AgentError as error:
                self._end("terror", f"condition: {error}", tracepoint.number)
                return 0
        tracepoint.hits += 1
        self._collect(tracepoint, tracepoint.actions, view)
        if tracepoint.passes and tracepoint.hits >= tracepoint.passes:
            self._end("tpasscount", number=tracepoint.number)
        return tracepoint.steps if self.running else 0

    def _collect(self, tracepoint: Tracepoint, actions: Sequence[Action], view: GuestView) -> None:
        collector = self._collector
        collector.frame = FrameBuilder()
        collector.look_at(view)
        self.values.view = view
        error = ""
        try:
            for action in actions:
                action(collector, view)
        except AgentError as failure:
            error = f"action: {failure}"
        frame = collector.frame.done(tracepoint.number, tracepoint.address)
        if not self.buffer.add(frame):
            self._end("tfull")
        else:
            tracepoint.usage += frame.size
        if error:
            self._end("terror", error, tracepoint.number)
