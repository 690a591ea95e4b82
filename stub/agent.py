# SPDX-License-Identifier: GPL-2.0-or-later
"""Evaluating gdb's agent expressions on what a `Scene` shows of the guest."""

import logging
import threading
from collections.abc import Callable, Sequence

from armprobe.expressions.evaluate import AgentError, AgentExpression

from .aarch64 import RegisterTable
from .target import Scene, TargetError

log = logging.getLogger("armprobe.stub")

_MASK = (1 << 64) - 1
_WORDS = 33  # x0 to x30, sp, pc: gdb's numbers 0 to 32
_X30 = 30  # where it may not be what is shown
_HELD = 1 << 20  # characters of output that may wait for the client
_PAUSE = 0.1  # seconds that the guest then waits each time it prints


class Agent:
    """The `Context` of agent expressions. Each evaluating object has one."""

    def __init__(self, table: RegisterTable, variables: dict[int, int], show: Callable[[str], None]) -> None:
        self._table = table
        self._variables = variables
        self._scene: Scene | None = None
        self._general: Sequence[int] = ()
        self.show = show

    def evaluate(self, expression: AgentExpression, scene: Scene) -> int:
        """The value of `expression` at `scene`. Raises AgentError."""
        self.look_at(scene)
        return expression.evaluate(self)

    def look_at(self, scene: Scene) -> None:
        """Evaluate what follows at `scene`."""
        self._scene, self._general = scene, scene.general

    @property
    def scene(self) -> Scene:
        """The one that is looked at."""
        assert self._scene is not None, "nothing is evaluated without a scene"
        return self._scene

    def register(self, number: int) -> int:
        if number < _WORDS and number != _X30:
            return self._general[number]
        if number >= len(self._table.registers):
            raise AgentError(f"there is no register number {number}")
        try:
            return self.scene.register(self._table.registers[number].source) & _MASK
        except TargetError as error:
            raise AgentError(error.message) from None

    def read(self, address: int, length: int) -> bytes:
        try:
            return self.scene.read(address, length)
        except TargetError as error:
            raise AgentError(error.message) from None

    def variable(self, number: int) -> int:
        return self._variables.get(number, 0)

    def set_variable(self, number: int, value: int) -> None:
        self._variables[number] = value

    def collect(self, address: int, length: int) -> None:
        """There is no trace frame here."""

    def collect_variable(self, number: int) -> None:
        """Nor here."""


class Output:
    """Text from inside a run on its way to the client. Who prints faster than the client reads has to wait."""

    def __init__(self, post: Callable[[Callable[[], None]], None], send: Callable[[str], None]) -> None:
        """`post` has something done on the client's thread, and there `send` sends text."""
        self._post, self._send = post, send
        self._room = threading.Condition()
        self._pieces: list[str] = []
        self._size = 0
        self._closed = False

    def add(self, text: str, wait: bool) -> bool:
        """Have `text` sent; False if there is no client any more."""
        with self._room:
            if wait:  # inside the run, where others wait too for what they want of the machine
                self._room.wait_for(lambda: self._size <= _HELD or self._closed, _PAUSE)
            if self._closed:
                return False
            self._pieces.append(text)
            self._size += len(text)
            if len(self._pieces) == 1:
                self._post(self.flush)
        return True

    def flush(self) -> None:
        """Send what there is. On the client's thread."""
        with self._room:
            text, self._pieces, self._size = "".join(self._pieces), [], 0
            self._room.notify_all()
        if text:
            self._send(text)

    def close(self) -> None:
        """The client is gone: nobody waits for it."""
        with self._room:
            self._closed = True
            self._room.notify_all()


class Breakpoint:
    """What a breakpoint is to do when it is reached: a `Decide`."""

    def __init__(
        self, address: int, conditions: Sequence[AgentExpression], commands: Sequence[AgentExpression], agent: Agent
    ) -> None:
        self._where = f"the breakpoint at 0x{address:x}"
        self._conditions, self._commands, self._agent = conditions, commands, agent

    def __call__(self, scene: Scene) -> bool:
        """Stop if any condition holds, or there is none; with commands, do those instead of stopping."""
        agent = self._agent
        try:
            if self._conditions and not any([agent.evaluate(each, scene) for each in self._conditions]):
                return False
        except AgentError as error:
            agent.show(f"the condition of {self._where} cannot be evaluated: {error}\n")
            return True
        if not self._commands:
            return True
        try:
            for command in self._commands:
                agent.evaluate(command, scene)
        except AgentError as error:
            agent.show(f"a command of {self._where} cannot be done: {error}\n")
        return False
