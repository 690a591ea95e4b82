# SPDX-License-Identifier: GPL-2.0-or-later
"""What `CodeTables` finds in the kernel's tables, and what the kernel's own functions do."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest

from armprobe.kernel.code_tables import CodeTables
from armprobe.kernel.text import Text
from tests.oracle.cold_kernel import ColdKernel, entries
from tests.oracle.references import EVERYTHING


@pytest.fixture(scope="module")
def tables(kernel: ColdKernel) -> CodeTables:
    return CodeTables(kernel.machine, Text(kernel.machine, {}))


def near(found: Callable[[int], bool], start: int, count: int, most: int) -> list[int]:
    """Addresses of the text that `found` is true of, `most` of them, with their neighbours, and as many others."""
    rng = random.Random(4)
    text = range(start, start + 4 * (count if EVERYTHING else count // 8), 4)
    true = [address for address in text if found(address)]
    assert len(true) > 50
    chosen = rng.sample(true, min(most, len(true)))
    around = {address + by for address in chosen for by in (-4, 0, 4)}
    return sorted((around | set(rng.sample(text, len(chosen)))) & set(text))


def test_exception_tables(kernel: ColdKernel, tables: CodeTables, compared: Callable[[str, int], None]) -> None:
    start, words = kernel.text()
    addresses = near(tables.may_fault, start, len(words), most=5000)
    answers = kernel.call_each("search_exception_tables", entries(addresses, 0))
    assert [tables.may_fault(address) for address in addresses] == [bool(answer) for answer in answers]
    compared(f"{kernel.era.name} addresses looked up in the exception table", len(addresses))


def test_jump_labels(kernel: ColdKernel, tables: CodeTables, compared: Callable[[str, int], None]) -> None:
    """jump_label_text_reserved(first, last)"""
    start, words = kernel.text()
    addresses = near(tables.is_jump_label, start, len(words), most=100)  # it goes through the whole table each time
    answers = kernel.call_each("jump_label_text_reserved", entries(addresses, addresses))
    ours = [tables.is_jump_label(address) for address in addresses]
    assert ours == [bool(answer & 0xFFFF_FFFF) for answer in answers]
    compared(f"{kernel.era.name} addresses looked up among jump labels", len(addresses))
