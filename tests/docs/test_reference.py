# SPDX-License-Identifier: GPL-2.0-or-later
"""The generated documents are up to date."""

from pathlib import Path

from armprobe.commands.all import registry
from armprobe.commands.reference import reference

COMMANDS = Path(__file__).parents[2] / "docs" / "commands.md"


def test_the_reference_of_commands_is_what_their_declarations_give() -> None:
    assert COMMANDS.read_text() == reference(registry()), "write it again: make docs"
