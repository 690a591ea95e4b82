# SPDX-License-Identifier: GPL-2.0-or-later
"""Setting probes on every function that a pattern means."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import TYPE_CHECKING

from armprobe.probes import Kprobe, Kretprobe, ProbeError

from .errors import CommandError
from .locations import matching_functions
from .registry import Out

if TYPE_CHECKING:
    from armprobe.session import Session


def register_matching(session: Session, pattern: str, make: Callable[..., Kprobe | Kretprobe], out: Out) -> None:
    """Register what `make` gives for each function that `pattern` means. What is refused is counted by reason."""
    kprobes = session.kprobes
    functions = matching_functions(session, pattern)
    refused: Counter[str] = Counter()
    numbers = []
    for place in functions:
        probe = make(symbol_name=place) if isinstance(place, str) else make(addr=place)
        try:
            kprobes.register_kretprobe(probe) if isinstance(probe, Kretprobe) else kprobes.register_kprobe(probe)
        except ProbeError as error:
            refused[f"{error.errno_name}: {error.rule}"] += 1
        else:
            numbers.append(session.add_probe(probe))
    if numbers:
        what = f"{probe.kind} {numbers[0]}" if len(numbers) == 1 else f"{probe.kind}s {numbers[0]} to {numbers[-1]}"
        out(f"{what}: on {len(numbers):,} of the {len(functions):,} functions that match\n")
    for reason, count in refused.most_common():
        out(f"{count:>7,} refused, {reason}\n")
    if not numbers:
        raise CommandError(f"none of the {len(functions):,} functions that match {pattern!r} can be probed")
