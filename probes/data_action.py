# SPDX-License-Identifier: GPL-2.0-or-later
"""What a probe does at a hit, if that is data which the C core records, decides by or counts."""

from __future__ import annotations

from armprobe.expressions import program
from armprobe.expressions.native import NeedsPython, compile_memory, compile_note, compile_value
from armprobe.machine.native import program as native

from .kprobe import Kprobe
from .kretprobe import Kretprobe
from .probe import Condition, DecidingFunction, ObservingFunction, Probe


def has_handlers(owner: Probe) -> bool:
    """Whether the probe has handlers of its user's."""
    return any(getattr(owner, name) is not None for name in owner.callables)


def is_left(owner: Probe) -> bool:
    """Whether the hits that meet the probe's condition are left to Python, and nothing is done at others."""
    if is_called(owner):
        return False
    if owner.condition is None or (
        has_handlers(owner) and not (isinstance(owner, Kprobe) and owner.conditional_handlers)
    ):
        return False
    return bool(owner.stop) or has_handlers(owner)


def is_called(owner: Probe) -> bool:
    """Whether C calls the probe's only handler: the pre-handler, also only at hits that meet its condition, or that of
    a return."""
    site = owner.kp.site
    if isinstance(owner, Kprobe):
        alone = owner.pre_handler is not None and owner.post_handler is None and owner.break_handler is None
    else:
        alone = isinstance(owner, Kretprobe) and owner.handler is not None and owner.entry_handler is None
    return (
        alone
        and owner.observer is None
        and not owner.stop
        and not isinstance(owner.condition, DecidingFunction)
        and site is not None
        and site.active == (owner.kp,)
    )


def deciding_program(condition: Condition) -> native.Program:
    """The program that decides. Raises NeedsPython."""
    if isinstance(condition, program.Condition):
        return compile_value(condition)
    if isinstance(condition, DecidingFunction):
        return condition.program
    raise NeedsPython("it is a function in Python")


def compiles(owner: Probe) -> bool:
    """Whether C can do its part at a hit: evaluate the condition, the note and what is counted."""
    left = is_left(owner)
    if isinstance(owner.condition, DecidingFunction) and not left:
        return False
    if owner.observer is not None and not isinstance(owner.observer, ObservingFunction):
        return False
    try:
        if owner.condition is not None:
            deciding_program(owner.condition)
        if owner.recording is not None:
            compile_memory(owner.recording.fields.values())
        if left:
            return True
        if owner.note is not None:
            if not isinstance(owner.note, program.Note):
                return False
            compile_note(owner.note)
        if owner.aggregate is not None:
            _ = owner.aggregate.programs, owner.aggregate.text
    except NeedsPython:
        return False
    return True
