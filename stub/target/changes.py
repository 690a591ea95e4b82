# SPDX-License-Identifier: GPL-2.0-or-later
"""Capability: counting changes that others make beside the client."""

from typing import NamedTuple, Protocol, runtime_checkable


class Changes(NamedTuple):
    """How often a machine was run or changed from outside: a client compares two of them."""

    registers: int
    """Its registers, and with them the place where it is."""
    memory: int
    states: int = 0
    """How often another state was put in its place, which is in the other counts as well."""


@runtime_checkable
class ChangeCount(Protocol):
    """A count of changes."""

    @property
    def changes(self) -> Changes:
        """The count of now."""
