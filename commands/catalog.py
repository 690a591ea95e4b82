# SPDX-License-Identifier: GPL-2.0-or-later
"""All commands there are."""

from . import aggregation, argdist, check, functions, guest, hits, inspect, kernel, probe, run, trace
from . import print as print_
from .registry import Registry


def registry() -> Registry:
    """A registry of all commands, as the REPL, the debugger and scripts have them."""
    rooms = probe, aggregation, argdist, functions, hits, trace, check, run, inspect, print_, kernel, guest
    return Registry(command for room in rooms for command in room.COMMANDS)
