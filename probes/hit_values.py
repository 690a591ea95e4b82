# SPDX-License-Identifier: GPL-2.0-or-later
"""The arguments of a recorded call, or its result, by name and as their types have them."""

from __future__ import annotations

import errno
from collections.abc import Sequence
from typing import Final, NamedTuple
from weakref import WeakKeyDictionary

from armprobe.expressions import AgentError, AgentExpression, Environment
from armprobe.expressions.arguments import Unknown, argument, result
from armprobe.expressions.emit import emit
from armprobe.expressions.typed import InRegisters
from armprobe.expressions.typed import Value as Typed
from armprobe.kernel import types as declared
from armprobe.machine import Machine, MachineError

from .probe import Probe
from .record import TRACED_STAGE, Hit, Stage
from .scope import GuestScope

_NOT_RECORDED: Final = "..."  # as gdb shows an argument that is no scalar (GDB manual, "Print Settings")
_SIGN: Final = 1 << 63
_ERROR_POINTERS: Final = (1 << 64) - 4095  # IS_ERR_VALUE with MAX_ERRNO (include/linux/err.h)
_SYSTEM_CALL: Final = "__arm64_sys_"
"""The beginning of the names of functions that return what a program gets from a system call."""


class _Words(Environment):
    """The registers that are recorded of a hit. Its memory is not."""

    def __init__(self, words: Sequence[int | None]) -> None:
        super().__init__(())
        self._words = words

    def register(self, number: int) -> int:
        """x0 to x30 and sp. Raises AgentError for one that is not recorded."""
        word = self._words[number]
        if word is None:
            raise AgentError("the register is not recorded")
        return word

    def read(self, address: int, length: int) -> bytes:
        """Raises AgentError."""
        raise AgentError("the memory is not recorded")


class _Shown(NamedTuple):
    """A value to show: its `code` is None if it is in no general register or in more than one."""

    name: str
    type: declared.Type
    code: AgentExpression | None
    fails: bool  # whether a number from -4095 to -1 is an error's


class HitValues:
    """The values of the hits of a machine's probes."""

    def __init__(self, machine: Machine) -> None:
        self._machine = machine
        self._known: WeakKeyDictionary[Probe, tuple[int | None, list[_Shown] | None]] = WeakKeyDictionary()

    def of(self, hit: Hit) -> dict[str, str] | None:
        """The arguments at a function's entry, or `retval` at its return; None where they are not known.

        What is in memory or in vector registers is `...`.
        """
        if hit.stage is not TRACED_STAGE[hit.probe.kind]:
            return None
        where, known = self._known.get(hit.probe, (None, None))
        if where != hit.probe.addr:
            known = self._find(hit)
            self._known[hit.probe] = hit.probe.addr, known
        if known is None:
            return None
        words = _Words(hit.words)
        return {each.name: _text(each, words) for each in known}

    def _find(self, hit: Hit) -> list[_Shown] | None:
        called = GuestScope(self._machine, hit.stage, hit.address).called
        if called is None or called.prototype is None:
            return None
        try:
            if hit.stage is Stage.RETURN:
                return _result(called.prototype, called.name)
            return (
                None if called.elsewhere else [_argument(called.prototype, each) for each in _named(called.prototype)]
            )
        except MachineError:  # damaged type information
            return None


def _named(function: declared.Function) -> list[declared.Parameter]:
    return [each for each in function.parameters if each.name]


def _argument(function: declared.Function, parameter: declared.Parameter) -> _Shown:
    try:
        value = argument(function, parameter.name)
    except Unknown:
        value = None
    return _shown(parameter.name, parameter.type, value, fails=False)


def _result(function: declared.Function, name: str) -> list[_Shown]:
    if isinstance(function.target.resolve(), declared.Void):
        return []
    fails = isinstance(function.target.resolve(), declared.Pointer) or name.startswith(_SYSTEM_CALL)
    try:
        value = result(function)
    except Unknown:
        value = None
    return [_shown("retval", function.target, value, fails)]


def _shown(name: str, type: declared.Type, value: Typed | None, fails: bool) -> _Shown:
    code = None if value is None or isinstance(value, InRegisters) or not value.type.bits else emit(value)
    return _Shown(name, type, None if code is None else AgentExpression(code), fails)


def _text(shown: _Shown, words: _Words) -> str:
    if shown.code is None:
        return _NOT_RECORDED
    try:
        number = shown.code.evaluate(words)
    except AgentError:
        return _NOT_RECORDED
    kind = shown.type.resolve()
    error = errno.errorcode.get((1 << 64) - number) if shown.fails and number >= _ERROR_POINTERS else None
    if isinstance(kind, declared.Pointer):
        text = f"{number:#x}"
    else:
        signed = (
            number - (number & _SIGN) * 2
            if isinstance(kind, declared.Integer | declared.Enum) and kind.signed
            else number
        )
        text = (kind.name_of(signed) if isinstance(kind, declared.Enum) else None) or f"{signed}"
    return f"{text} (-{error})" if error else text
