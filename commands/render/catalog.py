# SPDX-License-Identifier: GPL-2.0-or-later
"""The files whose functions are registered with `text.as_text`, which imports this file when it needs them."""

from . import (
    aggregation,
    breakpoints,
    compared,
    computer,
    context,
    events,
    functions,
    help,
    kernel,
    kernel_facts,
    kernel_tables,
    lines,
    probes,
    snapshots,
    timeline,
    verdicts,
)

__all__ = [
    "aggregation",
    "breakpoints",
    "compared",
    "computer",
    "context",
    "events",
    "functions",
    "help",
    "kernel",
    "kernel_facts",
    "kernel_tables",
    "lines",
    "probes",
    "snapshots",
    "timeline",
    "verdicts",
]
