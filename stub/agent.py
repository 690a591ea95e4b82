# SPDX-License-Identifier: GPL-2.0-or-later
"""Agent expressions in breakpoints: their conditions, and the commands that are done in place of a stop."""

from collections.abc import Callable, Sequence

from armprobe.expressions import AgentError, AgentExpression, Environment

from .aarch64 import RegisterTable
from .target import Scene


class Agent(Environment):
    """Registers and memory of a `Scene`, trace state variables, and output. Each evaluating object has one."""

    def __init__(self, table: RegisterTable, variables: dict[int, int], show: Callable[[str], None]) -> None:
        super().__init__(table.sources)
        self._variables = variables
        self._show = show

    def evaluate(self, expression: AgentExpression, scene: Scene) -> int:
        """The value of `expression` at `scene`. Raises AgentError."""
        return expression.evaluate(self.look_at(scene))

    def variable(self, number: int) -> int:
        """The value of a trace state variable; 0 for one that nobody has set."""
        return self._variables.get(number, 0)

    def set_variable(self, number: int, value: int) -> None:
        """Give a trace state variable a value."""
        self._variables[number] = value

    def show(self, text: str) -> None:
        """Show text to the client."""
        self._show(text)


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
