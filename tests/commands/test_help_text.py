# SPDX-License-Identifier: GPL-2.0-or-later
"""The commands' help in terminals of any width."""

import json
import re
from typing import Any

import pytest

from armprobe.commands import CommandError
from armprobe.commands.catalog import registry
from armprobe.commands.render.help import WIDTH, command_help
from armprobe.commands.render.text import as_text


@pytest.mark.parametrize("width", [40, 80, 110])
def test_help_fits_the_terminal(width: int) -> None:
    """Examples, which are indented, are not broken; all words are there at any width."""
    for command in registry().everything:
        text = command_help(command.manual, width)
        assert text.split() == as_text(command.manual).split()
        prose = [line for line in text.splitlines() if not line.startswith("    ")]
        assert all(len(line) <= max(width, max(map(len, line.split()), default=0) + 6) for line in prose), command.name


def test_help_in_gdb_fits_80_columns() -> None:
    """As gdb's own does. Examples, which are set off, stay in one line."""
    wide = [line for row in json.loads(registry().table()) for line in row["help"].splitlines() if len(line) > 80]
    assert all(line.startswith("    ") for line in wide), wide


def test_help_for_no_terminal() -> None:
    for command in registry().everything:
        wide = [line for line in as_text(command.manual).splitlines() if len(line) > 80]
        assert all(line.startswith("    ") and len(line) <= WIDTH for line in wide), command.name


@pytest.mark.parametrize(
    ("word", "command"),
    [
        ("oops", "crashes"),
        ("panic", "crashes"),
        ("undo", "reverse-continue"),
        ("histogram", "hist"),
        ("histograms", "hist"),
        ("how long", "latency"),
        ("process", "tasks"),
        ("struct", "print"),
        ("flamegraph", "stacks"),
    ],
)
def test_help_finds_commands_by_what_they_are_about(word: str, command: str) -> None:
    found = as_text(_help(word))
    assert re.search(rf"^  {command} ", found, re.MULTILINE), found


def test_help_of_a_command_names_those_that_are_about_the_same() -> None:
    assert "Related: " in as_text(_help("latency"))
    assert "hist" in _help("latency").related
    assert _help("lat").name == "latency"


def test_help_finds_nothing() -> None:
    with pytest.raises(CommandError, match="there is no command 'xyzzy'"):
        _help("xyzzy")


def _help(word: str) -> Any:
    return registry().run(None, f"help {word}", lambda value: None)
