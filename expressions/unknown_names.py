# SPDX-License-Identifier: GPL-2.0-or-later
"""What is said of names that an expression has and its scope does not know."""

from __future__ import annotations

from typing import Final

from armprobe.machine.similar_names import did_you_mean

from .scope import Scope

_WORDS: Final = ("$comm", "$pid", "$tgid", "$task", "$cpu", "$elapsed", "$retval", "$pstate")
_ELSEWHERE: Final = {
    **{"current": "$task", "curtask": "$task"},
    **{"comm": "$comm", "pid": "$pid", "tid": "$pid", "tgid": "$tgid"},
}
"""Words of this language, by what the kernel's sources and bpftrace call them."""


def unknown_name(name: str, why: str, scope: Scope) -> str:
    """What is said of a name that is no symbol, as `why` says. Arguments that are like it come first."""
    plain, asks, near = why.partition(": did you mean ")
    if name in _ELSEWHERE:
        return f"{plain}: did you mean {_ELSEWHERE[name]}?"
    if scope.register(name) is not None:
        return f"{plain}: did you mean the register, ${name}?"
    called = scope.called
    if unknown := unknown_arguments(scope):
        plain += unknown
    elif called is not None and called.prototype is not None:
        names = [each.name for each in called.prototype.parameters if each.name]
        plain += f", nor has {called.name} an argument of that name"
        if meant := did_you_mean(name, names):
            return plain + meant
        listed = f"it has {', '.join(names)}"
        plain += "" if not names else f" ({listed})" if asks else f": {listed}"
    elif scope.event_name:
        plain += f", nor has {scope.event_name} a field of that name"
        if meant := did_you_mean(name, scope.fields):
            return plain + meant
    return plain + asks + near + scope.few_variables


def unknown_arguments(scope: Scope) -> str:
    """A clause that says why no name is that of an argument; empty where they are known, or there are none."""
    called = scope.called
    if called is None or not called.unknown:
        return ""
    return f"; and the arguments of {called.name} are not known: {called.unknown}"


def unknown_register(name: str, scope: Scope) -> str:
    """What is said of a name behind a `$` that is no register."""
    known = [each for each in scope.registers if scope.register(each) is not None]
    hint = did_you_mean(f"${name}", [*_WORDS, *(f"${each}" for each in known)])
    there = "" if hint else "; $x0 to $x30, $sp, $pc, $pstate and system registers, such as $esr_el1, are"
    return f"there is no register '{name}' of 64 bits or less{hint}{there}"
