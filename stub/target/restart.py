# SPDX-License-Identifier: GPL-2.0-or-later
"""Capability: putting the guest back to its start."""

from typing import Protocol, runtime_checkable

from .stops import StopEvent


@runtime_checkable
class Restart(Protocol):
    """The guest from its start again, whether it runs or not."""

    def kill(self) -> None:
        """Put the guest back to its start. `detach` follows."""

    def restart(self) -> StopEvent:
        """Put the guest back to its start, with everything that is inserted left in; say why it is stopped."""
