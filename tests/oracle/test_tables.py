# SPDX-License-Identifier: GPL-2.0-or-later
"""What `CodeTables` finds in the kernel's tables, and what the kernel's own functions do."""

from __future__ import annotations

import base64
import random
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, Final

import pytest

from armprobe.kernel.code_tables import CodeTables
from armprobe.kernel.text import Text
from armprobe.machine import MachineError
from tests.oracle.cold_kernel import ColdKernel, entries
from tests.oracle.function_records import KernelOnRecord
from tests.oracle.references import EVERYTHING

TABLES: Final = (
    ("search_exception_tables", "__start___ex_table", "__stop___ex_table"),
    ("jump_label_text_reserved", "__start___jump_table", "__stop___jump_table"),
)
"""The functions that search tables, and the linker's symbols for these."""


class TextOnRecord:
    """What `CodeTables` reads of a kernel that is not there."""

    def __init__(self, kernel: KernelOnRecord) -> None:
        self._kernel = kernel

    def area(self, start: str, end: str) -> tuple[int, int] | None:
        first, last = self._kernel.symbols.get(start), self._kernel.symbols.get(end)
        return None if first is None or last is None else (first.address, last.address)

    def contains(self, address: int) -> bool:
        return self._kernel.symbols["_stext"].address <= address < self._kernel.symbols["_etext"].address

    def read(self, address: int, size: int) -> bytes:
        for table in self._kernel.record.tables.values():
            if address == table["start"]:
                return base64.b64decode(table["content"])[:size]
        raise MachineError(f"{address:#x} is not on record")

    def read_u32(self, address: int) -> int:
        for name, words in self._kernel.record.code.items():
            offset = address - self._kernel.symbols[name].address
            if 0 <= offset < 4 * len(words):
                return words[offset // 4]
        raise MachineError(f"{address:#x} is not on record")


@pytest.fixture(scope="module")
def tables(kernel: ColdKernel | KernelOnRecord) -> CodeTables:
    if isinstance(kernel, KernelOnRecord):
        stand_in: Any = SimpleNamespace(symbols=kernel.symbols)
        text: Any = TextOnRecord(kernel)
        return CodeTables(stand_in, text)
    return CodeTables(kernel.machine, Text(kernel.machine, {}))


def asked(kernel: ColdKernel, tables: CodeTables, function: str, start: str, end: str) -> dict[str, Any]:
    """What goes on record of a table: where it is, its bytes, addresses looked up, and which of these were found."""
    area = tables._text.area(start, end) or tables._used_by(function)
    assert area is not None
    found = tables._relative(start, end, (8, 12) if "exception" in function else (16,), function)
    text, words = kernel.text()
    addresses = near(found.__contains__, text, len(words), 100)
    answers = kernel.call_each(function, entries(addresses, addresses if "label" in function else 0))
    content = bytearray(kernel.machine.memory.read(area[0], area[1] - area[0]))
    if "label" in function:  # where a branch leads to and its key are not asked for, and nine tenths of the record
        for at in range(0, len(content), 16):
            content[at + 4 : at + 16] = bytes(12)
    said = [address for address, answer in zip(addresses, answers, strict=True) if answer & 0xFFFF_FFFF]
    return {"start": area[0], "content": base64.b64encode(content).decode(), "addresses": addresses, "found": said}


def on_record(kernel: KernelOnRecord, function: str, ours: Callable[[int], bool]) -> None:
    table = kernel.record.tables[function]
    assert [address for address in table["addresses"] if ours(address)] == table["found"]
    assert 0 < len(table["found"]) < len(table["addresses"])


def near(found: Callable[[int], bool], start: int, count: int, most: int) -> list[int]:
    """Addresses of the text that `found` is true of, `most` of them, with their neighbours, and as many others."""
    rng = random.Random(4)
    text = range(start, start + 4 * (count if EVERYTHING else count // 8), 4)
    true = [address for address in text if found(address)]
    assert len(true) > 50
    chosen = rng.sample(true, min(most, len(true)))
    around = {address + by for address in chosen for by in (-4, 0, 4)}
    return sorted((around | set(rng.sample(text, len(chosen)))) & set(text))


def test_exception_tables(
    kernel: ColdKernel | KernelOnRecord, tables: CodeTables, compared: Callable[[str, int], None]
) -> None:
    if isinstance(kernel, KernelOnRecord):
        on_record(kernel, "search_exception_tables", tables.may_fault)
        return
    start, words = kernel.text()
    addresses = near(tables.may_fault, start, len(words), most=5000)
    answers = kernel.call_each("search_exception_tables", entries(addresses, 0))
    assert [tables.may_fault(address) for address in addresses] == [bool(answer) for answer in answers]
    compared(f"{kernel.era.name} addresses looked up in the exception table", len(addresses))


def test_jump_labels(
    kernel: ColdKernel | KernelOnRecord, tables: CodeTables, compared: Callable[[str, int], None]
) -> None:
    """jump_label_text_reserved(first, last)"""
    if isinstance(kernel, KernelOnRecord):
        on_record(kernel, "jump_label_text_reserved", tables.is_jump_label)
        return
    start, words = kernel.text()
    addresses = near(tables.is_jump_label, start, len(words), most=100)  # it goes through the whole table each time
    answers = kernel.call_each("jump_label_text_reserved", entries(addresses, addresses))
    ours = [tables.is_jump_label(address) for address in addresses]
    assert ours == [bool(answer & 0xFFFF_FFFF) for answer in answers]
    compared(f"{kernel.era.name} addresses looked up among jump labels", len(addresses))
