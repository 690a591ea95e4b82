# SPDX-License-Identifier: GPL-2.0-or-later
"""What commands do."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class ArgumentHelp:
    """An argument of a command. label: as it is written."""

    label: str
    help: str


@dataclass(frozen=True)
class CommandHelp:
    """What a command does.

    touches: what of this computer it touches, a sentence; empty if nothing.
    """

    name: str
    summary: str
    usage: str
    details: str
    arguments: tuple[ArgumentHelp, ...]
    aliases: tuple[str, ...]
    touches: str


@dataclass(frozen=True)
class CommandSummary:
    """A command in a list. group: the heading that it is listed under; may be empty."""

    group: str
    name: str
    summary: str


class CommandList(tuple[CommandSummary, ...]):
    """All commands, by group."""
