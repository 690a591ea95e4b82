# SPDX-License-Identifier: GPL-2.0-or-later
"""Explanations of commands."""

from __future__ import annotations

from armprobe.machine.lazy_dataclass import lazy_dataclass


@lazy_dataclass
class ArgumentHelp:
    """An argument of a command. label: its name as usage lines show it."""

    label: str
    help: str


@lazy_dataclass
class CommandHelp:
    """The explanation of a command.

    touches: a sentence that says which parts of this computer the command touches; empty if none. related: the names of
    other commands that are about the same.
    """

    name: str
    summary: str
    usage: str
    details: str
    arguments: tuple[ArgumentHelp, ...]
    aliases: tuple[str, ...]
    touches: str
    related: tuple[str, ...] = ()


@lazy_dataclass
class CommandSummary:
    """A command in a list. group: the heading of its part of the list; may be empty."""

    group: str
    name: str
    summary: str


class CommandList(tuple[CommandSummary, ...]):
    """All commands, by group."""


class CommandsFound(tuple[CommandSummary, ...]):
    """The commands whose help is about what was asked for, the nearest first."""
