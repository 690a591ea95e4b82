# SPDX-License-Identifier: GPL-2.0-or-later
"""What the documentation has from the code is what the code says."""

from pathlib import Path

import pytest

from armprobe.commands.catalog import registry
from armprobe.commands.reference import reference
from armprobe.stub.features import REGISTRY
from tests.docs import packets, refusals, tables

COMMANDS = Path(__file__).parents[2] / "docs" / "commands.md"


def test_the_reference_of_commands_is_up_to_date() -> None:
    assert COMMANDS.read_text() == reference(registry()), "write it again: make docs"


@pytest.mark.parametrize("document", tables.TABLES, ids=lambda path: path.name)
def test_a_table_is_up_to_date(document: Path) -> None:
    assert document.read_text() == tables.rewritten(document), "write it again: python -m tests.docs.tables"


def test_every_refusal_is_the_kernels() -> None:
    """But the last, where we do better: the kernel crashes."""
    assert [(what, result) for what, kernel, result, _ in refusals.rows()[:-1] if result != kernel] == []


def test_every_packet_in_the_table_is_served() -> None:
    """A feature that is in its folder but not in the registry would be promised and not there."""
    names = [name.strip("`") for _, served, *_ in packets.table()[1:] for name in served.split()]
    assert [name for name in names if not name.startswith("qXfer:") and REGISTRY.find(name.encode()) is None] == []
    documents = {document.name for feature in REGISTRY.features for document in feature.documents}
    assert {name.split(":")[1] for name in names if name.startswith("qXfer:")} == documents
