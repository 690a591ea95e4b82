# SPDX-License-Identifier: GPL-2.0-or-later
"""The commands' help in terminals of any width."""

import pytest

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


def test_help_for_no_terminal() -> None:
    for command in registry().everything:
        assert max(map(len, as_text(command.manual).splitlines())) <= WIDTH, command.name
