# SPDX-License-Identifier: GPL-2.0-or-later
"""Capability: a client takes control of the machine and lets go of it. Every target has it."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from .stops import StopEvent


@dataclass(frozen=True, eq=False)
class Client:
    """One client, as long as it is connected; none is equal to another."""

    trusted: bool = False
    """Whether its commands may touch what those of the machine's own user may, such as files."""
    show: Callable[[str], None] | None = None
    """Shows text at the client from inside a run that it waits for. Called from any thread."""


class Control(Protocol):
    """Attaching and detaching."""

    def attach(self, client: Client) -> StopEvent:
        """Stop the machine for a client that takes control, and say why it is, or was already, stopped."""

    def detach(self) -> None:
        """End the control that `attach` began. It is called once for each `attach`, however the client left.

        The client's breakpoints are removed. The machine resumes if it ran before `attach`. Otherwise it stays stopped,
        or is stopped if the client had left it running.
        """
