# SPDX-License-Identifier: GPL-2.0-or-later
"""Capability: a place at the machine itself where text can be shown."""

import logging
from collections.abc import Callable
from typing import Protocol, runtime_checkable

log = logging.getLogger("armprobe.stub")


@runtime_checkable
class Display(Protocol):
    """People at the machine itself, such as at a prompt."""

    def show(self, text: str) -> None:
        """Show them text. It is called from inside a run, too."""


def display_of(target: object) -> Callable[[str], None]:
    """Shows text at the target's display, or logs it where there is none."""
    return target.show if isinstance(target, Display) else lambda text: log.info("%s", text.rstrip("\n"))
