# SPDX-License-Identifier: GPL-2.0-or-later
"""Setting probes on every function that a pattern means."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import TYPE_CHECKING

from armprobe.probes import Kprobe, Kretprobe, ProbeError

from .errors import CommandError
from .locations import matching_functions
from .values import Refused, RegisteredMatching

if TYPE_CHECKING:
    from armprobe.session import Session


def register_matching(session: Session, pattern: str, make: Callable[..., Kprobe | Kretprobe]) -> RegisteredMatching:
    """Register what `make` gives for each function that `pattern` means; what is refused is counted by reason.

    Raises CommandError, with the refusals as its value, if none can be probed.
    """
    kprobes = session.kprobes
    functions = matching_functions(session, pattern)
    refused: Counter[tuple[str, str]] = Counter()
    numbers = []
    for place in functions:
        probe = make(symbol_name=place) if isinstance(place, str) else make(addr=place)
        try:
            kprobes.register_kretprobe(probe) if isinstance(probe, Kretprobe) else kprobes.register_kprobe(probe)
        except ProbeError as error:
            refused[error.errno_name, error.rule] += 1
        else:
            numbers.append(session.probes.add(probe))
    answer = RegisteredMatching(
        kind=probe.kind,
        numbers=tuple(numbers),
        functions=len(functions),
        refused=tuple(Refused(*reason, count) for reason, count in refused.most_common()),
    )
    if not numbers:
        raise CommandError(f"none of the {len(functions):,} functions that match {pattern!r} can be probed", answer)
    return answer
