# SPDX-License-Identifier: GPL-2.0-or-later
"""What the kernel knows of places and symbols when an event is defined."""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING, Final

from armprobe.kernel.memory_values import typed_memory
from armprobe.kernel.text import Text
from armprobe.machine import Machine, MachineError, Symbol
from armprobe.probes.errors import ProbeError
from armprobe.probes.symbol_text import kernel_symbol_at

from .c_text import user_text
from .numbers import symbol_and_offset

if TYPE_CHECKING:
    from .definition import Definition
    from .parameters import Parameters

_ADDRESSES: Final = 1 << 64


class Places:
    """Places in one machine's guest, as its kernel finds them."""

    def __init__(self, machine: Machine, text: Text) -> None:
        self._machine, self._symbols, self._text = machine, machine.symbols, text

    def entry(self, symbol: str, offset: int) -> int:
        """kprobe_on_func_entry(): 0 if the place is a function's entry, otherwise EINVAL, or ENOENT."""
        covering = self._covering(symbol, offset)
        if covering is None:
            return errno.ENOENT
        return errno.EINVAL if covering[1] else 0

    def count(self, symbol: str) -> int:
        """number_of_same_symbols()."""
        return len(self._symbols.named(user_text(symbol)))

    def parameters(self, symbol: str, offset: int) -> Parameters:
        """The parameters of the function that has its entry there; none if they are not known."""
        covering = self._covering(symbol, offset)
        if covering is None:
            return ()
        try:
            return typed_memory(self._machine).function(covering[0].name, covering[0].address).parameters
        except MachineError:
            return ()

    def may_come(self, symbol: str | None) -> bool:
        """Whether a place that is not there now may be so later: in a module, or in one without a name."""
        if symbol is None:
            return True
        module, colon, _ = user_text(symbol).partition(":")
        return bool(colon) and module not in self._symbols.modules

    def taken(self, group: str, event: str) -> bool:
        """Whether the guest itself has an event of that name (find_trace_event_call)."""
        kernel = self._machine.kernel
        if kernel is None or kernel.tracepoints is None:
            return False
        try:
            return f"{user_text(group)}:{user_text(event)}" in kernel.tracepoints
        except MachineError:
            return False

    def refuse_untraced(self, definition: Definition) -> None:
        """Raise ProbeError (EINVAL) for a function that ftrace does not know (within_notrace_func)."""
        address = definition.address
        if definition.symbol is not None:
            found = self._symbols.get(user_text(definition.symbol))
            address = 0 if found is None else (found.address + definition.offset) % _ADDRESSES
        covering = self._at(address) if address else None
        if covering is None or self._text.is_traced(covering[0]):
            return
        base, dot, _ = covering[0].name.partition(".")
        if dot and (whole := self._symbols.get(base)) is not None and self._text.is_traced(whole):
            return
        rule = "a function that the kernel does not trace (notrace), and its kprobe_events refuses those"
        raise ProbeError(errno.EINVAL, f"{covering[0].name} is {rule}: use a kprobe", rule)

    def find_symbols(self, definition: Definition) -> None:
        """Give each `@SYM` its address (traceprobe_update_arg). Raises BadNumber, and ProbeError (ENOENT)."""
        from .fetch import Instruction, Op

        for argument in definition.arguments:
            for at, instruction in enumerate(argument.code):
                if instruction.op is not Op.SYMBOL:
                    continue
                symbol, offset = symbol_and_offset(str(instruction.operand))
                found = self._symbols.get(user_text(symbol))
                if found is None or not found.address:
                    raise ProbeError(errno.ENOENT, f"there is no symbol '{user_text(symbol)}'")
                argument.code[at + 1] = Instruction(Op.IMMEDIATE, (found.address + offset) % _ADDRESSES)

    def _covering(self, symbol: str, offset: int) -> tuple[Symbol, int] | None:
        found = self._symbols.get(user_text(symbol))
        return None if found is None else self._at(found.address + offset)

    def _at(self, address: int) -> tuple[Symbol, int] | None:
        return kernel_symbol_at(self._symbols, address % _ADDRESSES)
