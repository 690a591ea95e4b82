# SPDX-License-Identifier: GPL-2.0-or-later
"""All commands there are."""

from . import check, hits, inspect, probe, run
from .registry import Registry


def registry() -> Registry:
    """A registry of all commands, as the REPL, the debugger and scripts have them."""
    return Registry((*probe.COMMANDS, *hits.COMMANDS, *check.COMMANDS, *run.COMMANDS, *inspect.COMMANDS))
