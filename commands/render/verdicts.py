# SPDX-License-Identifier: GPL-2.0-or-later
"""Text of what kernels make of probes: the verdicts of `decode` and `check`."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from armprobe.commands import values

from .text import as_text

_HOW: Final = {"GOOD": "slot", "GOOD_NO_SLOT": "simulated", "REJECTED": "REFUSED"}
_SHOWN: Final = 50  # places are listed up to this number, else counted by reason
_EXAMPLES: Final = 3  # places shown of each reason


def how(verdict: values.Verdict) -> str:
    """How the instruction is executed, or why it is refused."""
    if verdict.verdict == "GOOD":
        return "executed in a slot"
    return f"simulated ({verdict.simulator})" if verdict.verdict == "GOOD_NO_SLOT" else verdict.reason


@as_text.register(values.Decoded)
def _(value: values.Decoded) -> str:
    return "".join(map(as_text, value))


@as_text.register(values.DecodedWord)
def _(value: values.DecodedWord) -> str:
    lines = [f"{value.word:#010x}  {value.text}\n"]
    for each in value.eras:
        lines.append(f"{each.era:<6} {each.verdict.verdict:<12}  {how(each.verdict)}\n")
        if each.verdict.warning:
            lines.append(f"{'':<20} warning: {each.verdict.warning}\n")
    return "".join(lines)


@as_text.register(values.DecodedFunction)
def _(value: values.DecodedFunction) -> str:
    lines = [f"{value.what} in {value.era}:\n"]
    for each in value.instructions:
        verdict = each.verdict
        why = verdict.reason or verdict.simulator or (f"warning: {verdict.warning}" if verdict.warning else "")
        line = f"  +{each.offset:<#6x} {each.word:08x}  {each.text:<40}  {_HOW[verdict.verdict]:<9}  {why}"
        lines.append(line.rstrip() + "\n")
    if value.left_out:
        lines.append(f"  ... and {value.left_out:,} more\n")
    if value.whole:
        verdicts = [each.verdict.verdict for each in value.instructions]
        counts = values.VerdictCounts(*(verdicts.count(name) for name in ("GOOD", "GOOD_NO_SLOT", "REJECTED")))
        lines.append(f"{_counted(counts)}\n")
    return "".join(lines)


@as_text.register(values.DecodedFile)
def _(value: values.DecodedFile) -> str:
    lines = [f"{value.file} in {value.era}: {_counted(value.counts)}\n"]
    lines += [f"  {each.simulator:<24} {each.count:>9,}\n" for each in value.simulators]
    for group in value.remarkable:
        lines.append(f"{group.count:,} {'refused: ' if group.refused else 'accepted, but '}{group.reason}\n")
        lines += [f"  {each.place:<36}  {each.word:08x}  {each.text}\n" for each in group.places]
        if group.count > len(group.places):
            lines.append(f"  ... and {group.count - len(group.places):,} more\n")
    return "".join(lines)


def _counted(counts: values.VerdictCounts) -> str:
    total = counts.slot + counts.simulated + counts.refused
    return (
        f"{total:,} instructions: {counts.slot:,} executed in a slot, {counts.simulated:,} simulated, "
        f"{counts.refused:,} refused"
    )


@as_text.register(values.Checked)
def _(value: values.Checked) -> str:
    return "".join(map(as_text, value))


@as_text.register(values.EraCheck)
def _(value: values.EraCheck) -> str:
    era, places = value.era, value.places
    lines = _summary(era, places) if len(places) > _SHOWN else _list(era, places)
    if len(places) > 1:
        lines.append(f"{era:<6} {len(places) - value.refused:,} of {len(places):,} would be accepted\n")
    return "".join(lines)


def _list(era: str, places: Iterable[values.CheckedPlace]) -> list[str]:
    lines = []
    for each in places:
        what = f"accepted: {how(each.verdict)}" if each.verdict is not None else f"{each.error}: {each.reason}"
        lines.append(f"{era:<6} {each.place:<32} {what}\n")
        if each.verdict is not None and each.verdict.warning:
            lines.append(f"{'':<39} warning: {each.verdict.warning}\n")
    return lines


def _summary(era: str, places: Iterable[values.CheckedPlace]) -> list[str]:
    """The refusals by what they are for, the most frequent first, with a few places each."""
    by_rule: dict[str, list[str]] = {}
    for each in places:
        if not each.accepted:
            by_rule.setdefault(f"{each.error}, {each.rule}", []).append(each.place)
    lines = []
    for rule, refused in sorted(by_rule.items(), key=lambda item: -len(item[1])):
        few = ", ".join(refused[:_EXAMPLES]) + (", ..." if len(refused) > _EXAMPLES else "")
        lines.append(f"{era:<6} {len(refused):>7,} refused: {rule}: {few}\n")
    return lines
