# SPDX-License-Identifier: GPL-2.0-or-later
"""Text of what probes have counted, as bpftrace prints its maps."""

from __future__ import annotations

from typing import Final

from armprobe.commands import values

from .layout import described
from .text import as_text

_BAR: Final = 52  # characters, as in TextOutput::hist of bpftrace's src/output.cpp, like the other widths here
_SUFFIXES: Final = ("", "K", "M", "G", "T", "P", "E")


@as_text.register(values.Aggregates)
def _(value: values.Aggregates) -> str:
    if not value:
        return "no probe counts; set one with: count FUNCTION by caller\n"
    return "\n".join(map(_one, value))


@as_text.register(values.FoldedStacks)
def _(value: values.FoldedStacks) -> str:
    """As stackcollapse-*.pl of Brendan Gregg's FlameGraph prints stacks."""
    return "".join(f"{';'.join(stack.frames)} {stack.count}\n" for stack in value)


def _one(found: values.Aggregated | values.FunctionsCounted | values.CallGraph) -> str:
    return _aggregated(found) if isinstance(found, values.Aggregated) else as_text(found)


def _aggregated(found: values.Aggregated) -> str:
    probe = found.probe
    condition = f" if {probe.condition}" if probe.condition else ""
    lines = [f"{probe.kind} {probe.number} ({probe.given}): {probe.aggregate}{condition}\n"]
    for key in found.keys:
        name = "" if found.by is None else f"[{_key(key)}]"
        if found.value is None:
            lines.append(f"@{name}: {key.count}\n")
        else:
            unit = f" {found.unit}" if found.unit else ""
            executed = "" if key.instructions is None else f" ({key.instructions // key.count} instructions)"
            lines.append(
                f"@{name}: count {key.count}, average {key.average}{unit}{executed}, total {key.total}{unit}\n"
            )
            lines.append(_histogram(key.buckets, found.linear))
    if not found.keys:
        why = f": {probe.given} was not hit" if not probe.hits else ""
        why = why or (": the condition held at none of the hits" if probe.met == 0 else "")
        lines.append(f"nothing was counted{why}\n")
    if found.lost:
        lines.append(f"{found.lost} hits are not in it: there were {found.capacity} keys already (keys= allows more)\n")
    if found.failed:
        lines.append(f"{found.failed} hits are not in it: their key or value could not be evaluated\n")
    if probe.nmissed:
        more = " (maxactive= allows more calls at once)" if probe.kind == "kretprobe" else ""
        lines.append(f"{probe.nmissed} hits were missed{more}\n")
    return "".join(lines)


def _key(key: values.CountedKey) -> str:
    if key.stack is not None:
        return "\n" + "".join(f"    {described(place)}\n" for place in key.stack)
    if key.caller is not None:
        return described(key.caller)
    return next(str(each) for each in (key.comm, key.text, key.number) if each is not None)


def _histogram(buckets: tuple[values.HistogramBucket, ...], linear: bool) -> str:
    most = max(bucket.count for bucket in buckets)
    lines = []
    for bucket in buckets:
        bar = "@" * (bucket.count * _BAR // most)
        lines.append(f"{_interval(bucket, linear):<16}{bucket.count:>8} |{bar:<{_BAR}}|\n")
    return "".join(lines)


def _interval(bucket: values.HistogramBucket, linear: bool) -> str:
    low, high = bucket.low, bucket.high
    number = str if linear else _short
    if low is None:
        return f"(..., {number((high or 0) + 1)})"
    if high is None:
        return f"[{number(low)}, ...)"
    return f"[{number(low)}]" if low == high else f"[{number(low)}, {number(high + 1)})"


def _short(number: int) -> str:
    """A power of two, with the suffix for a power of 1024."""
    suffix = max((number.bit_length() - 1) // 10, 0)
    return f"{number >> 10 * suffix}{_SUFFIXES[suffix]}"
