# SPDX-License-Identifier: GPL-2.0-or-later
"""The demo kernel, as shipped."""

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
from elftools.elf.elffile import ELFFile
from elftools.elf.sections import SymbolTableSection


@pytest.fixture(scope="session")
def demo() -> Path:
    """The folder of the demo kernel: its sources and demo.elf."""
    return Path(__file__).parents[2] / "guests" / "demo"


@pytest.fixture(scope="session")
def elf(demo: Path) -> Iterator[ELFFile]:
    """The shipped demo.elf, open."""
    with (demo / "demo.elf").open("rb") as file:
        yield ELFFile(file)


class Symbol(NamedTuple):
    """A symbol: its virtual address, its size in bytes, its type as pyelftools calls it."""

    address: int
    size: int
    kind: str


@pytest.fixture(scope="session")
def symbols(elf: ELFFile) -> dict[str, Symbol]:
    """The named symbols of demo.elf, by name; no two share one."""
    table = elf.get_section_by_name(".symtab")
    assert isinstance(table, SymbolTableSection)
    found: dict[str, Symbol] = {}
    for symbol in table.iter_symbols():
        kind = symbol["st_info"]["type"]
        if symbol.name and not symbol.name.startswith("$") and kind not in ("STT_FILE", "STT_SECTION"):
            assert symbol.name not in found
            found[symbol.name] = Symbol(symbol["st_value"], symbol["st_size"], kind)
    return found


@pytest.fixture(scope="session")
def constant(demo: Path) -> Callable[[str], int]:
    """constant(name): the value of a #define in workload.h."""
    header = (demo / "include" / "workload.h").read_text()

    def value(name: str) -> int:
        found = re.search(rf"^#define {name}\s+(\w+?)(?:UL)?$", header, re.MULTILINE)
        assert found is not None, f"workload.h does not define {name}"
        return int(found[1], 0)

    return value
