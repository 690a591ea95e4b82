# SPDX-License-Identifier: GPL-2.0-or-later
"""All commands there are."""

from . import check as deciding
from . import inspect as looking
from . import probe as probing
from . import run as running
from .registry import Registry


def registry() -> Registry:
    """A registry of all commands, as the REPL, the debugger and scripts have them."""
    return Registry((*probing.COMMANDS, *deciding.COMMANDS, *running.COMMANDS, *looking.COMMANDS))
