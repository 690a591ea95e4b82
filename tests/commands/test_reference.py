# SPDX-License-Identifier: GPL-2.0-or-later
"""The reference of commands says what the declarations say."""

import re

from armprobe.commands.declaration import Arg, Command
from armprobe.commands.reference import reference
from armprobe.commands.registry import Registry
from tests.commands.toy import COMMANDS


def test_every_command_is_there_once_with_its_usage_and_arguments() -> None:
    text = reference(Registry(COMMANDS))
    sections = {part.partition("\n")[0]: part for part in re.split(r"^### ", text, flags=re.M)[1:]}
    assert len(re.findall(r"^### ", text, flags=re.M)) == len(sections) == len(COMMANDS) + 1
    for command in COMMANDS:
        section = sections[command.name]
        assert f"```\n{command.usage}\n```" in section
        assert command.summary in section
        for arg in command.args:
            assert f"| `{arg.label}` | {arg.help}" in section
    assert "In gdb: `probe-enable`." in sections["enable"]
    assert "In gdb: `monitor defect`." in sections["defect"]
    assert "In gdb" not in sections["probe"]


def test_text_is_not_taken_for_markup_and_indented_text_is_kept() -> None:
    command = Command(
        "c",
        "Show <x> and a_b*c.\n\nAs in `a_b`:\n\n    c  1|2\n    c  3",
        (Arg("x", "1|2"),),
        lambda session, arguments: None,
    )
    text = reference(Registry([command]))
    assert "Show \\<x\\> and a\\_b\\*c." in text
    assert "As in `a_b`:" in text
    assert "```\nc  1|2\nc  3\n```" in text
    assert "| `X` | 1\\|2 |" in text
