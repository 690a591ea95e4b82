# SPDX-License-Identifier: GPL-2.0-or-later
"""The generated documents are up to date."""

from pathlib import Path

from armprobe.commands.all import registry
from armprobe.commands.reference import reference

from . import refusals

COMMANDS = Path(__file__).parents[2] / "docs" / "commands.md"


def test_the_reference_of_commands_is_what_their_declarations_give() -> None:
    assert COMMANDS.read_text() == reference(registry()), "write it again: make docs"


def test_the_table_of_refusals_is_what_registering_gives() -> None:
    document = refusals.DOCUMENT.read_text()
    assert document == refusals.replaced(document), "write it again: python tests/docs/refusals.py"


def test_every_refusal_is_the_kernels() -> None:
    """The last row is the one where we do better: the kernel crashes."""
    assert [(what, result) for what, kernel, result, _ in refusals.rows()[:-1] if result != kernel] == []
