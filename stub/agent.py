# SPDX-License-Identifier: GPL-2.0-or-later
"""Agent expressions of clients: in packets, and evaluated as conditions and commands of breakpoints."""

from collections.abc import Callable, Sequence

from armprobe.expressions import AgentError, AgentExpression, Environment
from armprobe.expressions.native import NeedsPython, compile_expression
from armprobe.machine.native.program import Program

from .aarch64 import RegisterTable
from .target import GuestView
from .trace_variables import TraceVariables
from .wire import MalformedPacket, hex_data


def parse_expression(digits: bytes, size: int) -> AgentExpression:
    """The agent expression of `size` bytes in hexadecimal. Raises MalformedPacket."""
    code = hex_data(digits)
    if len(code) != size:
        raise MalformedPacket(f"{len(code)} bytes were sent of an expression of {size}")
    try:
        return AgentExpression(code)
    except AgentError as error:
        raise MalformedPacket(str(error)) from None


class Agent(Environment):
    """Registers and memory of a `GuestView`, trace state variables and output. Each evaluating object has its own."""

    def __init__(self, table: RegisterTable, variables: TraceVariables, show: Callable[[str], None]) -> None:
        super().__init__(table.sources)
        self._variables = variables
        self._show = show

    def evaluate(self, expression: AgentExpression, view: GuestView) -> int:
        """The value of `expression` at `view`. Raises AgentError."""
        return expression.evaluate(self.look_at(view))

    def compiled(self, expressions: Sequence[AgentExpression]) -> list[Program] | None:
        """The C core's programs for `expressions`; None if one of them needs Python."""
        try:
            return [compile_expression(each, self._registers, self._variables.native) for each in expressions]
        except NeedsPython:
            return None

    def variable(self, number: int) -> int:
        """The value of a trace state variable; 0 if it was never set."""
        return self._variables[number]

    def set_variable(self, number: int, value: int) -> None:
        """Give a trace state variable a value."""
        self._variables[number] = value

    def show(self, text: str) -> None:
        """Show text to the client."""
        self._show(text)


class Breakpoint:
    """Decides what a breakpoint does when execution reaches it: a `Decide`."""

    def __init__(
        self, address: int, conditions: Sequence[AgentExpression], commands: Sequence[AgentExpression], agent: Agent
    ) -> None:
        self._where = f"the breakpoint at 0x{address:x}"
        self._conditions, self._commands, self._agent = conditions, commands, agent
        self.programs = agent.compiled(conditions) if conditions else None

    def __call__(self, view: GuestView) -> bool:
        """Whether to stop: if a condition is true or there is none. Commands are executed in place of the stop."""
        agent = self._agent
        try:
            if self._conditions and not any([agent.evaluate(each, view) for each in self._conditions]):
                return False
        except AgentError as error:
            agent.show(f"the condition of {self._where} cannot be evaluated: {error}\n")
            return True
        if not self._commands:
            return True
        try:
            for command in self._commands:
                agent.evaluate(command, view)
        except AgentError as error:
            agent.show(f"a command of {self._where} cannot be executed: {error}\n")
        return False
