# SPDX-License-Identifier: GPL-2.0-or-later
"""What commands give to probes to decide and to note: agent expressions, compiled here or by a debugger."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from armprobe.expressions.check import ExpressionError, Names, compile_expression, compile_print
from armprobe.expressions.evaluate import AgentError, AgentExpression, assemble
from armprobe.expressions.format import Format
from armprobe.probes import ConditionError, PtRegs, Stage
from armprobe.session.guest_view import HitScene
from armprobe.stub.aarch64 import RegisterTable, register_table
from armprobe.stub.agent import Agent

from .errors import CommandError
from .locations import find_symbol
from .registry import Arguments

if TYPE_CHECKING:
    from .session import Session


class Condition:
    """A condition of one or more probes: whether `code` gives something other than zero on pt_regs of a hit.

    Raises AgentError if `code` is no agent expression. `text` is how its user wrote it.
    """

    def __init__(self, session: Session, text: str, code: bytes, table: RegisterTable) -> None:
        self.text = text
        self._expression = AgentExpression(code)
        self._scene = HitScene(session.machine, session.kprobes)
        self._agent = _Agent(table, {}, session.notify)

    def __call__(self, stage: Stage, regs: PtRegs) -> bool:
        self._scene.look_at(stage, regs)
        self._agent.look_at(self._scene)
        try:
            return bool(self._expression.evaluate(self._agent))
        except AgentError as error:
            raise ConditionError(str(error)) from None

    def __str__(self) -> str:
        return self.text


class _Agent(Agent):
    """Without variables, which are an experiment's."""

    def variable(self, number: int) -> int:
        raise AgentError("probes have no trace state variables: use a tracepoint")

    def set_variable(self, number: int, value: int) -> None:
        self.variable(number)


class Note:
    """What a probe notes of a hit at `stage`: `form` with the values of expressions, each in C's notation in `text`."""

    def __init__(
        self, session: Session, text: str, form: Format, codes: Iterable[bytes], stage: Stage, table: RegisterTable
    ) -> None:
        self.text = text
        self._form = form
        self._values = [AgentExpression(code) for code in codes]
        self._stage = stage
        self._scene = HitScene(session.machine, session.kprobes)
        self._agent = _Agent(table, {}, session.notify)

    def __call__(self, stage: Stage, regs: PtRegs) -> str:
        """One line. What cannot be read is said in it, as the kernel says "(fault)"."""
        if stage is not self._stage:
            return ""
        self._scene.look_at(stage, regs)
        self._agent.look_at(self._scene)
        try:
            text = self._form.text([value.evaluate(self._agent) for value in self._values], self._agent.read)
        except AgentError as error:
            return f"({error})"
        return "".join(character if character.isprintable() else repr(character)[1:-1] for character in text.rstrip())

    def __str__(self) -> str:
        return self.text


def condition(session: Session, arguments: Arguments, stage: Stage) -> Condition | None:
    """What the arguments `condition` and `code` of a command say, for `stage`. Raises CommandError."""
    text = arguments.condition
    if text is None:
        if arguments.code:
            raise CommandError("code= has no condition: write what it was compiled from after if")
        return None
    table = register_table(session.system_registers)
    try:
        if arguments.code:
            code = assemble(map(_operation, arguments.code))
        else:
            code = compile_expression(text, _names(session, table, stage))
        return Condition(session, text, code, table)
    except (ExpressionError, AgentError) as error:
        raise CommandError(str(error)) from None


def note(session: Session, arguments: Arguments, stage: Stage) -> Note | None:
    """What the argument `print` of a command says, for `stage`. Raises CommandError."""
    text = arguments.note
    if text is None:
        return None
    table = register_table(session.system_registers)
    try:
        form, codes = compile_print(text, _names(session, table, stage))
        return Note(session, text, form, codes, stage, table)
    except (ExpressionError, AgentError) as error:
        raise CommandError(str(error)) from None


def _names(session: Session, table: RegisterTable, stage: Stage) -> Names:
    numbers = {register.name: number for number, register in enumerate(table.registers) if register.bits <= 64}

    def register(name: str) -> int:
        if name not in numbers:
            raise ExpressionError(f"there is no register '{name}' of 64 bits or less")
        return numbers[name]

    return Names(register, lambda name: find_symbol(session, name).address, stage is Stage.RETURN)


def _operation(word: str) -> tuple[str, int]:
    name, _, operand = word.partition(":")
    try:
        return name, int(operand or "0")
    except ValueError:
        raise CommandError(f"{word!r} is no operation of an agent expression: write NAME or NAME:NUMBER") from None
