# SPDX-License-Identifier: GPL-2.0-or-later
"""Renderings of what commands answer with (`commands.values`): text for people, JSON for programs."""

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
)  # what these have is registered with `text.as_text`

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
